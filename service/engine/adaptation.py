"""One support set to task parameters on the device, and what there is to say about it."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from service.artifacts import ArtifactStore
from service.engine.base import AdaptRequest, FeatureRow, Tell, untold
from service.engine.inference import Inference
from service.engine.trusting import assessed, assessed_without_features, trusted
from service.errors import ArtifactDamaged, InvalidSupportSet
from service.metalearning.episodes import SupportSet
from service.metalearning.learners.base import CHUNK_IMAGES, Learner, Pause, TaskParameters, settled, with_prior
from service.metalearning.learners.head_learner import HeadLearner
from service.metalearning.serialization import BaseModel, features_from_bytes, features_to_bytes


@dataclass(frozen=True, slots=True, eq=False)
class Adapted:
    """What an adaptation gives.

    Attributes:
        task: the task parameters, on the device.
        features: the features of the request's pixels as the bytes of an artifact; None if the learner has none.
        timings_ms: `features`, `adapt` and `assess`; predictions that passed meanwhile are part of both.
    """

    task: TaskParameters
    features: bytes | None
    report: Mapping[str, Any]
    timings_ms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Adaptation:
    """How support sets are adapted with one base model."""

    base_model: BaseModel
    inference: Inference
    store: ArtifactStore

    def run(self, request: AdaptRequest, *, pause: Pause, tell: Tell = untold) -> Adapted:
        """Adapt; nothing is stored. `tell` takes the share of the images whose features are computed.

        Raises:
            UnknownLearner, InvalidOption, InvalidSupportSet: the request cannot be right.
            ArtifactError: stored features cannot be used.
        """
        learner = self.base_model.learner(request.learner, **request.options).to(self.inference.device)
        labels = _checked_labels(request).to(self.inference.device)
        watch = _Stopwatch()
        features = None
        calibration = self.base_model.header.calibration.get(request.learner)
        if isinstance(learner, HeadLearner) and learner.adapts == "head":
            rows, features = self._features(request, pause=pause, tell=tell)
            watch.lap("features")
            pause()
            task = trusted(_head(learner, rows, labels), rows, labels, calibration)
            watch.lap("adapt")
            assessment = assessed(learner, rows, request, calibration=calibration, pause=pause)
        else:
            if len(request.pixels) != len(request.labels):
                raise InvalidSupportSet(f"learner {request.learner!r} adapts the network and needs every image")
            images = self.inference.upload(request.pixels)
            watch.lap("features")
            task = learner.adapt(SupportSet(images, labels), pause=pause)
            watch.lap("adapt")
            assessment = assessed_without_features(request.labels, calibration)
        watch.lap("assess")
        task = with_prior(task, request.prior)
        report = _report(learner, request, task) | assessment
        return Adapted(task, features, report, watch.laps_ms)

    def _features(self, request: AdaptRequest, *, pause: Pause, tell: Tell) -> tuple[Tensor, bytes | None]:
        """One row an example, stored ones included, and the fresh ones as bytes.

        Fresh features take the way through their stored form, so that an adaptation from stored features gives the
        same task parameters as the one that stored them.
        """
        width = self.base_model.header.n_features
        rows = torch.empty(len(request.labels), width)
        is_fresh = torch.tensor([row is None for row in request.features])
        data = None
        if len(request.pixels):
            data = features_to_bytes(self._computed(request, pause=pause, tell=tell))
            rows[is_fresh] = features_from_bytes(data)
        stored = [row for row in request.features if row is not None]
        if stored:
            rows[~is_fresh] = self._stored(stored, width)
        return rows.to(self.inference.device), data

    def _computed(self, request: AdaptRequest, *, pause: Pause, tell: Tell) -> Tensor:
        chunk = max(1, min(CHUNK_IMAGES, self.inference.rows_a_pass))
        rows = []
        with torch.no_grad():
            for start in range(0, len(request.pixels), chunk):
                pause()
                tell(start / len(request.pixels))
                images = self.inference.upload(request.pixels[start : start + chunk])
                rows.append(self.inference.network.backbone(images).cpu())
        return torch.cat(rows)

    def _stored(self, wanted: Sequence[FeatureRow], width: int) -> Tensor:
        tables = {digest: features_from_bytes(self.store.get(digest)) for digest in {row.digest for row in wanted}}
        for row in wanted:
            table = tables[row.digest]
            if row.row >= len(table) or table.shape[1] != width:
                shape = f"{table.shape[0]} x {table.shape[1]}"
                raise ArtifactDamaged(f"features {row.digest} are {shape}, expected row {row.row} of width {width}")
        return torch.stack([tables[row.digest][row.row] for row in wanted])


def _head(learner: HeadLearner, rows: Tensor, labels: Tensor) -> TaskParameters:
    with torch.no_grad():
        return settled(learner.head(rows, labels))


def _checked_labels(request: AdaptRequest) -> Tensor:
    n_sent = sum(row is None for row in request.features)
    if len(request.features) != len(request.labels) or n_sent != len(request.pixels):
        raise InvalidSupportSet(
            f"{len(request.labels)} labels, {len(request.features)} features and {len(request.pixels)} images "
            "do not make one support set"
        )
    counts = Counter(request.labels)
    if len(counts) < 2 or set(counts) != set(range(len(counts))):
        raise InvalidSupportSet(f"labels are {sorted(counts)}, expected 0..n_way-1, each present, at least two")
    return torch.tensor(request.labels)


def _report(learner: Learner, request: AdaptRequest, task: TaskParameters) -> dict[str, Any]:
    counts = Counter(request.labels)
    return {
        "n_support": len(request.labels),
        "n_way": len(counts),
        "support_per_class": [counts[label] for label in range(len(counts))],
        "n_parameters": sum(tensor.numel() for tensor in task.values()),
        "adapts": learner.adapts,
        "settings": dict(learner.settings()),
        "prior": None if request.prior is None else list(request.prior),
    }


class _Stopwatch:
    """Milliseconds of consecutive sections, by name."""

    def __init__(self) -> None:
        self.laps_ms: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, name: str) -> None:
        """End a section."""
        until = time.perf_counter()
        self.laps_ms[name] = round((until - self._since) * 1000, 3)
        self._since = until
