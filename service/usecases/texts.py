"""Texts that clients choose: labels, names, metadata."""

import difflib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from service.errors import BadItem, InvalidRequest, UploadRejected
from service.persistence.orm import FILENAME_CHARS, LABEL_CHARS, METADATA_KEY_CHARS, METADATA_VALUE_CHARS, NAME_CHARS
from service.usecases.limits import Limits
from service.usecases.uploads import LabelledUpload

_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Control characters, halves of surrogate pairs (no database stores them), line and paragraph separators."""

_FOLDERS = frozenset({".", ".."})
"""Clients resolve them in an address, browsers even where they are percent-encoded: their class is out of reach."""


def checked_labels(uploads: Sequence[LabelledUpload], limits: Limits) -> tuple[str, ...]:
    """The label of each upload, trimmed and in NFC.

    Raises:
        UploadRejected: some labels or groups cannot be used; it names them all.
    """
    labels: list[str] = []
    bad: list[BadItem] = []
    for item in uploads:
        try:
            labels.append(checked_label(item.label, limits))
            checked_group(item.group)
        except InvalidRequest as error:
            bad.append(BadItem(item.pointer, "invalid-label", error.message, item.upload.filename))
    if bad:
        raise UploadRejected(bad[0].detail if len(bad) == 1 else f"{len(bad)} labels cannot be used", tuple(bad))
    return tuple(labels)


def checked_label(text: str, limits: Limits) -> str:
    """A label, trimmed and in NFC.

    Raises:
        InvalidRequest: it is empty, too long, not printable, or one that no address can end in.
    """
    label = _checked(unicodedata.normalize("NFC", text).strip(), "label", 1, limits.label_chars)
    if label in _FOLDERS:
        raise InvalidRequest(f"the label {label!r} means a folder in paths and addresses; take another")
    return label


def checked_group(text: str | None) -> str | None:
    """The name of a group of examples, trimmed and in NFC; None if nothing is left.

    Raises:
        InvalidRequest: it is too long or not printable.
    """
    return _checked(unicodedata.normalize("NFC", text or "").strip(), "group", 0, LABEL_CHARS) or None


def checked_name(text: str | None) -> str | None:
    """A task's name, trimmed and in NFC; None if nothing is left.

    Raises:
        InvalidRequest: it is too long or not printable.
    """
    return _checked(unicodedata.normalize("NFC", text or "").strip(), "name", 0, NAME_CHARS) or None


def checked_metadata(pairs: Mapping[str, str], limits: Limits) -> dict[str, str]:
    """The client's pairs, as they are.

    Raises:
        InvalidRequest: there are too many, or one is too long or not printable.
    """
    if len(pairs) > limits.metadata_pairs:
        raise InvalidRequest(f"metadata has {len(pairs)} pairs, at most {limits.metadata_pairs} are allowed")
    for key, value in pairs.items():
        _checked(key, "metadata key", 1, METADATA_KEY_CHARS)
        _checked(value, f"metadata value of {key!r}", 0, METADATA_VALUE_CHARS)
    return dict(pairs)


def stored_filename(filename: str | None) -> str | None:
    """What is kept of the client's name for a file: its last part, printable, not too long."""
    last = (filename or "").replace("\\", "/").rpartition("/")[2]
    return "".join(filter(_is_printable, last))[-FILENAME_CHARS:] or None


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Which of the known names somebody meant who wrote this one, if it is like one of them."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)), None)


def _checked(text: str, what: str, shortest: int, longest: int) -> str:
    if not shortest <= len(text) <= longest:
        found = f"has {len(text)} characters" if text else "is empty"
        raise InvalidRequest(f"a {what} {found}, expected {shortest} to {longest} characters")
    if not all(map(_is_printable, text)):
        raise InvalidRequest(f"the {what} {text!a} has a character that cannot be printed; leave it out")
    return text


def _is_printable(character: str) -> bool:
    return unicodedata.category(character) not in _UNPRINTABLE
