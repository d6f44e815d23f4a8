"""A 3x3 convolution that is quick where `torch.vmap` gives each task kernels of its own.

Why our own: torch makes one grouped convolution of such kernels, slower on a CPU than a loop over the tasks, and
differentiates it a second time by convolutions with dilation, slower still. Here the maps are laid out as patches and
one batched matrix product does the rest, backwards too; or, where a task has so many places that torch's kernels win,
the tasks take turns. Kernels that all tasks share are convolved as ever, all images at once.
"""

# ruff: noqa: ANN401  # torch gives the context of an autograd function no type

from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function

_TAPS = 3
_MANY_PLACES = 3000
"""Seen on one core: a task's 25 maps of 14x14 take a tenth less by themselves; at 7x7 patches are as quick."""

InMaps = Float[Tensor, "n channels height width"]
OutMaps = Float[Tensor, "n filters height2 width2"]
Patches = Float[Tensor, "n height2 width2 patch"]
Seen = Float[Tensor, "n height2 width2 3 3 channels"]


def convolve(
    maps: InMaps, kernel: Float[Tensor, "filters channels 3 3"], shift: Float[Tensor, " filters"], *, stride: int
) -> OutMaps:
    """`conv2d` with padding 1; differentiable twice, and under one `torch.vmap`."""
    device = maps.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        maps, kernel, shift = maps.to(dtype), kernel.to(dtype), shift.to(dtype)
    return cast("Tensor", _Convolution.apply(maps, kernel, shift, stride))


class _Convolution(Function):
    """`conv2d`, and what becomes of it under vmap."""

    @staticmethod
    def forward(maps: Tensor, kernel: Tensor, shift: Tensor, stride: int) -> Tensor:
        return F.conv2d(maps, kernel, shift, stride=stride, padding=1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, int], output: Tensor) -> None:  # noqa: ARG004
        maps, kernel, _, ctx.stride = inputs
        ctx.save_for_backward(maps, kernel)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        maps, kernel = ctx.saved_tensors
        of_inputs = torch.ops.aten.convolution_backward(
            gradients[0],
            maps,
            kernel,
            bias_sizes=[len(kernel)],
            stride=[ctx.stride, ctx.stride],
            padding=[1, 1],
            dilation=[1, 1],
            transposed=False,
            output_padding=[0, 0],
            groups=1,
            output_mask=ctx.needs_input_grad[:3],
        )
        return *of_inputs, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], maps: Tensor, kernel: Tensor, shift: Tensor, stride: int
    ) -> tuple[Tensor, int]:
        of_tasks = [
            tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            for tensor, dim in zip((maps, kernel, shift), in_dims, strict=False)
        ]
        images = of_tasks[0]  # (n_tasks, n, channels, height, width)
        n, channels, height, width = images.shape[1:]
        if in_dims[1] is None and in_dims[2] is None:
            together: Tensor = _Convolution.apply(images.flatten(0, 1), kernel, shift, stride)
            return torch.unflatten(together, 0, images.shape[:2]), 0
        if n * height * width > _MANY_PLACES and channels > _TAPS:
            each = [F.conv2d(m, k, s, stride=stride, padding=1) for m, k, s in zip(*of_tasks, strict=True)]
            return torch.stack(each), 0
        return _by_patches(*of_tasks, stride=stride), 0


def _by_patches(
    maps: Float[Tensor, "n_tasks n channels height width"],
    kernels: Float[Tensor, "n_tasks filters channels 3 3"],
    shifts: Float[Tensor, "n_tasks filters"],
    *,
    stride: int,
) -> Float[Tensor, "n_tasks n filters height2 width2"]:
    patches = _Patches.apply(maps.flatten(0, 1).movedim(1, -1), stride)
    rows = kernels.movedim(2, -1).flatten(2)  # (n_tasks, filters, patch)
    of_tasks = patches.reshape(len(maps), -1, rows.shape[2])
    products = torch.baddbmm(shifts[:, None], of_tasks, rows.transpose(1, 2))
    return products.view(*maps.shape[:2], *patches.shape[1:3], -1).movedim(-1, 2)


class _Patches(Function):
    """What the kernel sees at each place of (n, height, width, channels): (n, height2, width2, 9 * channels)."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, stride: int) -> Patches:
        ctx.height, ctx.width, ctx.stride = *maps.shape[1:3], stride
        seen = _padded(maps).unfold(1, _TAPS, stride).unfold(2, _TAPS, stride)
        return seen.movedim(3, -1).flatten(3)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Places.apply(*gradients, ctx.height, ctx.width, ctx.stride), None


class _Places(Function):
    """The adjoint of `_Patches`: what was seen of each place adds up there."""

    @staticmethod
    def forward(ctx: Any, patches: Patches, height: int, width: int, stride: int) -> Tensor:
        ctx.stride = stride
        seen = torch.unflatten(patches, 3, (_TAPS, _TAPS, -1))
        padded = _added_in_pairs(seen) if stride == _TAPS - 1 else _added(seen, height, width, stride=stride)
        return padded[:, 1 : height + 1, 1 : width + 1]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return _Patches.apply(*gradients, ctx.stride), None, None, None


def _padded(maps: Float[Tensor, "n height width channels"]) -> Float[Tensor, "n height3 width3 channels"]:
    n, height, width, channels = maps.shape
    padded = maps.new_empty(n, height + 2, width + 2, channels)
    padded[:, 1:-1, 1:-1] = maps
    for edge in (0, -1):  # a quarter of the time of filling all with zeros first
        padded[:, edge] = 0
        padded[:, :, edge] = 0
    return padded


def _added(seen: Seen, height: int, width: int, *, stride: int) -> Float[Tensor, "n height3 width3 channels"]:
    padded = seen.new_zeros(len(seen), height + 2, width + 2, seen.shape[5])
    for row in range(_TAPS):
        for column in range(_TAPS):
            places = padded[:, row : row + height : stride, column : column + width : stride]
            places += seen[:, :, :, row, column]
    return padded


def _added_in_pairs(seen: Seen) -> Float[Tensor, "n height3 width3 channels"]:
    """The same for a stride of 2, quicker: the first two taps of a side never overlap, so only the third is added."""
    n, height2, width2 = seen.shape[:3]
    pairs = seen.new_empty(n, height2 + 1, 2, width2 + 1, 2, seen.shape[5])
    pairs[:, -1] = 0
    pairs[:, :, :, -1] = 0
    pairs[:, :-1, :, :-1] = seen[:, :, :, :2, :2].transpose(2, 3)
    pairs[:, 1:, 0, :-1] += seen[:, :, :, 2, :2]
    pairs[:, :-1, :, 1:, 0] += seen[:, :, :, :2, 2].transpose(2, 3)
    pairs[:, 1:, 0, 1:, 0] += seen[:, :, :, 2, 2]
    return pairs.flatten(3, 4).flatten(1, 2)
