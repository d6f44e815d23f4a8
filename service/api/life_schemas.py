"""The bodies of the calls that change a task as pydantic models."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from service.api.schemas import DEFAULT_WAIT_S, MAX_METADATA_PAIRS, Example, KeepS, Store, Taken, Text, Threshold, Wait
from service.usecases.life import TaskUpdate


class UpdateTaskBody(Taken):
    """What to change of a task; what is left out stays as it is."""

    name: Text | None = Field(None, description="for people; null takes it away")
    metadata: dict[str, str | None] | None = Field(
        None,
        max_length=MAX_METADATA_PAIRS,
        description="pairs to set; a key with null is removed, others stay; null removes all",
    )
    threshold: Annotated[Threshold, Field(strict=True)] | None = Field(
        None, description="answers whose top probability is below it are marked; null takes the suggested one"
    )
    store: Store = Field("images", description="what is kept of the uploads; stricter than before acts at once")
    keep_s: Annotated[KeepS, Field(strict=True)] | None = Field(
        None, description="seconds from now until the task is removed; null keeps it for good"
    )

    def update(self) -> TaskUpdate:
        """The change in the words of the use cases."""
        named = self.model_fields_set - {"metadata"}
        metadata = self.metadata if "metadata" in self.model_fields_set else {}
        return TaskUpdate({name: getattr(self, name) for name in named}, metadata)


class FeedbackFields(Taken):
    """The fields of a form with feedback, beside its images."""

    adapt: bool = Field(False, description="adapt the task to its examples, these included")
    wait: Wait = DEFAULT_WAIT_S


class StoredFeedback(BaseModel):
    """The examples that feedback became, in the order of the request."""

    model_config = ConfigDict(from_attributes=True, frozen=True)

    items: tuple[Example, ...]
    version: int | None = Field(description="the version that is made with them, where it was asked for")


class PoolFields(Taken):
    """The fields of a form with a pool, beside its images."""

    n: int = Field(10, ge=1, le=100_000, description="how many images to suggest, at most")


class PoolProgress(BaseModel):
    """How far a pool is."""

    model_config = ConfigDict(from_attributes=True, frozen=True)

    read: int = Field(description="how many images are decoded")
    seen: int = Field(description="how many of them went through the network")
    of: int = Field(description="how many there are")


class SuggestedImage(BaseModel):
    """An image of a pool that is worth a label."""

    model_config = ConfigDict(from_attributes=True, frozen=True)

    index: int = Field(description="its place among the `files` of the request, from 0")
    filename: str | None
    reason: Literal["typical", "uncertain"]
    detail: str
    n_alike: int = Field(description="how many images of the pool are like it, itself included")


class Suggestions(BaseModel):
    """The images of a pool to label next, the first first."""

    model_config = ConfigDict(from_attributes=True, frozen=True)

    task_id: UUID
    suggestions: tuple[SuggestedImage, ...]
