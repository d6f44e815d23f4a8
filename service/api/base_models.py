"""Base models: what tasks can be adapted from."""

from typing import Annotated

from fastapi import APIRouter, Path

from service.api import base_model_schemas as schemas
from service.api.deps import ServicesDep
from service.api.openapi import problems
from service.errors import BaseModelNotFound
from service.usecases.base_models import BaseModelCard

BaseModelId = Annotated[str, Path(description="id of a base model", examples=["omniglot-conv4"])]

router = APIRouter(prefix="/v1/base-models", tags=["base models"])


@router.get("", response_model=schemas.BaseModelList, summary="List base models", responses=problems())
async def list_base_models(services: ServicesDep) -> schemas.BaseModelList:
    """Every base model that a new task can use, with what it is for and its measured figures."""
    return schemas.BaseModelList(items=tuple(map(_card, services.base_models.items())))


@router.get(
    "/{base_model}",
    response_model=schemas.BaseModelCard,
    summary="Look at a base model",
    responses=problems(BaseModelNotFound),
)
async def get_base_model(base_model: BaseModelId, services: ServicesDep) -> schemas.BaseModelCard:
    """One base model."""
    return _card(services.base_models.get(base_model[:200]))


def _card(card: BaseModelCard) -> schemas.BaseModelCard:
    header = card.header
    return schemas.BaseModelCard(
        id=header.id,
        digest=card.digest,
        purpose=header.purpose,
        suits=header.suits,
        backbone=header.backbone.name,
        n_features=header.n_features,
        input=schemas.BaseModelInput.model_validate(header.input),
        default_learner=header.default_learner,
        learners=tuple(
            schemas.LearnerOffer(name=name, adapts=offer.adapts, settings=offer.settings)
            for name, offer in header.learners.items()
        ),
        figures=tuple(map(schemas.Figure.model_validate, header.figures)),
        provenance=header.provenance,
    )
