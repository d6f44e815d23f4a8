"""Gains and shifts of the channels of a published network, learned on classes of several domains.

The network was trained on big, sharp photographs. Here it learns to tell the classes of small photographs, drawings
and signs apart, as they come from any place and in any light, by what its channels are multiplied with and what is
added to them alone: some fifty thousand numbers, too few to forget in a few hundred steps what it knew.

Scales and shifts as all that is learned: Frankle et al. 2021 (arXiv:2003.00152); found by classification on several
data sets at once, with a cosine head for each: the template of FLUTE, Triantafillou et al. 2021 (arXiv:2105.07029,
section 3.2). Differences: the convolutions are ImageNet's and not trained; one set of gains serves all domains, where
FLUTE has one for each and blends them for a task; nothing is adapted by gradient at a task's time; the heads begin at
class means; the features that are classified are those that tasks get, of two layers (`members`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import cos, pi
from pathlib import Path

import safetensors.torch
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from service.errors import CheckpointError
from service.metalearning.ensemble import Ensemble
from service.metalearning.header import PixelScaling
from service.metalearning.members import Member
from service.metalearning.preprocessing import scaled
from service.metalearning.training_state import TrainingState, read_state, write_state
from service.metalearning.trust.places import any_place, taken_at

Pixels = UInt8[Tensor, "n 3 height width"]

_GROUP = 8
"""Images of one domain that pass the network together; on a CPU their maps stay in the caches."""
_IMAGES_OF_A_MEAN = 4
_CENTRE_IMAGES = 600
STATE_EVERY_STEPS = 20


@dataclass(frozen=True, slots=True)
class Settings:
    """How a modulation is learned.

    Attributes:
        steps: of Adam, on a cosine schedule.
        groups: of eight images of one domain, in a step.
        lr: of gains and shifts.
        head_lr: of the class rows.
        scale: of the cosine logits.
        smoothing: of the labels.
        elsewhere: share of the images of photographs and signs that are taken elsewhere (`trust.places`).
    """

    steps: int = 300
    groups: int = 8
    lr: float = 5e-3
    head_lr: float = 2e-3
    scale: float = 16.0
    smoothing: float = 0.1
    elsewhere: float = 0.6


@dataclass(frozen=True, slots=True, eq=False)
class Lessons:
    """Images of one domain.

    Attributes:
        images: at the side of the ensemble.
        labels: the class of each.
        share: how often a group is of this domain, beside the shares of the others.
        is_mirrored: whether the mirror image is of the same class.
        is_taken_elsewhere: whether place and light do not matter.
    """

    images: Pixels
    labels: Int[Tensor, " n"]
    share: float
    is_mirrored: bool
    is_taken_elsewhere: bool


@dataclass(frozen=True, slots=True, eq=False)
class Pupil:
    """One member of an ensemble, and how it gets to see pixels."""

    backbone: Ensemble
    index: int
    scaling: PixelScaling

    @property
    def member(self) -> Member:
        """The member as published."""
        return self.backbone.networks[self.index]

    def input(self, images: Pixels) -> Float[Tensor, "n 3 side_px side_px"]:
        """What the member sees of images at the side of the ensemble."""
        return self.backbone.shrunk(scaled(images, self.scaling), self.index)

    def pooled(self, images: Pixels) -> Float[Tensor, "n n_features"]:
        """Features as published, neither centred nor of one length."""
        return torch.cat([self.member.pooled(self.input(some)) for some in torch.split(images, _GROUP)])


class Modulation(nn.Module):
    """Gains and shifts of a member, and a row for each class of each domain.

    Args:
        pupil: the member; its centre is set from the first domain.
        domains: the first is that of the photographs.
        generator: draws the images of the class means.
    """

    def __init__(self, pupil: Pupil, domains: Sequence[Lessons], generator: torch.Generator) -> None:
        super().__init__()
        self.pupil = pupil
        self.gains = nn.Parameter(torch.zeros(len(pupil.member.gains)))
        self.shifts = nn.Parameter(torch.zeros(len(pupil.member.shifts)))
        with torch.no_grad():
            photographs = domains[0].images
            apart = torch.arange(0, len(photographs), max(1, len(photographs) // _CENTRE_IMAGES))
            pupil.member.centre.copy_(pupil.pooled(photographs[apart]).mean(dim=0))
            self.heads = nn.ParameterList(nn.Parameter(_class_means(pupil, domain, generator)) for domain in domains)

    def loss(self, domain: int, images: Pixels, labels: Int[Tensor, " n"], how: Settings) -> Float[Tensor, ""]:
        """Cross-entropy of the images of a domain among its classes."""
        member = self.pupil.member
        weights = member.modulated(self.gains, self.shifts)
        features: Tensor = functional_call(member, weights, (self.pupil.input(images),))
        logits = how.scale * features @ F.normalize(self.heads[domain], dim=-1).T
        return F.cross_entropy(logits, labels, label_smoothing=how.smoothing)

    def learned(self) -> dict[str, Tensor]:
        """Gains and shifts as a member's state has them."""
        return {"gains": self.gains.detach().half(), "shifts": self.shifts.detach().half()}


def learn_modulation(  # noqa: PLR0913  # what, from what, how, where, and whom to tell
    backbone: Ensemble,
    index: int,
    domains: Mapping[str, Lessons],
    scaling: PixelScaling,
    *,
    state_file: Path,
    how: Settings | None = None,
    seed: int = 0,
    tell: Callable[[int, float], None] = lambda step, loss: None,  # noqa: ARG005  # the names say what is told
) -> dict[str, Tensor]:
    """Gains and shifts of a member, as its state has them; goes on from the file of a run that was cut off.

    Args:
        backbone: as published; the member's centre changes.
        index: which member.
        domains: by name; the first is that of the photographs.
        scaling: of pixels.
        state_file: where the run is kept.
        how: settings; the defaults are those of `photo`.
        seed: decides images, places and the order.
        tell: called with step and mean loss now and then.

    Raises:
        CheckpointError: the file is damaged, or of a run with other settings.
    """
    how = how or Settings()
    generator = torch.Generator().manual_seed(seed)
    lessons = list(domains.values())
    module = Modulation(Pupil(backbone, index, scaling), lessons, generator)
    groups = [
        {"params": [module.gains, module.shifts], "lr": how.lr},
        {"params": list(module.heads), "lr": how.head_lr},
    ]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
    state = TrainingState(module, {}, optimizer, generator)
    recipe = {**asdict(how), "member": index, "seed": seed, "domains": list(domains)}
    if state_file.exists():
        read_state(state_file, state, recipe)
    shares = torch.tensor([domain.share for domain in lessons])
    while state.step < how.steps:
        pace = min(1.0, (state.step + 1) / 20) * (1 + cos(pi * state.step / how.steps)) / 2
        optimizer.param_groups[0]["lr"], optimizer.param_groups[1]["lr"] = pace * how.lr, pace * how.head_lr
        optimizer.zero_grad()
        for chosen in torch.multinomial(shares, how.groups, replacement=True, generator=generator).tolist():
            images, labels = _group(lessons[chosen], how, generator)
            loss = module.loss(chosen, images, labels, how) / how.groups
            torch.autograd.backward(loss)
            state.loss_sum += loss.item()
        optimizer.step()
        state.step += 1
        if state.step % STATE_EVERY_STEPS == 0 or state.step == how.steps:
            tell(state.step, state.loss_sum / ((state.step - 1) % STATE_EVERY_STEPS + 1))
            state.loss_sum = 0.0
            write_state(state_file, state, recipe)
    return module.learned()


def modulation_file(run: Path, index: int) -> Path:
    """Where the modulation of a member stands in the folder of a run."""
    return run / f"member_{index}.safetensors"


def write_modulation(path: Path, learned: Mapping[str, Tensor]) -> None:
    """Keep gains and shifts."""
    safetensors.torch.save_file(dict(learned), path)


def read_modulations(run: Path, backbone: Ensemble) -> None:
    """Modulate every member as the folder of a run says; changes the backbone.

    Raises:
        CheckpointError: the modulation of a member is missing.
    """
    for index, member in enumerate(backbone.networks):
        path = modulation_file(run, index)
        if not path.exists():
            raise CheckpointError(f"{path} is missing; python -m service.cli.modulation --member {index} makes it")
        member.load_state_dict(safetensors.torch.load_file(path), strict=False)


def _class_means(pupil: Pupil, domain: Lessons, generator: torch.Generator) -> Float[Tensor, "n_classes n_features"]:
    """The mean features of a few images of each class, at unit length."""
    rows = []
    for label in range(int(domain.labels.max()) + 1):
        of_class = (domain.labels == label).nonzero().flatten()
        drawn = of_class[torch.randperm(len(of_class), generator=generator)[:_IMAGES_OF_A_MEAN]]
        features = pupil.member.standardised(pupil.pooled(domain.images[drawn]))
        rows.append(F.normalize(features.mean(dim=0), dim=0))
    return torch.stack(rows)


def _group(domain: Lessons, how: Settings, generator: torch.Generator) -> tuple[Pixels, Int[Tensor, " n"]]:
    """Images by lot, as they may come."""
    drawn = torch.randint(len(domain.images), (_GROUP,), generator=generator)
    images = domain.images[drawn].clone()
    mirrored, elsewhere = torch.rand(2, _GROUP, generator=generator)
    if domain.is_mirrored:
        images = torch.where((mirrored < 0.5)[:, None, None, None], images.flip(-1), images)
    if domain.is_taken_elsewhere:
        for at in (elsewhere < how.elsewhere).nonzero().flatten().tolist():
            images[at : at + 1] = taken_at(images[at : at + 1], any_place(generator), generator)
    return images, domain.labels[drawn]
