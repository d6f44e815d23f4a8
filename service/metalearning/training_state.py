"""The state of a meta-training run on disk: everything that its next step depends on, in one safetensors file.

The file is written beside its final name and then renamed, so that whenever the process is killed there is a whole
state, the old one or the new one. What is not a tensor stands as JSON in the file's metadata.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from service.errors import CheckpointError

STATE_FILE: Final = "training.state"
"""Its name in the folder of a run; not `.safetensors`, so that a folder of base models may be a run's."""

_METADATA_KEY = "handful-training"
_FREE_TO_CHANGE = frozenset({"purpose", "suits", "offers", "checkpoint_s"})
"""Parts of a recipe that decide no step of the training, so that a run may go on with others."""


@dataclass(slots=True, eq=False)
class TrainingState:
    """Where a run stands after `step` steps.

    Attributes:
        module: the learner, network or modulation whose state dict is trained.
        average: the running average of its weights; the same names.
        chosen: the best weights by validation so far; empty before the first.
        optimizer: over the module's parameters.
        generator: decides episodes and augmentation.
        loss_sum: query losses since the last line of the log, added up.
        validations: one entry a validation: step, accuracy, interval_95.
        log: one entry a line of the CSV log.
        elapsed_s: training time over all sessions.
    """

    module: nn.Module
    average: dict[str, Tensor]
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    chosen: dict[str, Tensor] = field(default_factory=dict)
    step: int = 0
    loss_sum: float = 0.0
    validations: list[dict[str, float]] = field(default_factory=list)
    log: list[dict[str, object]] = field(default_factory=list)
    elapsed_s: float = 0.0


def write_state(path: Path, state: TrainingState, recipe: Mapping[str, Any]) -> None:
    """Put the state in place of the file, at once and for good."""
    facts = {
        "recipe": recipe,
        "step": state.step,
        "loss_sum": state.loss_sum,
        "validations": state.validations,
        "log": state.log,
        "elapsed_s": state.elapsed_s,
    }
    data = save(_tensors(state), {_METADATA_KEY: json.dumps(facts)})
    temporary = path.with_suffix(".writing")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_state(path: Path, state: TrainingState, recipe: Mapping[str, Any]) -> None:
    """Put what the file holds into a state that was freshly built from the same recipe.

    Tensors are copied into those of the fresh state: their memory layout decides which kernels run, and so the
    last bits of the result.

    Raises:
        CheckpointError: the file is damaged or belongs to another recipe.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})[_METADATA_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path.name} is not a training state: {error}") from error
    _check_recipe(path, facts["recipe"], json.loads(json.dumps(recipe)))
    state.step, state.loss_sum, state.elapsed_s = facts["step"], facts["loss_sum"], facts["elapsed_s"]
    state.validations, state.log = facts["validations"], facts["log"]
    _restore(state, tensors)


def _check_recipe(path: Path, written: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    differing = [key for key in wanted if key not in _FREE_TO_CHANGE and written.get(key) != wanted[key]]
    if differing:
        raise CheckpointError(
            f"{path.name} belongs to a recipe with another {', '.join(differing)}; choose another folder or restart"
        )


def _tensors(state: TrainingState) -> dict[str, Tensor]:
    tensors = {f"learner.{name}": tensor for name, tensor in state.module.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in state.average.items()}
    tensors |= {f"chosen.{name}": tensor for name, tensor in state.chosen.items()}
    tensors["generator"] = state.generator.get_state()
    for index, entries in state.optimizer.state_dict()["state"].items():
        kept = {name: tensor for name, tensor in entries.items() if tensor is not None}
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in kept.items()}
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _restore(state: TrainingState, tensors: Mapping[str, Tensor]) -> None:
    """Copy the tensors to where they belong; changes the state."""
    # What an older release did not keep is as it was built.
    state.module.load_state_dict(state.module.state_dict() | _under("learner.", tensors))
    for name, tensor in _under("average.", tensors).items():
        state.average[name].copy_(tensor)
    state.chosen = _under("chosen.", tensors)
    state.generator.set_state(tensors["generator"])
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under("optimizer.", tensors).items():
        index, _, entry = name.partition(".")
        moments.setdefault(int(index), {})[entry] = tensor
    state.optimizer.load_state_dict(state.optimizer.state_dict() | {"state": moments})


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
