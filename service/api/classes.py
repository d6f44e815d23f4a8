"""The classes of a task: rename one, leave it out of adaptations, remove it, move an example to another."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import Field

from service.api.bodies import json_body
from service.api.deps import ExampleId, ServicesDep, TaskId
from service.api.openapi import problems
from service.api.schemas import Example, Taken, Task, Text
from service.api.uploads import read_json
from service.errors import (
    ClassNotFound,
    ExampleNotFound,
    InvalidRequest,
    InvalidSupportSet,
    TaskNotFound,
    UnsupportedMediaType,
)
from service.usecases import views

_LABEL = {"type": "string", "minLength": 1, "maxLength": 200, "examples": ["chipped"]}
Label = Annotated[str, Path(description="label of a class of the task", json_schema_extra=_LABEL)]

router = APIRouter(prefix="/v1/tasks/{task}", tags=["classes"])


class UpdateClassBody(Taken):
    """What to change of a class; what is left out of the body, or null, stays as it is."""

    label: Text | None = Field(None, description="its new label, which no other class of the task has")
    is_left_out: bool | None = Field(
        None, strict=True, description="whether adaptations leave it out; its examples stay"
    )


class UpdateExampleBody(Taken):
    """What to change of an example; what is left out of the body stays as it is."""

    label: Text = Field("", description="the class that it moves to; one that the task does not have is added")
    group: Text | None = Field(None, description="what it belongs to: a burst, a slide, a part; null takes it away")


@router.patch(
    "/classes/{label:path}",
    response_model=Task,
    summary="Change a class",
    openapi_extra=json_body(UpdateClassBody, {"label": "damaged", "is_left_out": False}),
    responses=problems(TaskNotFound, ClassNotFound, InvalidRequest, UnsupportedMediaType),
)
async def update_class(task_id: TaskId, label: Label, request: Request, services: ServicesDep) -> views.TaskView:
    """Rename a class, leave it out of adaptations without removing its examples, or take it in again.

    Versions stay as they are, and answer with the labels that they were adapted with; the next adaptation obeys.
    """
    body = await read_json(request, UpdateClassBody)
    return await services.classes.change(task_id, label, named=body.label, is_left_out=body.is_left_out)


@router.delete(
    "/classes/{label:path}",
    status_code=204,
    summary="Remove a class",
    responses=problems(TaskNotFound, ClassNotFound),
)
async def remove_class(task_id: TaskId, label: Label, services: ServicesDep) -> None:
    """Remove a class with its examples. Versions stay as they are; the next adaptation does without it."""
    await services.classes.remove(task_id, label)


@router.patch(
    "/examples/{example}",
    response_model=Example,
    summary="Move an example to another class",
    openapi_extra=json_body(UpdateExampleBody, {"label": "chipped"}),
    responses=problems(TaskNotFound, ExampleNotFound, InvalidRequest, InvalidSupportSet, UnsupportedMediaType),
)
async def update_example(
    task_id: TaskId, example_id: ExampleId, request: Request, services: ServicesDep
) -> views.ExampleView:
    """Change the class of an example, or its group. Nothing is decoded again; the next adaptation knows of it."""
    body = await read_json(request, UpdateExampleBody)
    fields: dict[str, Any] = {name: getattr(body, name) for name in body.model_fields_set}
    return await services.classes.change_example(task_id, example_id, fields)
