"""Opaque cursors: the key of the last item of a page, as text that a client hands back."""

import base64
import binascii
from uuid import UUID

from service.errors import MalformedRequest


def cursor_of_id(id_: UUID) -> str:
    """The cursor behind an item with a UUID as key."""
    return base64.urlsafe_b64encode(id_.bytes).decode().rstrip("=")


def id_of_cursor(cursor: str) -> UUID:
    """The key in a cursor of `cursor_of_id`.

    Raises:
        MalformedRequest: it is none.
    """
    return UUID(bytes=_decoded(cursor, n_bytes=16))


def cursor_of_number(number: int) -> str:
    """The cursor behind an item with a number as key."""
    return base64.urlsafe_b64encode(number.to_bytes(4, "big")).decode().rstrip("=")


def number_of_cursor(cursor: str) -> int:
    """The key in a cursor of `cursor_of_number`.

    Raises:
        MalformedRequest: it is none.
    """
    number = int.from_bytes(_decoded(cursor, n_bytes=4), "big")
    if number >= 2**31:
        raise _bad_cursor()
    return number


def _decoded(cursor: str, *, n_bytes: int) -> bytes:
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _bad_cursor() from None
    if len(data) != n_bytes:
        raise _bad_cursor()
    return data


def _bad_cursor() -> MalformedRequest:
    return MalformedRequest("the cursor is not one that this list gave; leave it out to begin at the start")
