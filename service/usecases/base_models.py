"""The base models that this process can use, found as checkpoint files in folders.

Files directly in a folder are current. Those in its `previous/` belong to an earlier release: versions that were
adapted from them go on answering, but no task is adapted to them any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.errors import BaseModelNotFound, ConfigurationError
from service.metalearning.header import BaseModelHeader, file_digest, read_header

SHIPPED: Final = Path(__file__).resolve().parents[1] / "base_models"
"""The folder of the base models of this release."""

PREVIOUS: Final = "previous"


@dataclass(frozen=True, slots=True)
class BaseModelCard:
    """A base model and where it is; `digest` is the SHA-256 of its file."""

    header: BaseModelHeader
    digest: str
    path: Path

    @property
    def id(self) -> str:
        """The stable name that clients use."""
        return self.header.id


class BaseModels:
    """Every base model in some folders; read once, when it is made.

    Raises:
        CheckpointError: a file is no Handful base model.
        ConfigurationError: two current files have one id.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._current: dict[str, BaseModelCard] = {}
        for path in _checkpoints(folders):
            self._add_current(_card(path))
        previous = [_card(path) for path in _checkpoints([folder / PREVIOUS for folder in folders])]
        self._by_digest = {card.digest: card for card in (*previous, *self._current.values())}

    def items(self) -> tuple[BaseModelCard, ...]:
        """The current base models, by id."""
        return tuple(self._current[id_] for id_ in sorted(self._current))

    def get(self, id_: str) -> BaseModelCard:
        """The current base model with this id.

        Raises:
            BaseModelNotFound: there is none.
        """
        if id_ not in self._current:
            raise BaseModelNotFound(f"there is no base model {id_!r}; there are: {self._names()}")
        return self._current[id_]

    def by_digest(self, digest: str) -> BaseModelCard | None:
        """The base model with this digest, current or previous."""
        return self._by_digest.get(digest)

    def files(self) -> tuple[Path, ...]:
        """Every checkpoint file, previous ones included, for the engine."""
        return tuple(card.path for card in self._by_digest.values())

    def candidates(self) -> tuple[BaseModelCard, ...]:
        """What `default_for` can answer, each once."""
        return tuple({card.id: card for card in map(self.default_for, (False, True))}.values())

    def default_for(self, looks_drawn: bool) -> BaseModelCard:
        """The base model for a task that names none: the first that suits its images, else the first.

        First is by folder, then by file name: one that somebody adds takes no task from a shipped one.

        Raises:
            BaseModelNotFound: there is no base model at all.
        """
        suits = "drawings" if looks_drawn else "photographs"
        cards = tuple(self._current.values())
        if not cards:
            raise BaseModelNotFound("no base model is loaded; put a checkpoint into the base models folder")
        return next((card for card in cards if card.header.suits == suits), cards[0])

    def _add_current(self, card: BaseModelCard) -> None:
        if card.id in self._current:
            raise ConfigurationError(f"{card.path} and {self._current[card.id].path} both have the id {card.id!r}")
        self._current[card.id] = card

    def _names(self) -> str:
        return ", ".join(sorted(self._current)) or "none"


def _checkpoints(folders: Sequence[Path]) -> list[Path]:
    return [path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.safetensors"))]


def _card(path: Path) -> BaseModelCard:
    return BaseModelCard(read_header(path), file_digest(path), path)
