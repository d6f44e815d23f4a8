"""Export: a version as a file that runs without Handful."""

from typing import Annotated, Final
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response

from service.api.connections import while_connected
from service.api.deps import MAX_NUMBER, ServicesDep, TaskId
from service.api.openapi import problems
from service.errors import (
    ArtifactDamaged,
    ArtifactMissing,
    BaseModelGone,
    DeadlineExceeded,
    EngineBusy,
    InvalidRequest,
    StorageFull,
    TaskNotFound,
    TaskNotReady,
    VersionNotFound,
    WorkerDied,
)
from service.usecases.exports import ExportFormat

MEDIA_TYPE: Final = "application/octet-stream"

router = APIRouter(prefix="/v1/tasks/{task}", tags=["predictions"])


@router.get(
    "/export",
    response_class=Response,
    summary="Get a task model as a file",
    responses={
        200: {
            "description": "The file",
            "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
            "headers": {
                "Content-Disposition": {
                    "description": "a name for the file, of the task's name and the version",
                    "schema": {"type": "string"},
                }
            },
        },
        **problems(
            TaskNotFound,
            VersionNotFound,
            TaskNotReady,
            BaseModelGone,
            InvalidRequest,
            EngineBusy,
            WorkerDied,
            DeadlineExceeded,
            StorageFull,
            ArtifactMissing,
            ArtifactDamaged,
        ),
    },
)
async def export_task(
    task_id: TaskId,
    request: Request,
    services: ServicesDep,
    kind: Annotated[
        ExportFormat,
        Query(alias="format", description="the whole model as ONNX, or the task parameters alone as safetensors"),
    ] = "onnx",
    version: Annotated[int | None, Query(ge=1, le=MAX_NUMBER, description="another version than the current")] = None,
) -> Response:
    """One file with everything in it or in its metadata: labels, preprocessing, threshold, base model, licence.

    An ONNX file takes `pixels`, uint8 of shape (n, channels, side_px, side_px), and gives `probabilities`. It takes
    some seconds to make.
    """
    file = await while_connected(request, services.exports.export(task_id, kind, version=version))
    disposition = f"attachment; filename=\"{_ascii(file.filename)}\"; filename*=UTF-8''{quote(file.filename)}"
    return Response(file.data, media_type=MEDIA_TYPE, headers={"Content-Disposition": disposition})


def _ascii(name: str) -> str:
    """The name for clients that read nothing else."""
    return "".join(character if character.isascii() else "-" for character in name)
