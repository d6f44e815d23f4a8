"""Base models traced to ONNX templates, on the disk: each is traced once, however often the service is started.

Why not artifacts: no row names them, so that a sweep would take them. They lie in a folder of their own beside the
artifacts, which no sweep looks into. A name tells what the bytes were made from and, behind that, their own digest.
"""

import contextlib
import hashlib
import logging
import os
import uuid
from importlib.metadata import version as release_of
from pathlib import Path

import service

FOLDER = "templates"
MOST_KEPT = 8
"""Of `photo` one has 51 MB; there are two for each base model, with and without an unknown score."""

_CODE = Path(service.__file__).parent / "metalearning"

_log = logging.getLogger(__name__)


def template_key(base_model: str, kind: str, *, code: Path = _CODE) -> str:
    """The name of what a base model, named by its digest, is traced to by this torch and the modules in `code`.

    Why the modules and not our release: between two releases they change, and a trace of before would be taken for one
    of theirs.
    """
    modules = [file.read_text("utf-8") for file in sorted(code.rglob("*.py"))]
    made_from = [base_model, kind, release_of("torch"), *modules]
    return hashlib.sha256("\n".join(made_from).encode()).hexdigest()


class Templates:
    """The templates in a folder; any number of processes may share it."""

    def __init__(self, artifacts_root: Path) -> None:
        self._folder = artifacts_root / FOLDER

    def get(self, key: str) -> bytes | None:
        """The template, if it was kept and is whole; it counts as just used, and one that is damaged is removed."""
        for path in self._folder.glob(f"{key}-*.onnx"):
            with contextlib.suppress(OSError):  # another process put it away
                data = path.read_bytes()
                if path.name == _name(key, data):
                    with contextlib.suppress(OSError):
                        os.utime(path)
                    return data
                _log.warning("the template %s is damaged and is made again", path)
                path.unlink(missing_ok=True)
        return None

    def put(self, key: str, data: bytes) -> None:
        """Keep a template, and of all those used last; where that fails it is only made again."""
        temporary = self._folder / f"{uuid.uuid4().hex}.tmp"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(data)
                temporary.replace(self._folder / _name(key, data))
            finally:
                temporary.unlink(missing_ok=True)  # what a full disk took of it
            self._put_away()
        except OSError as error:
            _log.warning("a template is not kept: %s", error)

    def _put_away(self) -> None:
        """Remove what was not used for longest, and with it in time what a killed process left half-written."""
        by_use = sorted(self._folder.iterdir(), key=_used_at, reverse=True)
        for path in by_use[MOST_KEPT:]:
            path.unlink(missing_ok=True)


def _used_at(path: Path) -> float:
    """When a file was used last; long ago if another process has put it away meanwhile."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _name(key: str, data: bytes) -> str:
    return f"{key}-{hashlib.sha256(data).hexdigest()}.onnx"
