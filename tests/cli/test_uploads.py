"""What becomes of images that the service refuses."""

from collections.abc import Sequence

import pytest

from service.cli.sources import FoundImage
from service.cli.uploads import check_support_set, send_accepted
from service.client import Limits
from service.client.uploads import image_source
from service.errors import BadItem, InvalidSupportSet, UploadRejected

IMAGE = image_source(b"x")


def refuse_bad(items: Sequence[str]) -> list[str]:
    """Refuses what begins with `bad`; answers the others in capitals."""
    bad = tuple(
        BadItem(f"/files/{place}", "damaged-image", "it is truncated", "ours")
        for place, item in enumerate(items)
        if item.startswith("bad")
    )
    if bad:
        raise UploadRejected(f"{len(bad)} of {len(items)} images cannot be used", bad)
    return [item.upper() for item in items]


def test_accepted_items_come_with_their_answers() -> None:
    assert send_accepted(refuse_bad, ["a", "b"], ["1", "2"], skip_bad=False) == [("a", "A"), ("b", "B")]


def test_a_refused_item_is_told_under_the_name_the_user_knows() -> None:
    with pytest.raises(UploadRejected) as caught:
        send_accepted(refuse_bad, ["a", "bad", "b"], ["x/1.jpg", "x/2.jpg", "x/3.jpg"], skip_bad=False)
    assert [item.filename for item in caught.value.items] == ["x/2.jpg"]


def test_refused_items_are_skipped_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    answered = send_accepted(refuse_bad, ["bad", "a", "bad2", "b"], ["1", "2", "3", "4"], skip_bad=True)
    assert answered == [("a", "A"), ("b", "B")]
    assert capsys.readouterr().err == "skipped 1: it is truncated\nskipped 3: it is truncated\n"


def test_nothing_is_left_where_all_are_refused() -> None:
    assert send_accepted(refuse_bad, ["bad"], ["1"], skip_bad=True) == []


def test_a_refusal_that_names_no_item_is_never_skipped() -> None:
    def refuse(items: Sequence[str]) -> list[str]:
        raise UploadRejected("no")

    with pytest.raises(UploadRejected, match="no"):
        send_accepted(refuse, ["a"], ["1"], skip_bad=True)


def test_one_class_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(InvalidSupportSet, match="found 1 class folder, a task has 2 to 100"):
        check_support_set([FoundImage("whole", IMAGE)], Limits())


def test_a_class_that_is_left_out_does_not_count() -> None:
    with pytest.raises(InvalidSupportSet, match="found 1 class folder"):
        check_support_set([FoundImage("whole", IMAGE), FoundImage("other", IMAGE, is_left_out=True)], Limits())


def test_too_many_images_are_refused_before_anything_is_sent() -> None:
    images = [FoundImage(f"class {number % 2}", IMAGE) for number in range(5)]
    with pytest.raises(InvalidSupportSet, match="found 5 images, a task has at most 4"):
        check_support_set(images, Limits(support_images=4))
