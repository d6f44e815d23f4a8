"""Templates on the disk: found again, never wrong, never many."""

import os
import resource
from pathlib import Path

from service.engine.templates import FOLDER, MOST_KEPT, Templates, template_key

KEY = template_key("0" * 64, "plain")


def test_a_template_is_found_again_by_whoever_shares_the_folder(tmp_path: Path) -> None:
    Templates(tmp_path).put(KEY, b"traced")
    assert Templates(tmp_path).get(KEY) == b"traced"


def test_a_template_is_of_one_base_model_and_one_kind(tmp_path: Path) -> None:
    Templates(tmp_path).put(KEY, b"traced")
    assert Templates(tmp_path).get(template_key("1" * 64, "plain")) is None
    assert Templates(tmp_path).get(template_key("0" * 64, "with unknown")) is None


def test_a_template_is_of_the_code_that_traced_it(tmp_path: Path) -> None:
    (tmp_path / "head.py").write_text("scale = 1")
    before = template_key("0" * 64, "plain", code=tmp_path)
    (tmp_path / "head.py").write_text("scale = 2")
    assert template_key("0" * 64, "plain", code=tmp_path) != before


def test_a_damaged_template_is_none_and_is_not_read_again(tmp_path: Path) -> None:
    Templates(tmp_path).put(KEY, b"traced")
    (path,) = (tmp_path / FOLDER).iterdir()
    path.write_bytes(b"traded")
    assert Templates(tmp_path).get(KEY) is None
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_a_template_that_finds_no_space_leaves_nothing_behind(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, before[1]))
    try:
        Templates(tmp_path).put(KEY, b"traced")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_those_that_were_used_last_are_kept(tmp_path: Path) -> None:
    templates = Templates(tmp_path)
    keys = [template_key("0" * 64, str(number)) for number in range(MOST_KEPT + 1)]
    for place, key in enumerate(keys[:-1]):
        templates.put(key, key.encode())
        (path,) = (tmp_path / FOLDER).glob(f"{key}-*")
        os.utime(path, (place, place))
    assert templates.get(keys[0]) is not None  # used just now, so that the second is the oldest
    templates.put(keys[-1], b"one more")
    kept = [key for key in keys if templates.get(key) is not None]
    assert kept == [keys[0], *keys[2:]]


def test_a_file_that_goes_meanwhile_keeps_no_other_from_being_put_away(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "gone.onnx").symlink_to("nowhere")  # listed, and not there when it is looked at
    templates = Templates(tmp_path)
    for number in range(MOST_KEPT + 1):
        templates.put(template_key("0" * 64, str(number)), b"traced")
    assert len(list((tmp_path / FOLDER).iterdir())) == MOST_KEPT


def test_a_folder_that_cannot_be_written_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_bytes(b"a file")
    Templates(tmp_path).put(KEY, b"traced")
    assert Templates(tmp_path).get(KEY) is None
