"""What is answered about the service itself: its limits, its health, its problems."""

from typing import Literal

from pydantic import Field

from service.api.schemas import MAX_WAIT_S, Answered


class LimitsAnswer(Answered):
    """How much one request may ask for; bytes, pixels and counts."""

    file_bytes: int
    request_bytes: int
    image_pixels: int
    min_classes: int
    max_classes: int
    support_images: int
    prediction_images: int
    metadata_pairs: int
    label_chars: int
    decoded_bytes: int
    wait_s: float = MAX_WAIT_S
    deadline_s: float


class Health(Answered):
    """How the service is, in one word."""

    status: Literal["live", "ready"]


class BadField(Answered):
    """What is wrong with one item of a request."""

    pointer: str = Field(description="where it stands: `/files/3`, `/query/limit`, `/archive/owl/3.png`")
    code: str
    detail: str
    filename: str | None


class Problem(Answered):
    """An RFC 9457 problem document; `type` is stable, `detail` is for people."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    errors: tuple[BadField, ...] = Field(default=(), description="what is wrong with each item of an upload")


class ProblemMeaning(Answered):
    """What a problem type stands for."""

    type: str
    title: str
    status: int
