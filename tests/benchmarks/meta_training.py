"""Meta-training steps of our learners beside the same steps as learn2learn and higher take them, in tasks a second.

    python -m tests.benchmarks.meta_training
    python -m tests.benchmarks.meta_training --threads 2 --tasks 16 --rounds 9

Every side has the same weights, tasks and loss, and leaves the same meta-gradient: that is checked before anything is
timed, in double precision to a millionth; that in bf16 its cosine with that in fp32 is over 0.99 is checked after. The
sides take turns in one process, and the ratios are of its CPU time, medians, so that other load on the machine counts
little. The sides:

- `handful`, `handful bf16`: `Learner.backward` of all tasks, in the two precisions that a recipe can ask for.
- `clone and loop`: the structure of learn2learn, higher and most published code, written here: the parameters are
  cloned, the steps taken and the query loss differentiated, task by task; plain convolutions, in torch's memory format.
- `channels last`: the same in the memory format that is quicker on a CPU, for those who know it.
- `learn2learn`, `higher`: the packages themselves, where they are installed (`pip install learn2learn higher`).
  Neither has a ProtoNet or a Reptile, and higher no first order that reaches the start: the loop stands for them.

What `handful meta-train` asks of the processor and of the C library holds for all sides: numbers too small to be normal
are zero, and memory that is freed is kept.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from service.cli.processor import prepare_training
from service.metalearning.backbones import ConvBackbone, ConvBlock
from service.metalearning.episodes import Episode, SupportSet
from service.metalearning.learners import LEARNERS
from service.metalearning.learners.base import (
    Head,
    Learner,
    Network,
    Precision,
    balanced_loss,
    balanced_targets,
    head_logits,
)
from service.metalearning.learners.closed_form import prototype_head
from service.metalearning.normalisation import BatchStatistics

N_WAY = 5
SIDE_PX = 28
INNER_LR = 0.1
STEPS = {"maml": 5, "fomaml": 5, "anil": 5, "protonet": 0, "reptile": 5}
QUERIES = {"maml": 5, "fomaml": 5, "anil": 5, "protonet": 5, "reptile": 1}
SHOTS = {"maml": 1, "fomaml": 1, "anil": 1, "protonet": 1, "reptile": 5}

PACKAGED = ("maml", "fomaml", "anil")
LEAST_COSINE = 0.99
HEADER = (
    "| learner | handful, tasks per CPU second (on the clock) | handful bf16 | others: how many times as fast handful"
    " is, in fp32 and in bf16 | cosine |\n|---|---|---|---|---|"
)

Step = Callable[[Network, Episode], Tensor]
"""Adds the meta-gradient of one task to .grad and gives its query loss."""


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One way of doing the step: a function that leaves the mean meta-gradient of the tasks in .grad."""

    name: str
    network: Network
    run: Callable[[], object]
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)

    def time(self) -> None:
        """One more step; notes how long it took, on the clock and of the processor."""
        self.network.zero_grad()
        begun, begun_cpu = time.perf_counter(), time.process_time()
        self.run()
        self.seconds.append(time.perf_counter() - begun)
        self.cpu_seconds.append(time.process_time() - begun_cpu)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--learners", nargs="+", choices=tuple(STEPS), default=list(STEPS))
    parser.add_argument("--tasks", type=int, default=16, help="of one meta-training step")
    parser.add_argument("--rounds", type=int, default=7, help="steps of each side; the median counts")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    prepare_training(arguments.threads)
    print(f"{N_WAY}-way, strided Conv4-64, {arguments.tasks} tasks a step, {arguments.threads} threads")
    print(HEADER)
    for name in arguments.learners:
        check_equal(build_sides(name, _episodes(name, 3, torch.float64), torch.float64))
        sides = build_sides(name, _episodes(name, arguments.tasks, torch.float32), torch.float32)
        cosine = checked_cosine(sides)
        for _ in range(arguments.rounds):
            for side in sides:
                side.time()
        print(line(name, sides, arguments.tasks, cosine), flush=True)


def _episodes(name: str, n_tasks: int, dtype: torch.dtype) -> list[Episode]:
    """Tasks of random images, of the learner's sizes."""
    generator = torch.Generator().manual_seed(0)

    def images(each: int) -> SupportSet:
        pixels = torch.rand(N_WAY * each, 1, SIDE_PX, SIDE_PX, generator=generator)
        return SupportSet(pixels.to(dtype), torch.arange(N_WAY).repeat_interleave(each))

    return [Episode(images(SHOTS[name]), images(QUERIES[name])) for _ in range(n_tasks)]


def build_sides(name: str, episodes: Sequence[Episode], dtype: torch.dtype) -> list[Side]:
    """Every way of the step that can be run here, ours first; in bf16 only where it is not double precision."""
    sides = []
    precisions: tuple[Precision, ...] = ("fp32", "bf16") if dtype == torch.float32 else ("fp32",)
    for precision in precisions:
        network = _network().to(dtype).to(memory_format=torch.channels_last)
        learner = _learner(name, network)
        network.precision = precision
        title = "handful" if precision == "fp32" else "handful bf16"
        sides.append(Side(title, network, partial(learner.backward, episodes)))
    for title, (step, memory_format) in _loops(name).items():
        network = _network(_Published).to(dtype).to(memory_format=memory_format)
        sides.append(Side(title, network, partial(_looped, step, network, episodes)))
    return sides


def check_equal(sides: Sequence[Side]) -> None:
    """Refuse to time sides that do not leave the same gradient of the backbone; runs each once.

    In double precision: Reptile's is a difference of nearly equal weights: in single precision one digit of it is left.

    Raises:
        SystemExit: they differ.
    """
    for side in sides:
        side.run()
    for side in sides[1:]:
        for a, b in zip(_gradients(sides[0]), _gradients(side), strict=True):
            if (a - b).norm() > 1e-6 * b.norm():
                raise SystemExit(f"{side.name} leaves another gradient than {sides[0].name}")


def checked_cosine(sides: Sequence[Side]) -> float:
    """Cosine of the angle between our meta-gradients in the two precisions; runs each side once.

    Raises:
        SystemExit: it is below LEAST_COSINE.
    """
    for side in sides:
        side.run()
    whole = [torch.cat([g.flatten() for g in _gradients(side)]) for side in sides[:2]]
    cosine = torch.cosine_similarity(whole[0], whole[1], dim=0).item()
    if cosine < LEAST_COSINE:
        raise SystemExit(f"the meta-gradients of {sides[0].name} and {sides[1].name} have the cosine {cosine:.4f}")
    return cosine


def _gradients(side: Side) -> list[Tensor]:
    found = [p.grad for p in side.network.backbone.parameters() if p.grad is not None]
    assert len(found) == len(list(side.network.backbone.parameters()))
    return found


class _Published(ConvBackbone):
    """The same network by torch's own convolutions, with the normalisation in the kernel where that can be."""

    def forward(self, images: Tensor, batch: BatchStatistics | None = None) -> Tensor:
        maps = images
        for block in self.blocks:
            assert isinstance(block, ConvBlock)
            layer = block.normalisation
            if batch is None:
                scale, shift = layer.affine(layer.mean, layer.variance)
                maps = F.conv2d(maps, block.conv.weight * scale[:, None, None, None], shift, stride=2, padding=1)
            else:
                maps = layer(F.conv2d(maps, block.conv.weight, stride=2, padding=1), batch)
            maps = F.relu(maps)
        return maps.flatten(1)


def _network(kind: type[ConvBackbone] = ConvBackbone) -> Network:
    """The same weights each time, with a zero head of the tasks' size."""
    torch.manual_seed(0)
    backbone = kind(1, 64, side_px=SIDE_PX)
    network = Network(backbone, backbone.n_features)
    network.head = Head(network.n_features, N_WAY)
    return network


def _learner(name: str, network: Network) -> Learner:
    if name == "protonet":
        return LEARNERS[name](network, scale=0.03)
    return LEARNERS[name](network, steps=STEPS[name], lr=INNER_LR)


def _loops(name: str) -> dict[str, tuple[Step, torch.memory_format]]:
    """The ways that go task by task, and the memory format of each."""
    steps: dict[str, Step] = {
        "protonet": _protonet,
        "anil": _anil,
        "reptile": partial(_reptile, steps=STEPS["reptile"]),
        "maml": partial(_maml, steps=STEPS["maml"], first_order=False),
        "fomaml": partial(_maml, steps=STEPS["fomaml"], first_order=True),
    }
    formats = {"clone and loop": torch.contiguous_format, "channels last": torch.channels_last}
    written = {title: (steps[name], memory_format) for title, memory_format in formats.items()}
    packaged = _packaged(name) if name in PACKAGED else {}
    return written | {title: (step, torch.contiguous_format) for title, step in packaged.items()}


def _packaged(name: str) -> dict[str, Step]:
    steps: dict[str, Step] = {}
    if find_spec("learn2learn"):
        steps["learn2learn"] = partial(_learn2learn, name=name)
    if find_spec("higher") and name != "fomaml":
        steps["higher"] = partial(_higher, name=name)
    return steps


def _looped(step: Step, network: Network, episodes: Sequence[Episode]) -> None:
    for episode in episodes:
        step(network, episode)
    with torch.no_grad():
        for p in network.parameters():
            if p.grad is not None:
                p.grad /= len(episodes)


def _loss(logits: Tensor, labelled: SupportSet) -> Tensor:
    return balanced_loss(logits, balanced_targets(labelled.labels, logits.dtype))


def _maml(network: Network, episode: Episode, *, steps: int, first_order: bool) -> Tensor:
    fast = {name: p.clone() for name, p in network.named_parameters()}
    for _ in range(steps):
        loss = _loss(functional_call(network, fast, (episode.support.images,)), episode.support)
        found = torch.autograd.grad(loss, list(fast.values()), create_graph=not first_order)
        fast = {name: p - INNER_LR * g for (name, p), g in zip(fast.items(), found, strict=True)}
    loss = _loss(functional_call(network, fast, (episode.query.images,)), episode.query)
    torch.autograd.backward(loss)
    return loss.detach()


def _anil(network: Network, episode: Episode) -> Tensor:
    support = network.backbone(episode.support.images)
    weight: Tensor = network.head.weight
    bias: Tensor = network.head.bias
    for _ in range(STEPS["anil"]):
        loss = _loss(F.linear(support, weight, bias), episode.support)
        found = torch.autograd.grad(loss, [weight, bias], create_graph=True)
        weight, bias = weight - INNER_LR * found[0], bias - INNER_LR * found[1]
    query = network.backbone(episode.query.images)
    loss = _loss(F.linear(query, weight, bias), episode.query)
    torch.autograd.backward(loss)
    return loss.detach()


def _protonet(network: Network, episode: Episode) -> Tensor:
    joined = torch.cat([episode.support.images, episode.query.images])
    features = network.backbone(joined, BatchStatistics())
    support, query = features.split([len(episode.support.labels), len(episode.query.labels)])
    head = prototype_head(support, balanced_targets(episode.support.labels, support.dtype), scale=0.03)
    loss = _loss(head_logits(head, query), episode.query)
    torch.autograd.backward(loss)
    return loss.detach()


def _reptile(network: Network, episode: Episode, *, steps: int) -> Tensor:
    fast = {name: p.detach().clone().requires_grad_() for name, p in network.named_parameters()}
    optimizer = torch.optim.SGD(fast.values(), lr=INNER_LR)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(_loss(functional_call(network, fast, (episode.support.images,)), episode.support))
        optimizer.step()
    with torch.no_grad():
        for name, p in network.named_parameters():
            away = p - fast[name]
            p.grad = away if p.grad is None else p.grad + away
        return _loss(functional_call(network, fast, (episode.query.images,)), episode.query)


def _learn2learn(network: Network, episode: Episode, *, name: str) -> Tensor:
    # an untyped package that need not be there
    package: Any = import_module("learn2learn.algorithms.maml")
    if name == "anil":
        head = package.MAML(network.head, lr=INNER_LR).clone()
        support, query = network.backbone(episode.support.images), network.backbone(episode.query.images)
    else:
        head = package.MAML(network, lr=INNER_LR, first_order=name == "fomaml").clone()
        support, query = episode.support.images, episode.query.images
    for _ in range(STEPS[name]):
        head.adapt(_loss(head(support), episode.support))
    loss = _loss(head(query), episode.query)
    torch.autograd.backward(loss)
    return loss.detach()


def _higher(network: Network, episode: Episode, *, name: str) -> Tensor:
    # an untyped package that need not be there
    package: Any = import_module("higher")
    adapted = network.head if name == "anil" else network
    support, query = episode.support.images, episode.query.images
    if name == "anil":
        support, query = network.backbone(support), network.backbone(query)
    optimizer = torch.optim.SGD(adapted.parameters(), lr=INNER_LR)
    with package.innerloop_ctx(adapted, optimizer, copy_initial_weights=False) as (fast, differentiable):
        for _ in range(STEPS[name]):
            differentiable.step(_loss(fast(support), episode.support))
        loss = _loss(fast(query), episode.query)
        torch.autograd.backward(loss)
    return loss.detach()


def line(name: str, sides: Sequence[Side], n_tasks: int, cosine: float) -> str:
    """A row of the table: ours in both precisions, then the others and how many times as fast ours are."""
    own = sides[:2]
    cells = [f"{_rate(side.cpu_seconds, n_tasks)} ({_rate(side.seconds, n_tasks)})" for side in sides]
    times = [
        " and ".join(f"{statistics.median(side.cpu_seconds) / statistics.median(ours.cpu_seconds):.2f}" for ours in own)
        for side in sides[2:]
    ]
    others = [f"{side.name} {cell}: {ratio}" for side, cell, ratio in zip(sides[2:], cells[2:], times, strict=True)]
    return f"| {name} | {cells[0]} | {cells[1]} | {'; '.join(others)} | {cosine:.4f} |"


def _rate(seconds: Sequence[float], n_tasks: int) -> str:
    return f"{n_tasks / statistics.median(seconds):.0f}"


if __name__ == "__main__":
    main()
