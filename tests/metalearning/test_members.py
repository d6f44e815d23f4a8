"""A member's channels: gains and shifts are put into its weights once, whatever is loaded after them."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from service.metalearning.members import Member


class Two(Member):
    """A convolution, and a layer without a bias that is left alone."""

    def __init__(self) -> None:
        super().__init__([3])
        self.first = nn.Conv2d(3, 2, 1)
        self.last = nn.Conv2d(2, 3, 1, bias=False)
        self.freeze()

    def pooled(self, images: Tensor) -> Tensor:
        """The means of the maps."""
        maps: Tensor = self.last(self.first(images).relu())
        return maps.mean(dim=(2, 3))


LEARNED = {"gains": torch.tensor([0.5, -0.25]).half(), "shifts": torch.tensor([1.0, 0.0]).half()}


@pytest.fixture
def member() -> Two:
    """One with random weights."""
    torch.manual_seed(0)
    return Two()


def test_each_channel_of_a_layer_with_a_bias_has_a_gain_and_a_shift(member: Two) -> None:
    assert member.state_dict().keys() - member.packaged_state == {"centre", "gains", "shifts"}
    assert member.gains.tolist() == member.shifts.tolist() == [0, 0]


def test_a_loaded_modulation_is_in_the_weights(member: Two) -> None:
    weight, bias = (member.get_parameter(f"first.{name}").clone() for name in ("weight", "bias"))
    expected_bias = bias.detach() + torch.tensor([1.0, 0.0])
    member.load_state_dict(LEARNED, strict=False)
    torch.testing.assert_close(member.first.weight, weight * torch.tensor([1.5, 0.75]).reshape(2, 1, 1, 1))
    torch.testing.assert_close(member.first.bias, expected_bias)
    assert member.gains.tolist() == [0.5, -0.25]


def test_what_training_answers_is_what_the_loaded_answers(member: Two, generator: torch.Generator) -> None:
    images = torch.rand(2, 3, 4, 4, generator=generator)
    weights = member.modulated(LEARNED["gains"].float(), LEARNED["shifts"].float())
    trained = functional_call(member, weights, (images,))
    member.load_state_dict(LEARNED, strict=False)
    assert torch.equal(member(images), trained)


def test_a_modulation_that_is_loaded_twice_counts_once(member: Two) -> None:
    member.load_state_dict(LEARNED, strict=False)
    once = member.first.weight.clone()
    member.load_state_dict(LEARNED, strict=False)
    torch.testing.assert_close(member.first.weight, once)


def test_another_modulation_takes_the_place_of_the_first(member: Two) -> None:
    before = {name: tensor.clone() for name, tensor in member.state_dict().items()}
    member.load_state_dict(LEARNED, strict=False)
    member.load_state_dict({name: torch.zeros(2).half() for name in LEARNED}, strict=False)
    for name, tensor in member.state_dict().items():
        torch.testing.assert_close(tensor, before[name])


def test_a_whole_state_is_taken_as_it_is(member: Two) -> None:
    member.load_state_dict(LEARNED, strict=False)
    torch.manual_seed(1)
    copy = Two()
    copy.load_state_dict(member.state_dict())
    for name, tensor in member.state_dict().items():
        assert torch.equal(copy.state_dict()[name], tensor)


def test_a_member_stays_in_evaluation_mode(member: Two) -> None:
    assert not member.train().training
    assert not any(parameter.requires_grad for parameter in member.parameters())
