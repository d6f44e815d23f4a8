"""A process that makes one task model an ONNX file, stores it and ends.

`python -m service.engine.export_process` is started by `exporting.Exporter` and by nobody else. The job comes as JSON
on standard input; the answer goes to standard output as JSON: digests of the file and its template, or what is wrong.
"""

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.numpy

from service.artifacts import FileArtifacts
from service.engine.messages import error_fields
from service.errors import ServiceError
from service.metalearning.onnx_files import UNKNOWN_WEIGHTS, onnx_file

_NICENESS = 10
"""Predictions come first where cores are few."""


def main() -> None:
    """Do the job on standard input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is for the log
    job = json.load(sys.stdin)
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to the whole group; whoever drains the API waits for this
        signal.signal(number, signal.SIG_IGN)
    signal.alarm(job["deadline_s"])  # also if whoever started this is gone
    os.nice(_NICENESS)
    answers.write(json.dumps(_outcome(job)))
    answers.close()


def _outcome(job: Mapping[str, Any]) -> dict[str, str]:
    try:
        return _exported(job)
    except ServiceError as error:
        return error_fields(error)


def _exported(job: Mapping[str, Any]) -> dict[str, str]:
    store = FileArtifacts(Path(job["artifacts_root"]))
    task = safetensors.numpy.load(store.get(job["artifact"]))
    kind = "with unknown" if UNKNOWN_WEIGHTS in task else "plain"
    template = _template(job, kind, store)
    digest = store.put(onnx_file(store.get(template), task, job["metadata"]))
    return {"digest": digest, "kind": kind, "template": template}


def _template(job: Mapping[str, Any], kind: str, store: FileArtifacts) -> str:
    """Digest of the base model's template, which is made where the one that the job names is not there any more."""
    digest: str | None = job["templates"].get(kind)
    if digest is not None and store.exists(digest):
        return digest
    from service.metalearning.onnx_template import onnx_template  # noqa: PLC0415  # torch, which takes seconds
    from service.metalearning.serialization import load_base_model  # noqa: PLC0415

    model = load_base_model(Path(job["base_model_file"]))
    return store.put(onnx_template(model, tells_unknown=kind != "plain"))


if __name__ == "__main__":
    main()
