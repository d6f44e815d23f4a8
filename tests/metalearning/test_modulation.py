"""Learning gains and shifts: classes come apart, the network's own weights stay, a run that was cut off goes on."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from service.errors import CheckpointError
from service.metalearning.ensemble import Ensemble
from service.metalearning.header import PixelScaling
from service.metalearning.members import Member
from service.metalearning.modulation import (
    Lessons,
    Settings,
    learn_modulation,
    modulation_file,
    read_modulations,
    write_modulation,
)

SIDE_PX = 8
SCALING = PixelScaling(mean=(0.5,) * 3, std=(0.5,) * 3)
HOW = Settings(steps=40, groups=2, lr=2e-2, elsewhere=0.0)


class Small(Member):
    """Two convolutions with random weights that are always the same."""

    def __init__(self) -> None:
        super().__init__([6])
        self.first, self.last = nn.Conv2d(3, 8, 3, stride=2), nn.Conv2d(8, 6, 1)
        generator = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) / 3)
        self.freeze()

    def pooled(self, images: Tensor) -> Tensor:
        """The means of the maps."""
        maps: Tensor = self.last(self.first(images).relu())
        return maps.mean(dim=(2, 3))


@pytest.fixture
def ensemble() -> Ensemble:
    """Two members, the second of which sees the image smaller."""
    return Ensemble([Small(), Small()], sides_px=[SIDE_PX, 6], rank=1)


@pytest.fixture
def lessons(generator: torch.Generator) -> dict[str, Lessons]:
    """Six classes of a mean of red and green each, whose blue is any."""
    labels = torch.arange(6).repeat_interleave(20)
    angles = torch.arange(6) * 2 * torch.pi / 6
    colours = 128 + 30 * torch.stack([angles.cos(), angles.sin(), torch.zeros(6)], dim=1)
    noise = 20 * torch.randn(120, 3, SIDE_PX, SIDE_PX, generator=generator)
    noise[:, 2] += 50 * torch.randn(120, 1, 1, generator=generator)
    images = (colours[labels][:, :, None, None] + noise).clamp(0, 255).to(torch.uint8)
    return {"colours": Lessons(images, labels, 1.0, is_mirrored=True, is_taken_elsewhere=True)}


def spread(member: Member, lessons: Lessons) -> float:
    """Squared length of a class mean beside the mean squared distance to it, in the features that tasks get."""
    images = lessons.images.float() / 127.5 - 1
    member.centre.copy_(member.pooled(images).mean(dim=0))
    features = member(images)
    means = torch.stack([features[lessons.labels == label].mean(dim=0) for label in range(6)])
    return float(means.square().sum(1).mean() / (features - means[lessons.labels]).square().sum(1).mean())


def test_classes_come_apart(ensemble: Ensemble, lessons: dict[str, Lessons], tmp_path: Path) -> None:
    before = spread(ensemble.networks[0], lessons["colours"])
    losses: list[float] = []
    learned = learn_modulation(
        ensemble,
        0,
        lessons,
        SCALING,
        state_file=tmp_path / "state",
        how=HOW,
        tell=lambda _, loss: losses.append(loss),
    )
    ensemble.networks[0].load_state_dict(learned, strict=False)
    assert spread(ensemble.networks[0], lessons["colours"]) > 1.2 * before
    assert losses[-1] < losses[0]


def test_only_gains_and_shifts_are_learned(ensemble: Ensemble, lessons: dict[str, Lessons], tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in ensemble.state_dict().items()}
    learned = learn_modulation(ensemble, 1, lessons, SCALING, state_file=tmp_path / "state", how=replace(HOW, steps=3))
    assert {name: tensor.shape for name, tensor in learned.items()} == {"gains": (14,), "shifts": (14,)}
    assert all(tensor.abs().max() > 0 for tensor in learned.values())
    changed = {name for name, tensor in ensemble.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"members.1.centre"}


def test_a_run_that_was_cut_off_goes_on_to_the_same_bits(
    ensemble: Ensemble, lessons: dict[str, Lessons], tmp_path: Path
) -> None:
    whole = learn_modulation(ensemble, 0, lessons, SCALING, state_file=tmp_path / "whole", how=HOW)

    def cut_off(step: int, loss: float) -> None:
        del loss
        if step == 40:
            raise KeyboardInterrupt

    again = {"state_file": tmp_path / "again", "how": HOW}
    with pytest.raises(KeyboardInterrupt):
        learn_modulation(ensemble, 0, lessons, SCALING, **again, tell=cut_off)  # type: ignore[arg-type]
    told: list[int] = []
    continued = learn_modulation(
        ensemble,
        0,
        lessons,
        SCALING,
        **again,  # type: ignore[arg-type]
        tell=lambda step, _: told.append(step),
    )
    assert told == [40]
    assert all(torch.equal(continued[name], whole[name]) for name in whole)


def test_a_run_of_other_settings_is_not_gone_on_with(
    ensemble: Ensemble, lessons: dict[str, Lessons], tmp_path: Path
) -> None:
    learn_modulation(ensemble, 0, lessons, SCALING, state_file=tmp_path / "state", how=replace(HOW, steps=1))
    with pytest.raises(CheckpointError, match="another steps"):
        learn_modulation(ensemble, 0, lessons, SCALING, state_file=tmp_path / "state", how=HOW)


def test_what_was_kept_modulates_every_member(ensemble: Ensemble, tmp_path: Path) -> None:
    for index in range(2):
        learned = {"gains": torch.full((14,), 0.5 + index), "shifts": torch.zeros(14)}
        write_modulation(modulation_file(tmp_path, index), learned)
    weights = [member.get_parameter("last.weight").clone() for member in ensemble.networks]
    read_modulations(tmp_path, ensemble)
    for index, (member, weight) in enumerate(zip(ensemble.networks, weights, strict=True)):
        torch.testing.assert_close(member.get_parameter("last.weight"), weight * (1.5 + index))


def test_a_member_without_a_modulation_is_named(ensemble: Ensemble, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"member_0.safetensors is missing; .* --member 0"):
        read_modulations(tmp_path, ensemble)
