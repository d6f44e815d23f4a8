"""The seam to the device: what an engine can do, and the messages that go in and come back.

Only ids, digests and small arrays cross it; never weights, never a pickle. A base model and a task model are
named by the SHA-256 digest of their file.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.metalearning.header import Setting

Pixels = NDArray[np.uint8]
"""Images in a base model's input format: (n, channels, side_px, side_px)."""

Probabilities = NDArray[np.float32]
"""One row an image, one column a class, and the unknown score in one more where the task has it: (n, n_way or + 1)."""

Tell: TypeAlias = Callable[[float], None]
"""Takes the share of an adaptation that is done, 0 to 1."""

Directions = NDArray[np.float32]
"""Features of unit length, a row each: (n, n_features)."""

Similarities = NDArray[np.float32]
"""One row an image, one column an example: (n, n_support)."""


def untold(_share: float) -> None:
    """A `Tell` for those who need not know."""


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """Where the stored features of one example stand: a row of a features artifact."""

    digest: str
    row: int


@dataclass(frozen=True, slots=True, eq=False)
class AdaptRequest:
    """A support set and how to adapt to it.

    Attributes:
        base_model: digest of the base model.
        learner: one of the learners that the base model offers.
        options: settings that replace those of the offer: steps, lr.
        labels: class of each example, 0..n_way-1, each present.
        features: for each example its stored features, or None where its pixels are sent.
        pixels: the pixels of the examples whose features are None, in the same order.
        prior: probability of each class before an image is seen; None weighs all classes equally.
        request_id: goes into the worker's log lines.
        groups: for each example the number of what must not be parted when examples are held out, or None; empty
            where there are no groups.
    """

    base_model: str
    learner: str
    options: Mapping[str, Setting]
    labels: tuple[int, ...]
    features: tuple[FeatureRow | None, ...]
    pixels: Pixels
    prior: tuple[float, ...] | None = None
    request_id: str = ""
    groups: tuple[int | None, ...] = ()


@dataclass(frozen=True, slots=True)
class AdaptResult:
    """A task model, stored.

    Attributes:
        artifact: digest of the task parameters' file.
        n_bytes: its size.
        features: digest of a file with the features of the request's `pixels`, a row each, in order; None
            where the learner adapts the backbone, whose features do not outlive the version.
        report: facts about the adaptation for the version's report; JSON values.
        timings_ms: `queue`, `features`, `adapt`, `assess`, `store`.
    """

    artifact: str
    n_bytes: int
    features: str | None
    report: Mapping[str, Any]
    timings_ms: Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class PredictRequest:
    """Images for one task model; each is answered without regard to the others."""

    base_model: str
    artifact: str
    pixels: Pixels
    request_id: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class SimilarityRequest:
    """Images to compare with examples whose features are stored; at least one of each."""

    base_model: str
    support: tuple[FeatureRow, ...]
    pixels: Pixels
    request_id: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class DirectionsRequest:
    """Images whose features are asked for, and examples whose features are stored; at least one image."""

    base_model: str
    stored: tuple[FeatureRow, ...]
    pixels: Pixels
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class EngineStats:
    """What an engine can say about itself, for `/metrics` and `/readyz`."""

    state: Literal["starting", "ready", "restarting", "stopped"]
    device: str
    queue_items: int = 0
    worker_restarts: int = 0
    cache_bytes: int = 0
    cache_items: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    batches: int = 0
    batch_rows: int = 0
    adaptations: int = 0
    base_models: tuple[str, ...] = field(default=())
    """Digests of the loaded base models."""


class Engine(Protocol):
    """Whoever owns the device. All methods belong to one event loop."""

    async def start(self) -> None:
        """Start the worker and return once it is warm and ready; what is asked meanwhile waits, within its deadline.

        Raises:
            SetupError: the device or a base model cannot be used.
        """

    async def stop(self) -> None:
        """Let what is in flight finish or fail within a bounded time, then end the worker."""

    def reserve(self) -> AbstractContextManager[None]:
        """A place in the bounded queue for one adaptation, given back at exit.

        Raises:
            EngineBusy: none is left.
        """

    async def adapt(self, request: AdaptRequest, *, tell: Tell | None = None) -> AdaptResult:
        """Adapt and store a task model; the caller holds a place from `reserve`.

        `tell` is called now and then by the event loop, where the share that is done can be said.

        Raises:
            WorkerDied: the worker ended meanwhile; the request may be sent again.
            InvalidSupportSet, InvalidOption, UnknownLearner, BaseModelGone, ArtifactError: it never will succeed.
        """

    async def predict(self, request: PredictRequest, *, deadline_s: float) -> Probabilities:
        """Class probabilities of each image.

        Raises:
            EngineBusy, EngineNotReady, WorkerDied: try again later.
            DeadlineExceeded: no answer within deadline_s.
            BaseModelGone, ArtifactError: the task model cannot be used.
        """

    async def similarities(self, request: SimilarityRequest, *, deadline_s: float) -> Similarities:
        """Cosine of the features of each image and each example; -1 to 1.

        Raises:
            EngineBusy, EngineNotReady, WorkerDied: try again later.
            DeadlineExceeded: no answer within deadline_s.
            BaseModelGone, ArtifactError: the features cannot be used.
        """

    async def directions(self, request: DirectionsRequest, *, deadline_s: float) -> Directions:
        """Features divided by their lengths: of the stored examples, then of the images.

        Raises:
            EngineBusy, EngineNotReady, WorkerDied: try again later.
            DeadlineExceeded: no answer within deadline_s.
            BaseModelGone, ArtifactError: the features cannot be used.
        """

    def stats(self) -> EngineStats:
        """A snapshot; may be a second old."""
