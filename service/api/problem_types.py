"""What problem types mean: the addresses that the `type` of a problem document names."""

from typing import Annotated

from fastapi import APIRouter, Path

from service.api.openapi import open_problems
from service.api.problems import problem_types
from service.api.service_schemas import ProblemMeaning
from service.errors import NotFound

ProblemName = Annotated[str, Path(description="the last part of a `type`", examples=["engine-busy"])]

router = APIRouter(tags=["service"])


@router.get(
    "/problems/{name}",
    response_model=ProblemMeaning,
    summary="What a problem type means",
    responses=open_problems(NotFound),
)
async def explain_problem(name: ProblemName) -> ProblemMeaning:
    """What the `type` of a problem document stands for."""
    cls = problem_types().get(name)
    if cls is None:
        raise NotFound("no problem has this name")
    return ProblemMeaning(type=f"/problems/{name}", title=cls.title(), status=cls.status)
