"""What crosses the socket between the API process and the worker process: frames, and the messages in them.

A frame is the sizes of its two parts, a JSON header and raw array bytes. The header names the message and says
type and shape of each array. Pixels of a large support set travel as several frames of at most PART_BYTES, so that
a prediction never waits behind a hundred megabytes.

Why our own framing: a pickle would let a damaged or hostile peer run code, and JSON alone would double the bytes
of an image. The decoder does no input or output, so both ends and the tests share it.
"""

import dataclasses
import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.engine.base import (
    AdaptRequest,
    AdaptResult,
    Directions,
    DirectionsRequest,
    FeatureRow,
    Pixels,
    PredictRequest,
    Probabilities,
    Similarities,
    SimilarityRequest,
)
from service.error_names import error_class
from service.errors import ServiceError

PART_BYTES = 4 * 2**20
_SIZES = struct.Struct("!IQ")
_MAX_HEADER_BYTES = 64 * 2**20
_MAX_BODY_BYTES = 2**32
_DTYPES = {"uint8": np.uint8, "float32": np.float32}

Outcome: TypeAlias = Probabilities | Similarities | Directions | AdaptResult | ServiceError
"""How a request ended: its result, or the error that its caller gets."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One message: its name, its fields as JSON values, its arrays."""

    kind: str
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    arrays: tuple[NDArray[Any], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The outcome of the request with this number."""

    number: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Counters:
    """What a worker has done since it started; sizes are those of this moment."""

    cache_bytes: int = 0
    cache_items: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    batches: int = 0
    batch_rows: int = 0
    adaptations: int = 0


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How a worker is set up.

    Attributes:
        base_model_files: paths of the checkpoints to load.
        artifacts_root: folder of the artifacts, shared with the API process.
        device: auto, cpu or cuda.
        cache_bytes: bound of the task parameters kept in memory.
        threads: CPU threads; None follows the quota of the container.
        log_format: text or json.
    """

    base_model_files: tuple[str, ...]
    artifacts_root: str
    device: Literal["auto", "cpu", "cuda"] = "auto"
    cache_bytes: int = 256 * 2**20
    threads: int | None = None
    log_format: Literal["text", "json"] = "text"


class BrokenStreamError(Exception):
    """The other end of the socket does not speak this protocol; never travels, so outside the error tree."""


def encode(frame: Frame) -> bytes:
    """A frame as bytes."""
    arrays = [np.ascontiguousarray(array) for array in frame.arrays]
    layout = [(array.dtype.name, array.shape) for array in arrays]
    header = json.dumps([frame.kind, frame.fields, layout], separators=(",", ":")).encode()
    sizes = _SIZES.pack(len(header), sum(array.nbytes for array in arrays))
    return b"".join([sizes, header, *(array.tobytes() for array in arrays)])


class FrameDecoder:
    """Cuts a byte stream into frames, however it was chopped up."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete with these bytes.

        Raises:
            BrokenStreamError: the bytes are no frame.
        """
        self._buffer += data
        while (end := self._frame_end()) is not None:
            frame = _decode(bytes(memoryview(self._buffer)[:end]))
            del self._buffer[:end]
            yield frame

    def _frame_end(self) -> int | None:
        if len(self._buffer) < _SIZES.size:
            return None
        header_bytes, body_bytes = _SIZES.unpack_from(self._buffer)
        if header_bytes > _MAX_HEADER_BYTES or body_bytes > _MAX_BODY_BYTES:
            raise BrokenStreamError(f"a frame of {header_bytes} + {body_bytes} bytes is beyond reason")
        end: int = _SIZES.size + header_bytes + body_bytes
        return end if len(self._buffer) >= end else None


def _decode(data: bytes) -> Frame:
    header_bytes, _ = _SIZES.unpack_from(data)
    at = _SIZES.size + header_bytes
    try:
        kind, fields, layout = json.loads(data[_SIZES.size : at])
        arrays = []
        for dtype, shape in layout:
            count = math.prod(shape)
            arrays.append(np.frombuffer(data, _DTYPES[dtype], count, at).reshape(shape))
            at += arrays[-1].nbytes
    except (ValueError, KeyError, TypeError) as error:
        raise BrokenStreamError(f"a frame cannot be read: {error}") from error
    return Frame(kind, fields, tuple(arrays))


def predict_frame(number: int, request: PredictRequest, deadline_s: float) -> Frame:
    """The question of a prediction; `deadline_s` counts from its arrival."""
    fields = {
        "number": number,
        "deadline_s": deadline_s,
        "base_model": request.base_model,
        "artifact": request.artifact,
        "request_id": request.request_id,
    }
    return Frame("predict", fields, (request.pixels,))


def predict_request(frame: Frame) -> PredictRequest:
    """The request in a `predict` frame."""
    fields = frame.fields
    return PredictRequest(fields["base_model"], fields["artifact"], frame.arrays[0], fields["request_id"])


def similarity_frame(number: int, request: SimilarityRequest, deadline_s: float) -> Frame:
    """The question how alike images are to examples; `deadline_s` counts from its arrival."""
    fields = {
        "number": number,
        "deadline_s": deadline_s,
        "base_model": request.base_model,
        "support": [(row.digest, row.row) for row in request.support],
        "request_id": request.request_id,
    }
    return Frame("similarities", fields, (request.pixels,))


def similarity_request(frame: Frame) -> SimilarityRequest:
    """The request in a `similarities` frame."""
    fields = frame.fields
    support = tuple(FeatureRow(*row) for row in fields["support"])
    return SimilarityRequest(fields["base_model"], support, frame.arrays[0], fields["request_id"])


def directions_frame(number: int, request: DirectionsRequest, deadline_s: float) -> Frame:
    """The question for features; `deadline_s` counts from its arrival."""
    fields = {
        "number": number,
        "deadline_s": deadline_s,
        "base_model": request.base_model,
        "stored": [(row.digest, row.row) for row in request.stored],
        "request_id": request.request_id,
    }
    return Frame("directions", fields, (request.pixels,))


def directions_request(frame: Frame) -> DirectionsRequest:
    """The request in a `directions` frame."""
    fields = frame.fields
    stored = tuple(FeatureRow(*row) for row in fields["stored"])
    return DirectionsRequest(fields["base_model"], stored, frame.arrays[0], fields["request_id"])


def pixel_frames(number: int, pixels: Pixels) -> Iterator[Frame]:
    """The pixels of an adaptation, cut between images; they go before its `adapt` frame."""
    images_a_part = max(1, PART_BYTES // max(1, pixels[:1].nbytes))
    for start in range(0, len(pixels), images_a_part):
        yield Frame("pixels", {"number": number}, (pixels[start : start + images_a_part],))


def adapt_frame(number: int, request: AdaptRequest) -> Frame:
    """Everything of an adaptation but its pixels."""
    fields = {
        "number": number,
        "base_model": request.base_model,
        "learner": request.learner,
        "options": dict(request.options),
        "labels": request.labels,
        "features": [None if row is None else (row.digest, row.row) for row in request.features],
        "shape": request.pixels.shape,
        "groups": request.groups,
        "prior": request.prior,
        "request_id": request.request_id,
    }
    return Frame("adapt", fields)


def adapt_request(frame: Frame, parts: Sequence[Pixels]) -> AdaptRequest:
    """The request in an `adapt` frame and the pixel frames that came before it."""
    fields = frame.fields
    prior = fields["prior"]
    return AdaptRequest(
        base_model=fields["base_model"],
        learner=fields["learner"],
        options=fields["options"],
        labels=tuple(fields["labels"]),
        features=tuple(None if row is None else FeatureRow(*row) for row in fields["features"]),
        pixels=np.concatenate(parts) if parts else np.zeros(fields["shape"], np.uint8),
        groups=tuple(fields["groups"]),
        prior=None if prior is None else tuple(prior),
        request_id=fields["request_id"],
    )


def answers_frame(answers: Sequence[Answer], counters: Counters) -> Frame:
    """Answers that are ready at the same time, and the worker's counters."""
    entries = [_answer_entry(answer) for answer in answers]
    arrays = tuple(answer.outcome for answer in answers if isinstance(answer.outcome, np.ndarray))
    return Frame("answers", {"answers": entries, "counters": dataclasses.astuple(counters)}, arrays)


def _answer_entry(answer: Answer) -> tuple[int, str, Any]:
    match answer.outcome:
        case ServiceError() as error:
            return answer.number, "error", error_fields(error)
        case AdaptResult() as result:
            return answer.number, "adapted", dataclasses.asdict(result)
        case _:
            return answer.number, "array", None


def answers_in(frame: Frame) -> tuple[list[Answer], Counters]:
    """What `answers_frame` put into a frame."""
    arrays = iter(frame.arrays)
    answers = []
    for number, kind, value in frame.fields["answers"]:
        outcome: Outcome
        match kind:
            case "error":
                outcome = error_from(value)
            case "adapted":
                outcome = AdaptResult(**value)
            case _:
                outcome = next(arrays)
        answers.append(Answer(number, outcome))
    return answers, Counters(*frame.fields["counters"])


def error_fields(error: ServiceError) -> dict[str, str]:
    """An error as it travels: class name and message."""
    return {"error": type(error).__name__, "message": error.message}


def error_from(fields: Mapping[str, str]) -> ServiceError:
    """The error that `error_fields` described."""
    return error_class(fields["error"])(fields["message"])
