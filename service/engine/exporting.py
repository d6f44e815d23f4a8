"""Task models as ONNX files, each made by a process of its own.

Why not the worker: tracing a base model takes seconds in which no prediction could pass, and memory that the worker
would keep. The trace is kept on the disk (`templates.py`), so that the next export of a task of this base model takes
less than one.
"""

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import service
from service.engine.messages import error_from
from service.errors import DeadlineExceeded, EngineBusy, WorkerDied

DEADLINE_S = 240.0
MOST_WAITING = 8

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ExportJob:
    """One task model to export.

    Attributes:
        base_model: digest of its file.
        artifact: digest of the task parameters.
        metadata: goes into the file.
    """

    base_model_file: Path
    base_model: str
    artifact: str
    metadata: Mapping[str, str]


class Exporter:
    """Exports one task model at a time; a few more may wait.

    Args:
        artifacts_root: where task models are and files go.
        deadline_s: for one export, its waiting included.
    """

    def __init__(self, artifacts_root: Path, *, deadline_s: float = DEADLINE_S) -> None:
        self._artifacts_root = artifacts_root
        self._deadline_s = deadline_s
        self._turn = asyncio.Semaphore(1)
        self._waiting = 0

    async def export(self, job: ExportJob) -> str:
        """The digest of the ONNX file, which is stored like any artifact.

        Raises:
            EngineBusy: too many exports wait.
            DeadlineExceeded: it was not done in time.
            WorkerDied: the process was killed, as for its memory.
            ArtifactError, CheckpointError, BaseModelGone: the task model or its base model cannot be used.
        """
        if self._waiting >= MOST_WAITING:
            raise EngineBusy(f"{self._waiting} exports are waiting, which is the most; try again later")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._deadline_s), self._turn:
                return await self._exported(job)
        except TimeoutError:
            raise DeadlineExceeded(f"the export was not done within {self._deadline_s:g} s") from None
        finally:
            self._waiting -= 1

    async def _exported(self, job: ExportJob) -> str:
        asked = {
            "base_model_file": str(job.base_model_file.absolute()),
            "base_model": job.base_model,
            "artifacts_root": str(self._artifacts_root.absolute()),
            "artifact": job.artifact,
            "metadata": dict(job.metadata),
            "deadline_s": ceil(self._deadline_s),
        }
        async with _process() as process:
            out, _ = await process.communicate(json.dumps(asked).encode())
        try:
            answer = json.loads(out)
        except ValueError:
            _log.error("an export ended with status %s", process.returncode)
            raise WorkerDied("the export was ended before it was done; the log says why") from None
        if "digest" not in answer:
            raise error_from(answer)
        return str(answer["digest"])


@asynccontextmanager
async def _process() -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that is killed if the block does not wait for its end."""
    source = str(Path(service.__file__).parents[1])
    path = os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "service.engine.export_process"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()  # to the end of its output, which closes the pipes
