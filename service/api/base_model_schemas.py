"""What is answered about base models."""

from collections.abc import Mapping
from typing import Any, Literal

from service.api.schemas import Answered


class BaseModelInput(Answered):
    """The array that a base model takes; your images are brought to it whatever their size."""

    side_px: int
    channels: int
    fit: str
    resampling: str
    ink: bool


class LearnerOffer(Answered):
    """A learner of a base model with its settings."""

    name: str
    adapts: Literal["head", "network"]
    settings: Mapping[str, Any]


class Figure(Answered):
    """One measured accuracy in percent, with the half width of its 95 % interval in points."""

    dataset: str
    learner: str
    n_way: int
    n_shot: int
    accuracy: float
    interval_95: float
    episodes: int
    inductive: bool


class BaseModelCard(Answered):
    """A meta-trained network that tasks are adapted from."""

    id: str
    digest: str
    purpose: str
    suits: Literal["drawings", "photographs"]
    backbone: str
    n_features: int
    input: BaseModelInput
    default_learner: str
    learners: tuple[LearnerOffer, ...]
    figures: tuple[Figure, ...]
    provenance: Mapping[str, Any]


class BaseModelList(Answered):
    """The base models that new tasks can use."""

    items: tuple[BaseModelCard, ...]
    next_cursor: None = None
