"""Files of published weights that a backbone needs and no checkpoint repeats: found by name, known by digest.

They are looked for beside the checkpoint and in torch hub's cache. Nothing here downloads but `download`, which the
maker of a base model calls: a service that starts must not depend on who can be reached, nor on what they serve today.
"""

import hashlib
import pickle  # its error only; what is read are tensors
import re
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from service.errors import CheckpointError
from service.metalearning.header import file_digest

StateDict = MutableMapping[str, Tensor]
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,})\.\w+$")


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A file of weights.

    Attributes:
        name: without a folder.
        sha256: of its bytes, in hex.
        url: where it can be downloaded; None if whoever made the base model gave the file.
    """

    name: str
    sha256: str
    url: str | None = None


def hub_folder() -> Path:
    """Where torch hub keeps what it downloads; the variable TORCH_HOME moves it."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def read_weights(wanted: WeightsFile, folders: Sequence[Path]) -> StateDict:
    """The state dict of the first file with this name and digest in the folders.

    It is in torch's pickle format, so it is read by the reader that makes nothing but tensors.

    Raises:
        CheckpointError: no folder has it, or it holds no state dict.
    """
    if Path(wanted.name).name != wanted.name:
        raise CheckpointError(f"the weights file {wanted.name!r} is not the name of a file")
    others: list[str] = []
    for path in (folder / wanted.name for folder in folders):
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
                if found == wanted.sha256:
                    file.seek(0)
                    return _state_dict(file, wanted.name)
            others.append(f"{path} has SHA-256 {found} and is another file. ")
        except FileNotFoundError:
            continue
        except OSError as error:
            others.append(f"{path} cannot be read: {error.strerror}. ")
    raise CheckpointError(_missing(wanted, folders, "".join(others)))


def download(url: str, folder: Path) -> Path:
    """The file of a URL in the folder, downloaded unless it is there.

    Raises:
        CheckpointError: it cannot be downloaded, or is not the file that its name tells by its hash.
    """
    path = folder / url.rpartition("/")[2]
    told = _HASH_IN_NAME.search(path.name)
    begins = told[1] if told else ""
    if path.is_file():
        if not file_digest(path).startswith(begins):
            raise CheckpointError(f"{path} does not have the SHA-256 that its name tells; remove it")
        return path
    folder.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=begins)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"{url} cannot be downloaded: {error}. Fetch it elsewhere and name the file with --weights"
        ) from error
    return path


def _state_dict(file: BinaryIO, name: str) -> StateDict:
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError) as error:
        raise CheckpointError(f"{name} cannot be read as a state dict of torch: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise CheckpointError(f"{name} is not a state dict: expected tensors by name; save `model.state_dict()` alone")
    return state


def _missing(wanted: WeightsFile, folders: Sequence[Path], others: str) -> str:
    places = " or ".join(str(folder) for folder in folders)
    path = folders[0] / wanted.name
    how = (
        f"put it there, as by `curl --fail --location --output '{path}' {wanted.url}`"
        if wanted.url
        else f"it is the file that was named with --weights when the base model was made; put it at {path}"
    )
    return f"{others}The weights file {wanted.name} with SHA-256 {wanted.sha256} is not in {places}: {how}"
