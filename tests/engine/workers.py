"""Process engines and their workers, as the tests start, watch and kill them."""

import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

from service.engine.patience import Patience
from service.engine.process import ProcessEngine
from tests.engine.conftest import ToyModel
from tests.engine.toy_tasks import toy_support


@contextlib.asynccontextmanager
async def running(toy: ToyModel, artifacts: Path, patience: Patience | None = None) -> AsyncIterator[ProcessEngine]:
    """A process engine with room for 2,000 requests."""
    engine = ProcessEngine(
        base_model_files=[toy.path],
        artifacts_root=artifacts,
        device="cpu",
        cache_bytes=2**16,
        queue_items=2000,
        threads=1,
        patience=patience,
    )
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


async def adapted(engine: ProcessEngine, toy: ToyModel, **more: object) -> str:
    """Digest of a task model adapted to `toy_support`."""
    with engine.reserve():
        return (await engine.adapt(toy_support(toy.digest, **more))).artifact  # type: ignore[arg-type]  # fields by name


def is_alive(pid: int | None) -> bool:
    """Whether the process runs; a zombie does not."""
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    return False


def has_ended(pid: int | None, *, within_s: float) -> bool:
    """Whether the process ends within this time."""
    until = time.monotonic() + within_s
    while is_alive(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not is_alive(pid)


def first_child(parent: int) -> int:
    """Id of the first process that this one starts."""
    children = Path(f"/proc/{parent}/task/{parent}/children")
    while not (ids := children.read_text().split()):
        time.sleep(0.01)
    return int(ids[0])


def signalled(pid: int | None, number: signal.Signals = signal.SIGKILL) -> int:
    """Send a signal to the process; return its id."""
    assert pid is not None
    os.kill(pid, number)
    return pid


def resident_bytes(pid: int | None) -> int:
    """Memory that the process occupies."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
