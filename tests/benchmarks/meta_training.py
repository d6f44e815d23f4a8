"""Meta-training steps of our learners beside the same steps as learn2learn and higher take them, in tasks a second.

    python -m tests.benchmarks.meta_training
    python -m tests.benchmarks.meta_training --threads 2 --tasks 16 --rounds 9

Every side has the same network, weights, tasks and loss, and leaves the same meta-gradient: that is checked before
anything is timed. The sides take turns in one process, so that other load on the machine hits all of them: read the
ratios. The sides:

- `handful`: `Learner.backward` of all tasks at once.
- `clone and loop`: the structure of learn2learn, higher and most published code, written here: the parameters are
  cloned, the steps taken and the query loss differentiated, task by task.
- `learn2learn`, `higher`: the packages themselves, where they are installed (`pip install learn2learn higher`).
  Neither has a ProtoNet or a Reptile, and higher no first order that reaches the start: the loop stands for them.

Numbers that are too small to be normal are flushed to zero for all sides, as `handful meta-train` does.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from service.metalearning.backbones import ConvBackbone
from service.metalearning.episodes import Episode, SupportSet
from service.metalearning.learners import LEARNERS
from service.metalearning.learners.base import (
    Head,
    Learner,
    Network,
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

Step = Callable[[Network, Episode], Tensor]
"""Adds the meta-gradient of one task to .grad and gives its query loss."""


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One way of doing the step: a function that leaves the mean meta-gradient of the tasks in .grad."""

    name: str
    network: Network
    run: Callable[[], object]
    seconds: list[float]

    def time(self) -> None:
        """One more step; notes how long it took."""
        self.network.zero_grad()
        begun = time.perf_counter()
        self.run()
        self.seconds.append(time.perf_counter() - begun)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--learners", nargs="+", choices=tuple(STEPS), default=list(STEPS))
    parser.add_argument("--tasks", type=int, default=16, help="of one meta-training step")
    parser.add_argument("--rounds", type=int, default=7, help="steps of each side; the median counts")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    print(f"{N_WAY}-way, strided Conv4-64, {arguments.tasks} tasks a step, {arguments.threads} threads; tasks a second")
    for name in arguments.learners:
        check_equal(build_sides(name, _episodes(name, 3, torch.float64), torch.float64))
        sides = build_sides(name, _episodes(name, arguments.tasks, torch.float32), torch.float32)
        for side in sides:
            side.run()
        for _ in range(arguments.rounds):
            for side in sides:
                side.time()
        print(_line(name, sides, arguments.tasks), flush=True)


def _episodes(name: str, n_tasks: int, dtype: torch.dtype) -> list[Episode]:
    """Tasks of random images, of the learner's sizes."""
    generator = torch.Generator().manual_seed(0)

    def images(each: int) -> SupportSet:
        pixels = torch.rand(N_WAY * each, 1, SIDE_PX, SIDE_PX, generator=generator)
        return SupportSet(pixels.to(dtype), torch.arange(N_WAY).repeat_interleave(each))

    return [Episode(images(SHOTS[name]), images(QUERIES[name])) for _ in range(n_tasks)]


def build_sides(name: str, episodes: Sequence[Episode], dtype: torch.dtype) -> list[Side]:
    """Every way of the step that can be run here, ours first."""
    network = _network().to(dtype)
    learner = _learner(name, network)
    sides = [Side("handful", network, partial(learner.backward, episodes), [])]
    for title, step in _loops(name).items():
        network = _network().to(dtype)
        sides.append(Side(title, network, partial(_looped, step, network, episodes), []))
    return sides


def check_equal(sides: Sequence[Side]) -> None:
    """Refuse to time sides that do not leave the same gradient of the backbone; runs each once.

    In double precision: Reptile's is a difference of nearly equal weights: in single precision one digit of it is left.

    Raises:
        SystemExit: they differ.
    """
    for side in sides:
        side.run()
    ours = [p.grad for p in sides[0].network.backbone.parameters()]
    for side in sides[1:]:
        theirs = [p.grad for p in side.network.backbone.parameters()]
        for a, b in zip(ours, theirs, strict=True):
            if a is None or b is None or (a - b).norm() > 1e-6 * b.norm():
                raise SystemExit(f"{side.name} leaves another gradient than {sides[0].name}")


def _network() -> Network:
    """The same network each time, with a zero head of the tasks' size."""
    torch.manual_seed(0)
    backbone = ConvBackbone(1, 64, side_px=SIDE_PX)
    network = Network(backbone, backbone.n_features)
    network.head = Head(network.n_features, N_WAY)
    return network.to(memory_format=torch.channels_last)


def _learner(name: str, network: Network) -> Learner:
    if name == "protonet":
        return LEARNERS[name](network, scale=0.03)
    return LEARNERS[name](network, steps=STEPS[name], lr=INNER_LR)


def _loops(name: str) -> dict[str, Step]:
    """The ways that go task by task."""
    if name == "protonet":
        return {"clone and loop": _protonet}
    if name == "anil":
        return {"clone and loop": _anil, **_packaged(name)}
    if name == "reptile":
        return {"clone and loop": partial(_reptile, steps=STEPS[name])}
    first_order = name == "fomaml"
    return {"clone and loop": partial(_maml, steps=STEPS[name], first_order=first_order), **_packaged(name)}


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
        loss = _loss(torch.nn.functional.linear(support, weight, bias), episode.support)
        found = torch.autograd.grad(loss, [weight, bias], create_graph=True)
        weight, bias = weight - INNER_LR * found[0], bias - INNER_LR * found[1]
    query = network.backbone(episode.query.images)
    loss = _loss(torch.nn.functional.linear(query, weight, bias), episode.query)
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


def _line(name: str, sides: Sequence[Side], n_tasks: int) -> str:
    rates = {side.name: n_tasks / statistics.median(side.seconds) for side in sides}
    parts = [f"{title} {rate:.1f}" for title, rate in rates.items()]
    ours = rates["handful"]
    ratios = [f"{ours / rate:.2f} x {title}" for title, rate in rates.items() if title != "handful"]
    return f"{name:9} {', '.join(parts)}: {', '.join(ratios)}"


if __name__ == "__main__":
    main()
