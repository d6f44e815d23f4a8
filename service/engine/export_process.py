"""A process that makes one task model an ONNX file, stores it and ends.

`python -m service.engine.export_process` is started by `exporting.Exporter` and by nobody else. The job comes as JSON
on standard input; the answer goes to standard output as JSON: the digest of the file, or what is wrong.
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
from service.engine.templates import Templates, template_key
from service.errors import BaseModelGone, ServiceError
from service.metalearning.onnx_files import UNKNOWN_WEIGHTS, onnx_file

_NICENESS = 10
"""Of tracing: predictions come first where cores are few. Filling a template in is done too soon to be in the way."""


def main() -> None:
    """Do the job on standard input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is for the log
    job = json.load(sys.stdin)
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to the whole group; whoever drains the API waits for this
        signal.signal(number, signal.SIG_IGN)
    signal.alarm(job["deadline_s"])  # also if whoever started this is gone
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
    template = _template(job, tells_unknown=UNKNOWN_WEIGHTS in task)
    return {"digest": store.put(onnx_file(template, task, job["metadata"]))}


def _template(job: Mapping[str, Any], *, tells_unknown: bool) -> bytes:
    """The base model's template: the one that is kept, or one that is made and kept."""
    templates = Templates(Path(job["artifacts_root"]))
    key = template_key(job["base_model"], "with unknown" if tells_unknown else "plain")
    kept = templates.get(key)
    if kept is not None:
        return kept
    os.nice(_NICENESS)
    made = _traced(Path(job["base_model_file"]), job["base_model"], tells_unknown=tells_unknown)
    templates.put(key, made)
    return made


def _traced(file: Path, digest: str, *, tells_unknown: bool) -> bytes:
    from service.metalearning.onnx_template import onnx_template  # noqa: PLC0415  # torch, which takes seconds
    from service.metalearning.serialization import load_base_model  # noqa: PLC0415

    model = load_base_model(file)
    if model.digest != digest:
        raise BaseModelGone(f"{file.name} was changed since the service was started; start it again")
    return onnx_template(model, tells_unknown=tells_unknown)


if __name__ == "__main__":
    main()
