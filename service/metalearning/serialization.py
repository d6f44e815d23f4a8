"""Base models, task parameters and features as bytes: safetensors, never a pickle.

The same tensors and metadata always give the same bytes, because artifacts are named by their digest. All metadata
stands in one entry as JSON with sorted keys, since safetensors does not order its entries.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor

from service.errors import ArtifactDamaged, CheckpointError, ServiceError, UnknownLearner
from service.metalearning.backbones import build_backbone
from service.metalearning.header import METADATA_KEY, BaseModelHeader, Setting, header_to_json, read_header
from service.metalearning.learners import LEARNERS
from service.metalearning.learners.base import Learner, Network, TaskParameters

Features = Float[Tensor, "n n_features"]
_LARGEST_HALF = 65504.0
_LEARNER = "learner."
"""What the names of tensors that belong to a learner begin with; then come the learner's name and a dot."""


@dataclass(frozen=True, slots=True, eq=False)
class BaseModel:
    """A base model in memory.

    Attributes:
        digest: SHA-256 of its file, which versions name it by.
        learned: what learners have learned beside the network, by the learner's name.
    """

    header: BaseModelHeader
    digest: str
    network: Network
    learned: Mapping[str, TaskParameters] = field(default_factory=dict)

    def learner(self, name: str, **options: Setting) -> Learner:
        """The offered learner, its settings overlaid by these options.

        Raises:
            UnknownLearner: the base model does not offer it.
            InvalidOption: an option is unknown or out of range.
        """
        offers = self.header.learners
        if name not in offers:
            raise UnknownLearner(f"{self.header.id} does not offer learner {name!r}, only {', '.join(offers)}")
        learner = LEARNERS[name](self.network, **{**offers[name].settings, **options})
        learner.take_learned(self.learned.get(name, {}))
        return learner


def save_base_model(
    path: Path,
    model: Learner | Network,
    header: BaseModelHeader,
    *,
    learned: Mapping[str, TaskParameters] | None = None,
) -> None:
    """Write a checkpoint: the backbone's tensors that no package brings, what learners have learned, and the header.

    A learner's own settings belong into the header (`LearnerOffer.settings`, from `learner.settings()`). The file
    appears under its name only when it is complete.

    Args:
        path: where.
        model: a network, or a learner for its network.
        header: offers every learner that `learned` names.
        learned: `learner.learned()` by the learner's name.
    """
    network = model.network if isinstance(model, Learner) else model
    tensors = {name: network.state_dict()[name].contiguous().cpu() for name in _saved_names(network)}
    for learner, of_learner in (learned or {}).items():
        tensors |= {f"{_LEARNER}{learner}.{name}": t.detach().contiguous().cpu() for name, t in of_learner.items()}
    data = safetensors.torch.save(tensors, metadata={METADATA_KEY: header_to_json(header)})
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(data)
    partial.replace(path)


def load_base_model(path: Path) -> BaseModel:
    """The base model of a checkpoint file, on the CPU.

    Raises:
        CheckpointError: the file is no checkpoint, is damaged, or does not fit the backbone that its header names; or
            the file of the backbone's weights is missing.
    """
    header = read_header(path)
    backbone = build_backbone(header.backbone, beside=path.parent)
    network = Network(backbone, header.n_features)
    try:
        data = path.read_bytes()
        tensors = safetensors.torch.load(data)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path.name} is damaged: {error}") from error
    of_network = {name: tensor for name, tensor in tensors.items() if not name.startswith(_LEARNER)}
    _load_tensors(network, of_network, file_name=path.name)
    learned = _learned({name: tensor for name, tensor in tensors.items() if name.startswith(_LEARNER)})
    model = BaseModel(header, hashlib.sha256(data).hexdigest(), network, learned)
    for name in learned:
        try:
            model.learner(name)
        except ServiceError as error:
            raise CheckpointError(f"{path.name} does not fit its header: {error}") from error
    return model


def task_to_bytes(task: TaskParameters, metadata: Mapping[str, object] | None = None) -> bytes:
    """Task parameters as an artifact.

    Args:
        task: what a learner's `adapt` returned.
        metadata: JSON values, for people; equal values give equal bytes.
    """
    return _to_bytes({name: tensor.detach() for name, tensor in task.items()}, metadata)


def task_from_bytes(data: bytes) -> TaskParameters:
    """The task parameters, bit-equal.

    Raises:
        ArtifactDamaged: the bytes are not those of task parameters.
    """
    tensors = _from_bytes(data)
    if not {"head.weight", "head.bias"} <= tensors.keys():
        raise ArtifactDamaged(f"task parameters without a head: {', '.join(tensors) or 'no tensor'}")
    return tensors


def features_to_bytes(features: Features) -> bytes:
    """Features as an artifact, in half precision: 2.5 kB for 1,280 of them."""
    return _to_bytes({"features": features.detach().clamp(-_LARGEST_HALF, _LARGEST_HALF).half()})


def features_from_bytes(data: bytes) -> Features:
    """The features, equal to `as_stored` of those that were stored.

    Raises:
        ArtifactDamaged: the bytes are not those of features.
    """
    tensors = _from_bytes(data)
    if tensors.keys() != {"features"} or tensors["features"].ndim != 2:
        raise ArtifactDamaged(f"not an artifact of features: {', '.join(tensors) or 'no tensor'}")
    return tensors["features"].float()


def as_stored(features: Features) -> Features:
    """Features rounded as storing rounds them, so that a task comes out the same from fresh and stored ones."""
    return features.clamp(-_LARGEST_HALF, _LARGEST_HALF).half().float()


def _saved_names(network: Network) -> list[str]:
    """State-dict names of what a checkpoint holds. The network's own head is zero and no learner's start."""
    packaged = {f"backbone.{name}" for name in getattr(network.backbone, "packaged_state", frozenset[str]())}
    return [name for name in network.state_dict() if not name.startswith("head.") and name not in packaged]


def _learned(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The tensors of each learner under the names that it gave them."""
    learned: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        learner, _, own_name = name.removeprefix(_LEARNER).partition(".")
        learned.setdefault(learner, {})[own_name] = tensor
    return learned


def _load_tensors(network: Network, tensors: Mapping[str, Tensor], *, file_name: str) -> None:
    state = network.state_dict()
    expected = {name: tuple(state[name].shape) for name in _saved_names(network)}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            sizes = f"is {found.get(name)}, expected {expected.get(name)}"
            raise CheckpointError(f"{file_name} does not fit its header: tensor {name} {sizes}")
    if getattr(network.backbone, "n_features", network.n_features) != network.n_features:
        raise CheckpointError(f"{file_name}: the backbone's features are not the header's {network.n_features}")
    network.load_state_dict(tensors, strict=False)


def _to_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, object] | None = None) -> bytes:
    text = json.dumps(dict(metadata or {}), sort_keys=True, ensure_ascii=False)
    on_cpu = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    data: bytes = safetensors.torch.save(on_cpu, metadata={METADATA_KEY: text})
    return data


def _from_bytes(data: bytes) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ArtifactDamaged(f"not a safetensors file: {error}") from error
    return tensors
