"""Predictions a second through the process engine, as a share of what the bare network does.

    python tests/benchmarks/engine_throughput.py
    python tests/benchmarks/engine_throughput.py --base-model service/base_models/omniglot-conv4.safetensors

Both sides use one CPU thread and the same weights and images, and take turns in one run, so that other load on the
machine hits both: read the ratios. The bare network gets batches as large as the number of clients, the engine single
images of several tasks, which it has to batch by itself. Answers are compared before anything is timed.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from service.engine.base import AdaptRequest, Pixels, PredictRequest
from service.engine.process import ProcessEngine
from service.metalearning.backbones import build_backbone
from service.metalearning.header import BackboneSpec, BaseModelHeader, InputFormat, LearnerOffer, PixelScaling
from service.metalearning.learners.base import Network
from service.metalearning.preprocessing import scaled
from service.metalearning.serialization import BaseModel, load_base_model, save_base_model

N_WAY = 5
N_TASKS = 8


@dataclass
class Row:
    """Rates of one number of clients, a round each, in images a second."""

    clients: int
    bare: list[float] = field(default_factory=list)
    engine: list[float] = field(default_factory=list)
    latency_ms: list[float] = field(default_factory=list)
    batch_rows: list[float] = field(default_factory=list)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-model", type=Path, help="checkpoint; without it, a Conv-4 with random weights")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each side, a round")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.base_model or _saved_conv4(Path(folder))
        rows = [Row(clients) for clients in arguments.clients]
        asyncio.run(_measure(path, Path(folder), rows, rounds=arguments.rounds, seconds=arguments.seconds))
    _print(rows)


async def _measure(path: Path, folder: Path, rows: Sequence[Row], *, rounds: int, seconds: float) -> None:
    model = load_base_model(path)
    engine = ProcessEngine(
        base_model_files=[path], artifacts_root=folder / "artifacts", device="cpu", threads=1, queue_items=1024
    )
    await engine.start()
    try:
        images = _images(model, 64)
        artifacts = [await _adapted(engine, model, seed) for seed in range(N_TASKS)]
        await _check(engine, model, artifacts, images)
        for _ in range(rounds):
            for row in rows:
                row.bare.append(_bare_rate(model, images[: row.clients], seconds))
                await _engine_round(engine, model, artifacts, row, seconds)
    finally:
        await engine.stop()


async def _engine_round(
    engine: ProcessEngine, model: BaseModel, artifacts: Sequence[str], row: Row, seconds: float
) -> None:
    requests = [
        PredictRequest(model.digest, artifacts[n % N_TASKS], _images(model, 1, seed=n)) for n in range(row.clients)
    ]
    before = engine.stats()
    rate = await _rate(lambda n: engine.predict(requests[n], deadline_s=30), row.clients, seconds)
    after = engine.stats()
    row.engine.append(rate)
    row.latency_ms.append(1000 * row.clients / rate)
    row.batch_rows.append((after.batch_rows - before.batch_rows) / (after.batches - before.batches))


async def _rate(predict: Callable[[int], Awaitable[object]], clients: int, seconds: float) -> float:
    """Predictions a second of clients that ask again as soon as they are answered."""
    until = time.perf_counter() + seconds

    async def client(n: int) -> int:
        answered = 0
        while time.perf_counter() < until:
            await predict(n)
            answered += 1
        return answered

    since = time.perf_counter()
    counts = await asyncio.gather(*(client(n) for n in range(clients)))
    return sum(counts) / (time.perf_counter() - since)


def _bare_rate(model: BaseModel, images: Pixels, seconds: float) -> float:
    until = (since := time.perf_counter()) + seconds
    answered = 0
    while time.perf_counter() < until:
        _bare_features(model, images)
        answered += len(images)
    return answered / (time.perf_counter() - since)


def _bare_features(model: BaseModel, images: Pixels) -> torch.Tensor:
    with torch.inference_mode():
        features: torch.Tensor = model.network.backbone(scaled(torch.from_numpy(images), model.header.scaling))
        return features


async def _check(engine: ProcessEngine, model: BaseModel, artifacts: Sequence[str], images: Pixels) -> None:
    """Compare answers in a mixed crowd with answers alone.

    Raises:
        SystemExit: they differ by more than 1e-4.
    """
    requests = [PredictRequest(model.digest, artifacts[n % N_TASKS], images[n : n + 1]) for n in range(len(images))]
    crowd = await asyncio.gather(*(engine.predict(request, deadline_s=30) for request in requests))
    alone = [await engine.predict(request, deadline_s=30) for request in requests]
    difference = float(np.abs(np.stack(crowd) - np.stack(alone)).max())
    sys.stdout.write(f"largest difference between an answer in a crowd and alone: {difference:.1e}\n")
    if difference > 1e-4:
        raise SystemExit("answers depend on their companions")


async def _adapted(engine: ProcessEngine, model: BaseModel, seed: int) -> str:
    labels = tuple(range(N_WAY)) * 5
    pixels = _images(model, len(labels), seed=seed)
    request = AdaptRequest(
        model.digest, model.header.default_learner, {}, labels, features=(None,) * len(labels), pixels=pixels
    )
    with engine.reserve():
        return (await engine.adapt(request)).artifact


def _images(model: BaseModel, count: int, *, seed: int = 0) -> Pixels:
    shape = (count, model.header.input.channels, model.header.input.side_px, model.header.input.side_px)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _saved_conv4(folder: Path) -> Path:
    spec = BackboneSpec("conv4", {"channels": 1})
    backbone = build_backbone(spec)
    n_features = int(backbone.n_features)  # type: ignore[arg-type]  # nn.Module hides the type of its attributes
    header = BaseModelHeader(
        id="conv4",
        purpose="This benchmark.",
        suits="drawings",
        backbone=spec,
        n_features=n_features,
        input=InputFormat(side_px=28, channels=1),
        scaling=PixelScaling((0.5,), (0.5,)),
        learners={"ridge": LearnerOffer("head")},
    )
    path = folder / "conv4.safetensors"
    save_base_model(path, Network(backbone, n_features), header)
    return path


def _print(rows: Sequence[Row]) -> None:
    sys.stdout.write("medians of the rounds, one CPU thread each side, one image a prediction\n")
    sys.stdout.write("clients  bare images/s  engine predictions/s  ratio (range)        round trip ms  images/batch\n")
    for row in rows:
        ratios = [engine / bare for engine, bare in zip(row.engine, row.bare, strict=True)]
        sys.stdout.write(
            f"{row.clients:7d}  {statistics.median(row.bare):13.0f}  {statistics.median(row.engine):20.0f}  "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})  "
            f"{statistics.median(row.latency_ms):13.2f}  {statistics.median(row.batch_rows):12.1f}\n"
        )


if __name__ == "__main__":
    main()
