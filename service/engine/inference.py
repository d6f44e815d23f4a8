"""Probabilities for many tasks of one base model in as few passes as the device likes.

Tasks that keep the backbone share one pass over all images, then each has its own head. Tasks that replace it run
one by one on a CPU, where a vmap was measured 1.4 to 4 times slower, and in a vmap on a GPU.

Nothing here mixes rows, so an answer does not depend on its companions. It is the same to rounding, not to the bit:
kernels sum in another order for another number of rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from service.engine.base import Pixels, Probabilities
from service.metalearning.header import PixelScaling
from service.metalearning.learners.base import Network, Pause, TaskParameters, head_logits, no_pause, replaces_backbone
from service.metalearning.preprocessing import scaled
from service.metalearning.trust.answers import unknown_scores


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """Images for one task model."""

    task: TaskParameters
    pixels: Pixels
    request_id: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Inference:
    """One base model on its device.

    Attributes:
        rows_a_pass: most images that go through the backbone at once.
        pause: called between passes.
    """

    network: Network
    scaling: PixelScaling
    device: torch.device
    rows_a_pass: int
    pause: Pause = no_pause

    def probabilities(self, questions: Sequence[Question]) -> list[Probabilities]:
        """The answer to each question."""
        groups = _by_task(questions)
        joined = [_joined([questions[index] for index in group]) for group in groups]
        with torch.inference_mode():
            arrays = _on_host(self._answers_of(joined))
        answers: dict[int, Probabilities] = {}
        for group, array in zip(groups, arrays, strict=True):
            start = 0
            for index in group:
                end = start + len(questions[index].pixels)
                answers[index], start = array[start:end], end
        return [answers[index] for index in range(len(questions))]

    def upload(self, pixels: Pixels) -> Tensor:
        """Network input on the device."""
        # What came through a socket cannot be written to, which torch does not accept.
        tensor = torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy())
        if self.device.type == "cuda":
            tensor = tensor.pin_memory().to(self.device, non_blocking=True)
        return scaled(tensor, self.scaling)

    def features(self, pixels: Pixels) -> Tensor:
        """Backbone features of the base model, a row each."""
        return torch.cat([self.network.backbone(part) for part in self._passes(pixels)])

    def _passes(self, pixels: Pixels) -> Iterator[Tensor]:
        for index, images in enumerate(torch.split(self.upload(pixels), self.rows_a_pass)):
            if index:
                self.pause()
            yield images

    def _answers_of(self, questions: Sequence[Question]) -> list[Tensor]:
        keeping = [question for question in questions if not replaces_backbone(question.task)]
        replacing = [question for question in questions if replaces_backbone(question.task)]
        of_networks = [logits.softmax(dim=-1) for logits in self._networks(replacing)]
        answers = [*self._heads(keeping), *of_networks]
        found = {id(question): tensor for question, tensor in zip([*keeping, *replacing], answers, strict=True)}
        return [found[id(question)] for question in questions]

    def _heads(self, questions: Sequence[Question]) -> list[Tensor]:
        if not questions:
            return []
        features = self.features(np.concatenate([question.pixels for question in questions]))
        parts = torch.split(features, [len(question.pixels) for question in questions])
        return [_of_head(question.task, part) for part, question in zip(parts, questions, strict=True)]

    def _networks(self, questions: Sequence[Question]) -> list[Tensor]:
        if self.device.type == "cuda":
            return self.networks_together(questions)
        return [self._network(question) for question in questions]

    def _network(self, question: Question) -> Tensor:
        parts = self._passes(question.pixels)
        return torch.cat([functional_call(self.network, dict(question.task), (part,)) for part in parts])

    def networks_together(self, questions: Sequence[Question]) -> list[Tensor]:
        """Logits of tasks that replace the backbone, those of one shape in a vmap.

        Fewer images than others have are filled up with black ones, whose answers are dropped.
        """
        logits: dict[int, Tensor] = {}
        for group in _of_one_shape(questions):
            members = [questions[index] for index in group]
            answers = self._group(members) if len(members) > 1 else [self._network(members[0])]
            logits |= zip(group, answers, strict=True)
        return [logits[index] for index in range(len(questions))]

    def _group(self, questions: Sequence[Question]) -> list[Tensor]:
        tasks = [question.task for question in questions]
        stacked = {name: torch.stack([task[name] for task in tasks]) for name in tasks[0]}
        images = self.upload(np.concatenate(_filled_up([question.pixels for question in questions])))
        images = images.reshape(len(questions), -1, *images.shape[1:])  # (n_tasks, n, channels, height, width)
        answers = torch.vmap(self._logits)(stacked, images)
        return [answer[: len(question.pixels)] for answer, question in zip(answers, questions, strict=True)]

    def _logits(self, task: dict[str, Tensor], images: Tensor) -> Tensor:
        logits: Tensor = functional_call(self.network, task, (images,))
        return logits


def _of_head(task: TaskParameters, features: Tensor) -> Tensor:
    """Probabilities, and the unknown score beside them where the task has it."""
    probabilities = head_logits(task, features).softmax(dim=-1)
    unknown = unknown_scores(task, features)
    return probabilities if unknown is None else torch.cat([probabilities, unknown[:, None]], dim=1)


def _by_task(questions: Sequence[Question]) -> list[list[int]]:
    """Indices of the questions about each task model; the cache gives equal ones as the same object."""
    groups: dict[int, list[int]] = {}
    for index, question in enumerate(questions):
        groups.setdefault(id(question.task), []).append(index)
    return list(groups.values())


def _joined(questions: Sequence[Question]) -> Question:
    if len(questions) == 1:
        return questions[0]
    return replace(questions[0], pixels=np.concatenate([question.pixels for question in questions]))


def _of_one_shape(questions: Sequence[Question]) -> Iterator[list[int]]:
    """Indices of questions with equal parameter shapes and row counts of one power of two: filling up costs < 2x."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, question in enumerate(questions):
        shapes = ((name, tensor.shape) for name, tensor in sorted(question.task.items()))
        groups.setdefault(((len(question.pixels) - 1).bit_length(), *shapes), []).append(index)
    yield from groups.values()


def _filled_up(arrays: Sequence[Pixels]) -> list[Pixels]:
    rows = max(len(array) for array in arrays)
    return [np.pad(array, [(0, rows - len(array))] + [(0, 0)] * (array.ndim - 1)) for array in arrays]


def _on_host(answers: Sequence[Tensor]) -> list[Probabilities]:
    """The tensors as arrays, in one copy from the device."""
    flat = torch.cat([answer.flatten() for answer in answers]).float().cpu()
    parts = torch.split(flat, [answer.numel() for answer in answers])
    return [part.reshape(answer.shape).numpy() for part, answer in zip(parts, answers, strict=True)]
