"""`handful.json` in a zip of examples: what the folders alone cannot say. The page writes it where there is something.

    {"classes": [{"folder": "a_b", "label": "a/b", "is_left_out": true}], "groups": {"a_b/001.png": "burst 1"}}

Paths are those of the zip, below the folder that the manifest lies in. What it does not name is as without it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.api.problems import RejectedFields
from service.errors import BadItem

MANIFEST: Final = "handful.json"
MAX_MANIFEST_BYTES: Final = 2**22
"""Of a task of 1,000 examples, each with a path and a group of 200 characters of up to 6 bytes, and some room."""

_Text = Annotated[str, Field(min_length=1, max_length=200)]


class _Class(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    folder: str
    label: _Text
    is_left_out: bool = False


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    classes: list[_Class] = []
    groups: dict[str, _Text] = {}


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a zip says of its folders and files.

    Attributes:
        labels: of folders that are not called as their class.
        groups: of files, by their path.
        left_out: folders whose classes adaptations leave out.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()


def read_manifest(data: bytes) -> Manifest:
    """The manifest that these bytes are.

    Raises:
        RejectedFields: they are none.
    """
    try:
        found = _Manifest.model_validate(json.loads(data))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = "/".join(map(str, first["loc"])) or "it"
        raise _bad(f"{place}: {first['msg']}") from None
    except (ValueError, RecursionError) as error:
        raise _bad("it is not JSON") from error
    labels = {each.folder: each.label for each in found.classes}
    left_out = frozenset(each.folder for each in found.classes if each.is_left_out)
    return Manifest(labels, found.groups, left_out)


def _bad(what: str) -> RejectedFields:
    detail = f"{MANIFEST} in the archive is not one that Handful wrote ({what[:300]}); leave it out, or mend it"
    return RejectedFields(detail, (BadItem(f"/archive/{MANIFEST}", "invalid-manifest", detail, MANIFEST),))
