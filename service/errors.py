"""Every error of Handful: one tree, a class, a sentence, a status.

    ServiceError
    |- MalformedRequest 400           the request cannot be parsed
    |- Unauthorized 401, Forbidden 403
    |- NotFound 404                   TaskNotFound, ClassNotFound, ExampleNotFound, VersionNotFound, BaseModelNotFound
    |- MethodNotAllowed 405
    |- Conflict 409                   TaskNotReady, BaseModelGone, ExamplesNotKept, RequestInProgress
    |- OriginalNotKept 410
    |- RequestTooLarge 413
    |- UnsupportedMediaType 415
    |- InvalidRequest 422             InvalidSupportSet, UnknownBaseModel, UnknownLearner, InvalidOption,
    |                                 IdempotencyKeyReused
    |- ImageError 422                 one image: EmptyFile, DamagedImage, UnsupportedImage 415, ImageTooLarge 413
    |- UploadRejected 422             an upload with its bad images, all named in `items`
    |- Unavailable 503                EngineBusy, WorkerDied, EngineNotReady, Draining
    |- DeadlineExceeded 504
    |- StorageFull 507
    |- ArtifactError 500              ArtifactMissing, ArtifactDamaged
    `- SetupError 500                 ConfigurationError, SchemaOutdated, CheckpointError, DatasetError, RecipeError

An exception takes one message; between processes and over HTTP it travels as its class name and that
message (see `error_names`). `problem_type` is the stable name that clients match on.
"""

import re
from dataclasses import dataclass
from typing import ClassVar


class ServiceError(Exception):
    """Something went wrong inside Handful."""

    status: ClassVar[int] = 500

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    @classmethod
    def problem_type(cls) -> str:
        """The class name in kebab case: `EngineBusy` is `engine-busy`."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()

    @classmethod
    def title(cls) -> str:
        """The first sentence of the class docstring."""
        return (cls.__doc__ or cls.__name__).partition("\n")[0].rstrip(".")


class MalformedRequest(ServiceError):
    """The request cannot be parsed."""

    status = 400


class Unauthorized(ServiceError):
    """The API key is missing or wrong."""

    status = 401


class Forbidden(ServiceError):
    """The request comes from a place that is not allowed in."""

    status = 403


class NotFound(ServiceError):
    """There is nothing at this address."""

    status = 404


class TaskNotFound(NotFound):
    """No task has this id."""


class ClassNotFound(NotFound):
    """The task has no class with this label."""


class ExampleNotFound(NotFound):
    """The task has no example with this id."""


class VersionNotFound(NotFound):
    """The task has no version with this number."""


class BaseModelNotFound(NotFound):
    """No base model has this id."""


class MethodNotAllowed(ServiceError):
    """This address does not answer this method."""

    status = 405


class Conflict(ServiceError):
    """The request does not fit the present state."""

    status = 409


class TaskNotReady(Conflict):
    """The task has no version that can answer yet."""


class BaseModelGone(Conflict):
    """The base model that this version was adapted from is not loaded."""


class ExamplesNotKept(Conflict):
    """The task keeps too little of its examples for this."""


class RequestInProgress(Conflict):
    """A request with this idempotency key is still running; try again after a pause."""


class OriginalNotKept(ServiceError):
    """The original image is not kept."""

    status = 410


class RequestTooLarge(ServiceError):
    """The request is larger than the limits allow."""

    status = 413


class UnsupportedMediaType(ServiceError):
    """The body is of a type that this address does not read."""

    status = 415


class InvalidRequest(ServiceError):
    """The request was understood but cannot be right."""

    status = 422


class InvalidSupportSet(InvalidRequest):
    """The examples do not make a classification problem."""


class UnknownBaseModel(InvalidRequest):
    """No base model has the requested id."""


class UnknownLearner(InvalidRequest):
    """The base model does not offer the requested learner."""


class InvalidOption(InvalidRequest):
    """An option of the adaptation is unknown or out of range."""


class IdempotencyKeyReused(InvalidRequest):
    """The idempotency key belongs to a request that asked for something else."""


class ImageError(ServiceError):
    """An image cannot be read."""

    status = 422


class EmptyFile(ImageError):
    """The file has no bytes."""


class DamagedImage(ImageError):
    """The image is truncated or damaged."""


class UnsupportedImage(ImageError):
    """The file is not an image of a format that Handful reads."""

    status = 415


class ImageTooLarge(ImageError):
    """The image has too many bytes or pixels."""

    status = 413


@dataclass(frozen=True, slots=True)
class BadItem:
    """What is wrong with one item of a request.

    Attributes:
        pointer: where it stands, as a JSON pointer: `/files/3`.
        code: the problem type of what is wrong with it.
        detail: one sentence for a person.
        filename: the name the client gave it, if it gave one.
    """

    pointer: str
    code: str
    detail: str
    filename: str | None = None


class UploadRejected(ServiceError):
    """Some images of the upload cannot be used; nothing was stored."""

    status = 422

    def __init__(self, message: str, items: tuple[BadItem, ...] = (), status: int = 422) -> None:
        super().__init__(message)
        self.items = items
        self.status = status  # type: ignore[misc]  # 413 or 415 where every item agrees


class Unavailable(ServiceError):
    """The service cannot answer at the moment; try again after a pause."""

    status = 503


class EngineBusy(Unavailable):
    """The service has as much to do as it takes on; try again after a pause."""


class WorkerDied(Unavailable):
    """The worker stopped while it worked on this; try again after a pause."""


class EngineNotReady(Unavailable):
    """The worker is starting; try again after a pause."""


class Draining(Unavailable):
    """The service is shutting down."""


class DeadlineExceeded(ServiceError):
    """The answer was not ready in time."""

    status = 504


class StorageFull(ServiceError):
    """There is no space left to store this."""

    status = 507


class ArtifactError(ServiceError):
    """A stored file cannot be used."""


class ArtifactMissing(ArtifactError):
    """A stored file is missing."""


class ArtifactDamaged(ArtifactError):
    """A stored file does not have the bytes that its name promises."""


class SetupError(ServiceError):
    """Handful is not set up to do this."""


class ConfigurationError(SetupError):
    """A setting is missing or cannot be right."""


class SchemaOutdated(SetupError):
    """The database schema is not the one this release needs."""


class CheckpointError(SetupError):
    """A checkpoint file cannot be used."""


class DatasetError(SetupError):
    """A data set cannot be read or is too small for what is asked."""


class RecipeError(SetupError):
    """A recipe is incomplete or cannot be right."""
