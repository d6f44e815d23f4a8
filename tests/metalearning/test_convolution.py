"""A convolution with kernels of each task's own is the one of torch, and so are its derivatives."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from service.metalearning import convolution
from service.metalearning.convolution import convolve

FEW, MANY = (2, 3, 7, 6), (40, 4, 9, 10)
"""Maps of a task, (n, channels, height, width), that become patches and that do not."""


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [FEW, MANY])
def test_own_kernels_give_each_task_what_it_gets_alone(
    shape: tuple[int, ...], stride: int, generator: torch.Generator
) -> None:
    maps, kernels, shifts = _of_tasks(2, shape, generator)
    together = torch.vmap(lambda *task: convolve(*task, stride=stride))(maps, kernels, shifts)
    alone = [F.conv2d(*task, stride=stride, padding=1) for task in zip(maps, kernels, shifts, strict=True)]
    torch.testing.assert_close(together, torch.stack(alone))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("sides", [(4, 5), (5, 4)])
def test_patches_are_differentiable_twice(sides: tuple[int, int], stride: int, generator: torch.Generator) -> None:
    tensors = [t.requires_grad_() for t in _of_tasks(2, (1, 1, *sides), generator)]
    own = torch.vmap(lambda *task: convolve(*task, stride=stride))
    assert torch.autograd.gradcheck(own, tensors)
    assert torch.autograd.gradgradcheck(own, tensors)


def test_one_task_is_differentiable_twice(generator: torch.Generator) -> None:
    tensors = [t[0].requires_grad_() for t in _of_tasks(1, (1, 1, 4, 5), generator)]
    assert torch.autograd.gradcheck(lambda *task: convolve(*task, stride=2), tensors)
    assert torch.autograd.gradgradcheck(lambda *task: convolve(*task, stride=2), tensors)


def test_shared_kernels_convolve_the_images_of_all_tasks(generator: torch.Generator) -> None:
    maps, kernels, shifts = _of_tasks(2, FEW, generator)
    shared = torch.vmap(lambda task: convolve(task, kernels[0], shifts[0], stride=2))(maps)
    torch.testing.assert_close(shared.flatten(0, 1), F.conv2d(maps.flatten(0, 1), kernels[0], shifts[0], 2, 1))


def test_autocast_holds_for_own_kernels_too(generator: torch.Generator) -> None:
    maps, kernels, shifts = (t.float() for t in _of_tasks(2, FEW, generator))
    own = torch.vmap(lambda *task: convolve(*task, stride=2))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = own(maps, kernels, shifts)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), own(maps, kernels, shifts), rtol=0.02, atol=0.1)


def test_both_ways_are_tried_here() -> None:
    assert [n * h * w > convolution._MANY_PLACES for n, _, h, w in (FEW, MANY)] == [False, True]


def _of_tasks(n_tasks: int, shape: tuple[int, ...], generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Maps, kernels and shifts, in double precision."""
    maps = torch.randn(n_tasks, *shape, generator=generator).double()
    kernels = torch.randn(n_tasks, 2, shape[1], 3, 3, generator=generator).double()
    return maps, kernels, torch.randn(n_tasks, 2, generator=generator).double()
