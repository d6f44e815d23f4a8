"""A base model of one's own, made of a network of torchvision and a projection learned on one's own classes.

`handful make-base-model` makes it. Centre, projection and heads are those of `photo`, with its constants, which were
chosen for EfficientNet-Lites and not for any other network.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from service.metalearning.backbones import build_backbone
from service.metalearning.ensemble import Ensemble
from service.metalearning.header import (
    TORCHVISION,
    BackboneSpec,
    BaseModelHeader,
    InputFormat,
    PixelScaling,
    Setting,
    file_digest,
)
from service.metalearning.learners.base import Network
from service.metalearning.photo import FLOOR, OFFERS, RANK
from service.metalearning.projection import Domain, learn_projection, learned_from
from service.metalearning.torchvision_backbone import expected_input


@dataclass(frozen=True, slots=True, eq=False)
class Frozen:
    """A network that has learned nothing here, what rebuilds it, and what images it takes."""

    backbone: Ensemble
    spec: BackboneSpec
    input: InputFormat
    scaling: PixelScaling


def frozen(model: str, weights: Path, *, side_px: int | None = None) -> Frozen:
    """A network of torchvision with the weights of a file.

    Args:
        model: its name: `convnext_tiny`.
        weights: a state dict of that very network; its last layer may have any number of classes.
        side_px: of the images, if not that of the published weights.

    Raises:
        CheckpointError: there is no such network, it has no linear end, or the weights do not fit it.
    """
    wanted, scaling = expected_input(model)
    wanted = replace(wanted, side_px=side_px or wanted.side_px)
    arguments: dict[str, Setting] = {
        "weights_file": weights.name,
        "weights_sha256": file_digest(weights),
        "side_px": wanted.side_px,
        "rank": RANK,
    }
    spec = BackboneSpec(f"{TORCHVISION}{model}", arguments)
    backbone = build_backbone(spec, beside=weights.parent)
    assert isinstance(backbone, Ensemble)
    return Frozen(backbone, spec, wanted, scaling)


def make_base_model(
    of: Frozen, domains: Mapping[str, Domain], *, id_: str, purpose: str, steps: int = 0
) -> tuple[Network, BaseModelHeader]:
    """The network, centred and projected by the domains, and its header without figures; changes the backbone.

    Args:
        of: the network, modulated or as published.
        domains: what it says of the training classes.
        id_: of the base model.
        purpose: one sentence for who chooses.
        steps: in which its channels were modulated.

    Raises:
        DatasetError: no class of a domain has two images that differ.
    """
    learn_projection(of.backbone, domains, floor=FLOOR)
    header = BaseModelHeader(
        id=id_,
        purpose=purpose,
        suits="photographs",
        backbone=of.spec,
        n_features=of.backbone.n_features,
        input=of.input,
        scaling=of.scaling,
        learners=OFFERS,
        provenance={
            "weights": f"{of.spec.arguments['weights_file']}, under the terms of whoever published it",
            **({"modulation": f"gains and shifts of the channels, learned in {steps} steps"} if steps else {}),
            "projection": f"learned on {learned_from(domains)}",
            "choices": "the constants of `photo`, which were chosen for other networks",
        },
    )
    return Network(of.backbone, of.backbone.n_features), header
