"""What photographs cost on one core: adapting to 5 of each of 5 classes, and one prediction, with and without HTTP.

    python -m tests.benchmarks.photograph_times

Photographs of 640 x 480 pixels as JPEG, 25 to adapt to, each prediction another one. `bare` decodes them and calls the
worker in this process; `service` sends them to a service of its own, which shares the one core with this client.
The two take turns. Wall clock is what a user waits, on an idle machine; processor time (of all processes concerned)
is what other load on the machine hardly changes. The last line is how long a prediction waits while a task adapts.
"""

import argparse
import io
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from service.artifacts import FileArtifacts
from service.client import Client, Task
from service.engine.base import AdaptRequest, PredictRequest
from service.engine.cpus import used_cpu_s
from service.engine.messages import WorkerOptions
from service.engine.worker import Worker
from service.imaging import decode
from service.metalearning.header import InputFormat
from service.metalearning.serialization import load_base_model
from tests.running import running_service

PHOTO = Path(__file__).resolve().parents[2] / "service" / "base_models" / "photo.safetensors"
N_WAY = N_SHOT = 5


@dataclass
class Row:
    """Times of one thing, in ms."""

    name: str
    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    @contextmanager
    def timed(self, cpu_s: Callable[[], float]) -> Iterator[None]:
        """Add a time."""
        since, used = time.perf_counter(), cpu_s()
        yield
        self.wall_ms.append(1000 * (time.perf_counter() - since))
        self.cpu_ms.append(1000 * (cpu_s() - used))


class Bare:
    """The worker in this process."""

    def __init__(self, folder: Path) -> None:
        torch.set_num_threads(1)
        self._model = load_base_model(PHOTO)
        self._worker = Worker(WorkerOptions((str(PHOTO),), str(folder), "cpu"), store=FileArtifacts(folder))
        self._worker.warm_up()
        self._task = ""

    def adapt(self, photographs: Sequence[bytes]) -> None:
        """Adapt to these, class by class."""
        labels = tuple(index // N_SHOT for index in range(len(photographs)))
        pixels = np.concatenate([_pixels(each, self._model.header.input) for each in photographs])
        request = AdaptRequest(self._model.digest, "ridge", {}, labels, (None,) * len(labels), pixels)
        self._task = self._worker.adapt(request).artifact

    def predict(self, photograph: bytes) -> None:
        """Answer for one."""
        pixels = _pixels(photograph, self._model.header.input)
        self._worker.predict_batch([PredictRequest(self._model.digest, self._task, pixels)])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--predictions", type=int, default=10, help="in each round")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bare = Bare(folder)
        with running_service(folder) as url, Client(url, timeout_s=120) as client:
            rows, waits_ms, alone_ms = _measured(bare, client, arguments.rounds, arguments.predictions)
    _print(rows)
    sys.stdout.write(
        f"a prediction while a task adapts to 50 photographs: median {statistics.median(waits_ms):.0f} ms, longest "
        f"{max(waits_ms):.0f}; while nothing else runs {statistics.median(alone_ms):.0f}\n"
    )


def _measured(bare: Bare, client: Client, rounds: int, predictions: int) -> tuple[list[Row], list[float], list[float]]:
    rows = {name: Row(name) for name in ("adapt, bare", "adapt, service", "predict, bare", "predict, service")}
    waits_ms: list[float] = []
    for number in range(rounds):
        support = _photographs(N_WAY * N_SHOT, seed=2 * number)
        queries = _photographs(predictions, seed=2 * number + 1)
        labelled = {f"class {index}": support[index * N_SHOT : (index + 1) * N_SHOT] for index in range(N_WAY)}
        with rows["adapt, bare"].timed(time.process_time):
            bare.adapt(support)
        with rows["adapt, service"].timed(_service_cpu_s):
            task = client.create_task(f"round {number}", labelled)
        for query in queries:
            with rows["predict, bare"].timed(time.process_time):
                bare.predict(query)
            with rows["predict, service"].timed(_service_cpu_s):
                client.predict(task, query)
        waits_ms += _waits_ms(client, task, queries, _photographs(50, seed=1000 + number))
    return list(rows.values()), waits_ms, rows["predict, service"].wall_ms


def _waits_ms(client: Client, task: Task, queries: Sequence[bytes], support: Sequence[bytes]) -> list[float]:
    """How long predictions take while another task adapts."""
    labelled = {"a": support[::2], "b": support[1::2]}
    adapting = threading.Thread(target=client.create_task, args=("beside", labelled))
    adapting.start()
    time.sleep(0.5)  # the photographs are sent and decoded first
    found = []
    for query in queries:
        since = time.perf_counter()
        client.predict(task, query)
        if adapting.is_alive():
            found.append(1000 * (time.perf_counter() - since))
    adapting.join()
    return found


def _photographs(count: int, *, seed: int) -> list[bytes]:
    """Coloured shapes with noise, which weigh about as much as photographs do: some 80 kB."""
    rng = np.random.default_rng(seed)
    files = []
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((640, 480))
        noisy = np.asarray(coarse, np.float64) + rng.normal(0, 8, (480, 640, 3))
        file = io.BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
        files.append(file.getvalue())
    return files


def _pixels(photograph: bytes, wanted: InputFormat) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return decode(photograph, [wanted], max_pixels=10**8).arrays[0][None]


def _service_cpu_s() -> float:
    """Processor time of this process and of all that it started."""
    return time.process_time() + sum(used_cpu_s(pid) or 0.0 for pid in _children(os.getpid()))


def _children(parent: int) -> list[int]:
    found: list[int] = []
    for file in Path(f"/proc/{parent}/task").glob("*/children"):
        for child in map(int, file.read_text().split()):
            found += [child, *_children(child)]
    return found


def _print(rows: Sequence[Row]) -> None:
    sys.stdout.write("                  wall ms: median (least)   processor ms: median (least)\n")
    for row in rows:
        wall, cpu = ((statistics.median(times), min(times)) for times in (row.wall_ms, row.cpu_ms))
        sys.stdout.write(f"{row.name:17} {wall[0]:14.0f} ({wall[1]:.0f}) {cpu[0]:22.0f} ({cpu[1]:.0f})\n")


if __name__ == "__main__":
    main()
