"""Support sets and cursors as bytes."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import MalformedRequest
from service.persistence.cursors import cursor_of_id, cursor_of_number, id_of_cursor, number_of_cursor
from service.persistence.support import SupportMember, pack_support, unpack_support

DIGESTS = st.none() | st.binary(min_size=32, max_size=32).filter(any).map(bytes.hex)


@given(st.lists(st.builds(SupportMember, st.uuids(), DIGESTS), max_size=20))
def test_a_support_set_is_read_as_it_was_written(members: list[SupportMember]) -> None:
    data = pack_support(members)
    assert len(data) == 48 * len(members)
    assert unpack_support(data) == tuple(members)


@given(st.uuids())
def test_a_cursor_gives_back_its_id(id_: UUID) -> None:
    assert id_of_cursor(cursor_of_id(id_)) == id_


@given(st.integers(min_value=0, max_value=2**31 - 1))
def test_a_cursor_gives_back_its_number(number: int) -> None:
    assert number_of_cursor(cursor_of_number(number)) == number


@given(st.text(max_size=40).filter(lambda text: len(text) != 6))
def test_any_other_text_is_no_cursor(text: str) -> None:
    with pytest.raises(MalformedRequest, match="cursor"):
        number_of_cursor(text)


def test_a_number_that_no_column_holds_is_no_cursor() -> None:
    with pytest.raises(MalformedRequest):
        number_of_cursor("_____w")
