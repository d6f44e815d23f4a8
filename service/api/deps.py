"""What the routes get: the use cases of this app, and ids out of addresses."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path, Query, Request

from service.engine.base import EngineStats
from service.errors import ExampleNotFound, ServiceError, TaskNotFound, VersionNotFound
from service.telemetry import Metrics
from service.usecases.base_models import BaseModels
from service.usecases.classes import TaskClasses
from service.usecases.evaluation import Evaluations
from service.usecases.exports import Exports
from service.usecases.feedback import Feedback
from service.usecases.life import TaskLife
from service.usecases.limits import Limits
from service.usecases.predictions import Predictions
from service.usecases.progress import Progress
from service.usecases.retries import Retries
from service.usecases.suggestions import Suggestions
from service.usecases.tasks import Tasks

MAX_NUMBER = 2**31 - 1
_ID = {"format": "uuid", "examples": ["0194c9b2-e6c7-7a0b-8b1e-3f6d5c2a9e10"]}
_NUMBER = {"type": "integer", "minimum": 1, "maximum": MAX_NUMBER, "examples": [1]}


@dataclass(slots=True)
class Lifecycle:
    """Where the process is between its start and its end.

    Attributes:
        is_draining: it was told to end and still answers.
        failure: why it never will be ready.
    """

    is_draining: bool = False
    failure: ServiceError | None = None


@dataclass(frozen=True, slots=True)
class Services:
    """Everything the routes use, put together by the composition root.

    Attributes:
        deadline_s: longest time of a prediction.
        engine_stats: a snapshot of the engine.
        check_database: returns if the database answers and has this release's schema.
    """

    tasks: Tasks
    retries: Retries
    predictions: Predictions
    evaluations: Evaluations
    life: TaskLife
    classes: TaskClasses
    feedback: Feedback
    exports: Exports
    progress: Progress
    suggestions: Suggestions
    base_models: BaseModels
    limits: Limits
    deadline_s: float
    metrics: Metrics
    engine_stats: Callable[[], EngineStats]
    check_database: Callable[[], Awaitable[None]]
    lifecycle: Lifecycle = field(default_factory=Lifecycle)


async def services(request: Request) -> Services:
    """The services of the app that answers."""
    found = request.app.state.services
    assert isinstance(found, Services)
    return found


async def task_id(task: Annotated[str, Path(description="id of a task", json_schema_extra=_ID)]) -> UUID:
    """The id in the address; what is no UUID names no task."""
    return _uuid(task, TaskNotFound(f"there is no task {task[:100]!r}"))


async def example_id(example: Annotated[str, Path(description="id of an example", json_schema_extra=_ID)]) -> UUID:
    """The id in the address; what is no UUID names no example."""
    return _uuid(example, ExampleNotFound(f"the task has no example {example[:100]!r}"))


async def version_number(
    number: Annotated[str, Path(description="number of a version, from 1", json_schema_extra=_NUMBER)],
) -> int:
    """The number in the address; what is no number names no version."""
    if number.isascii() and number.isdecimal() and len(number) <= 10 and 1 <= int(number) <= MAX_NUMBER:
        return int(number)
    raise VersionNotFound(f"the task has no version {number[:100]!r}")


def _uuid(text: str, missing: ServiceError) -> UUID:
    try:
        found = UUID(text)
    except ValueError:
        raise missing from None
    if str(found) != text.lower():
        raise missing
    return found


ServicesDep = Annotated[Services, Depends(services)]
TaskId = Annotated[UUID, Depends(task_id)]
ExampleId = Annotated[UUID, Depends(example_id)]
VersionNumber = Annotated[int, Depends(version_number)]
Limit = Annotated[int, Query(ge=1, le=200, description="most items of the answer")]
Cursor = Annotated[str | None, Query(max_length=500, description="`next_cursor` of the answer before")]
