"""`handful.json` in a zip: read, or refused with what is wrong with it."""

import pytest

from service.api.manifests import Manifest, read_manifest
from service.api.problems import RejectedFields


def test_a_manifest_tells_labels_groups_and_what_is_left_out() -> None:
    data = b'{"classes": [{"folder": "a_b", "label": "a/b", "is_left_out": true}], "groups": {"a_b/1.png": "burst"}}'
    assert read_manifest(data) == Manifest({"a_b": "a/b"}, {"a_b/1.png": "burst"}, frozenset({"a_b"}))


def test_a_manifest_that_says_nothing_is_one() -> None:
    assert read_manifest(b"{}") == Manifest()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "it: "),
        (b'{"class": []}', "class: "),
        (b'{"classes": [{"folder": "a"}]}', "classes/0/label: "),
        (b'{"classes": [{"folder": "a", "label": "a", "is_left_out": "yes"}]}', "classes/0/is_left_out: "),
        (b'{"groups": {"a/1.png": 3}}', "groups/a/1.png: "),
    ],
)
def test_what_is_no_manifest_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(RejectedFields) as caught:
        read_manifest(data)
    assert says in caught.value.message
    assert [(item.pointer, item.code) for item in caught.value.items] == [("/archive/handful.json", "invalid-manifest")]
