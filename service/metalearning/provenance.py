"""What a trained base model says about its origin: data, recipe, commit, machine time, result on validation."""

import dataclasses
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from service.metalearning.datasets import Dataset
from service.metalearning.header import BackboneSpec, BaseModelHeader, LearnerOffer, Setting
from service.metalearning.learners import LEARNERS
from service.metalearning.learners.base import Network
from service.metalearning.recipe import Recipe, recipe_to_tables
from service.metalearning.serialization import BaseModel
from service.metalearning.training_state import TrainingState


def trained_header(
    recipe: Recipe,
    dataset: Dataset,
    state: TrainingState,
    offers: Mapping[str, Mapping[str, Setting]],
    *,
    start: BaseModel | None = None,
) -> BaseModelHeader:
    """The header of the base model that the run ends with.

    Args:
        recipe: how it was trained.
        dataset: the classes it was trained on.
        state: the run at its end.
        offers: settings of each learner offered, the default first.
        start: the base model that training began with.
    """
    network = state.module if isinstance(state.module, Network) else state.module.network
    assert isinstance(network, Network)
    return BaseModelHeader(
        id=recipe.id,
        purpose=recipe.purpose,
        suits=recipe.suits,
        backbone=BackboneSpec(recipe.backbone.name, recipe.backbone.settings),
        n_features=network.n_features,
        input=recipe.input,
        scaling=recipe.scaling,
        learners={
            name: LearnerOffer(LEARNERS[name](network, **settings).adapts, settings)
            for name, settings in offers.items()
        },
        provenance=_provenance(recipe, dataset, state) | _begun(start),
    )


def pretrained_header(recipe: Recipe, dataset: Dataset, state: TrainingState) -> BaseModelHeader:
    """The header of a pre-trained base model: `<recipe id>-pretrained`, with the recipe's offers as they stand."""
    header = trained_header(recipe, dataset, state, recipe.offers)
    tested = {"test_accuracy": state.validations[-1]["accuracy"]} if state.validations else {}
    provenance = {**header.provenance, "pretrained": True, **tested}
    return dataclasses.replace(header, id=f"{recipe.id}-pretrained", provenance=provenance)


def _begun(start: BaseModel | None) -> dict[str, Any]:
    """The base model that training began with, and how long its own training took."""
    if start is None:
        return {}
    told = {"id": start.header.id, "digest": start.digest, "training_s": start.header.provenance.get("training_s")}
    return {"start": told}


def _provenance(recipe: Recipe, dataset: Dataset, state: TrainingState) -> dict[str, Any]:
    return {
        "dataset": recipe.data,
        "split": recipe.split,
        "rotations": recipe.rotations,
        "n_classes": dataset.n_classes,
        "n_images": sum(len(rows) for rows in dataset.rows),
        "recipe": recipe_to_tables(recipe),
        "steps": state.step,
        "training_s": round(state.elapsed_s),
        "validations": state.validations,
        "commit": git_commit(),
        "handful": metadata.version("handful"),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def git_commit() -> str | None:
    """The commit of the checkout this code runs from, with `+` if the learning core was changed; None outside one."""
    folder = Path(__file__).parent
    commands = (["git", "rev-parse", "HEAD"], ["git", "status", "--porcelain", "--untracked-files=no", "."])
    try:
        commit, changes = (
            subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
            for command in commands
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}+" if changes else commit
