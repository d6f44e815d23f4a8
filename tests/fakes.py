"""Stand-ins for the seam to the device: real in what they promise, small in what they compute."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from service.artifacts import ArtifactStore
from service.engine.base import (
    AdaptRequest,
    AdaptResult,
    Directions,
    DirectionsRequest,
    EngineStats,
    FeatureRow,
    PredictRequest,
    Probabilities,
    Similarities,
    SimilarityRequest,
    Tell,
)
from service.errors import EngineBusy


@dataclass
class FakeEngine:
    """An engine whose features are an image's mean brightness, and whose head is the mean of each class.

    Attributes:
        open_gate: while it is cleared, adaptations wait.
        failures: raised by the next adaptations, one each, at their end.
        requests: the adaptations that were asked for.
        arrivals: released once for each of them.
    """

    artifacts: ArtifactStore
    places: int = 4
    taken: int = 0
    open_gate: asyncio.Event = field(default_factory=asyncio.Event)
    failures: list[Exception] = field(default_factory=list)
    requests: list[AdaptRequest] = field(default_factory=list)
    arrivals: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    predictions: list[PredictRequest] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.open_gate.set()

    async def start(self) -> None:
        """Nothing to warm up."""

    async def stop(self) -> None:
        """Nothing to end."""

    @contextmanager
    def reserve(self) -> Iterator[None]:
        if self.taken >= self.places:
            raise EngineBusy("every place is taken; try again later")
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

    async def adapt(self, request: AdaptRequest, *, tell: Tell | None = None) -> AdaptResult:
        self.requests.append(request)
        self.arrivals.release()
        if tell is not None:
            tell(0.5)
        await self.open_gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        sent = [float(mean) for mean in request.pixels.mean(axis=(1, 2, 3))]
        remaining = iter(sent)
        values = [next(remaining) if row is None else self._stored(row) for row in request.features]
        artifact = self._put(_class_means(values, request.labels))
        features = self._put(sent) if request.learner != "maml" and sent else None
        report = {"n_sent": len(sent)}
        return AdaptResult(artifact, len(self.artifacts.get(artifact)), features, report, {"adapt": 1.5})

    async def predict(self, request: PredictRequest, *, deadline_s: float) -> Probabilities:
        self.predictions.append(request)
        await asyncio.wait_for(self.open_gate.wait(), deadline_s)
        means = np.array(json.loads(self.artifacts.get(request.artifact)))
        values = request.pixels.mean(axis=(1, 2, 3))
        scores = np.exp(-np.abs(values[:, None] - means[None, :]) / 16)
        return np.asarray(scores / scores.sum(axis=1, keepdims=True), dtype=np.float32)

    async def similarities(self, request: SimilarityRequest, *, deadline_s: float) -> Similarities:
        await asyncio.wait_for(self.open_gate.wait(), deadline_s)
        stored = np.array([self._stored(row) for row in request.support])
        values = request.pixels.mean(axis=(1, 2, 3))
        return np.asarray(1 - np.abs(values[:, None] - stored[None, :]) / 255, dtype=np.float32)

    async def directions(self, request: DirectionsRequest, *, deadline_s: float) -> Directions:
        await asyncio.wait_for(self.open_gate.wait(), deadline_s)
        values = [self._stored(row) for row in request.stored] + list(request.pixels.mean(axis=(1, 2, 3)))
        angles = np.array(values) / 255 * np.pi / 2
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)

    def stats(self) -> EngineStats:
        return EngineStats("ready", "fake")

    def _stored(self, row: FeatureRow) -> float:
        return float(json.loads(self.artifacts.get(row.digest))[row.row])

    def _put(self, values: Sequence[float]) -> str:
        return self.artifacts.put(json.dumps(list(values)).encode())


def _class_means(values: Sequence[float], labels: Sequence[int]) -> list[float]:
    return [
        float(np.mean([v for v, label in zip(values, labels, strict=True) if label == each]))
        for each in sorted(set(labels))
    ]
