"""Sending many images: in parts under the service's limits, saying which are refused and how to go on."""

import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from service.cli.output import INTERRUPTED, problem, progress, say
from service.cli.sources import FoundImage
from service.errors import BadItem, InvalidSupportSet, ServiceError, UploadRejected
from service.wording import counted

if TYPE_CHECKING:
    from service.client import Client, Example, Limits, Task

PART_IMAGES = 32
PART_BYTES = 16 * 2**20
"""Small enough that a bar moves and a read times out only where nothing happens; some five photographs."""

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def check_support_set(images: Sequence[FoundImage], limits: "Limits") -> None:
    """Refuse what the service would refuse, before anything is sent.

    Raises:
        InvalidSupportSet: too few or too many classes or images.
    """
    n_way = len({image.label for image in images if not image.is_left_out})
    if not limits.min_classes <= n_way <= limits.max_classes:
        allowed = f"a task has {limits.min_classes} to {limits.max_classes}"
        raise InvalidSupportSet(f"found {counted(n_way, 'class folder')}, {allowed}")
    if len(images) > limits.support_images:
        raise InvalidSupportSet(f"found {len(images)} images, a task has at most {limits.support_images}")


def send_examples(client: "Client", task: "Task", images: Sequence[FoundImage], *, skip_bad: bool) -> None:
    """Store images in a task, part by part; with `skip_bad`, without those that the service refuses.

    A class that comes with images of a class that is left out is left out, as soon as it is there.

    Raises:
        UploadRejected: some images cannot be used; what was sent before them is stored.
    """
    parts = _parts([image.source.size_bytes for image in images], client.limits())
    known = {each.label for each in task.classes}
    with progress("images sent", len(images)) as advance:
        for part in parts:
            names = [image.path for image in images[part]]
            sent = send_accepted(partial(_add, client, task), images[part], names, skip_bad=skip_bad)
            for label in {image.label for image, _ in sent if image.is_left_out} - known:
                client.leave_out_class(task, label)
            known |= {image.label for image, _ in sent}
            advance(len(images[part]))


def missing_images(client: "Client", task: "Task", images: Sequence[FoundImage]) -> list[FoundImage]:
    """The images that the task does not have yet, told by class, file name and size."""
    stored = Counter((item.label, item.filename, item.size_bytes) for item in client.examples(task))
    missing = []
    for image in images:
        key = (image.label, image.source.name, image.source.size_bytes)
        if stored[key]:
            stored[key] -= 1
        else:
            missing.append(image)
    return missing


def send_accepted(
    send: Callable[[Sequence[Item]], Sequence[Answer]], items: Sequence[Item], names: Sequence[str], *, skip_bad: bool
) -> list[tuple[Item, Answer]]:
    """Each item with its answer, sent all or none; with `skip_bad`, says which are refused and sends the others.

    Raises:
        UploadRejected: some are refused; each is named as in `names`.
    """
    while items:
        try:
            return list(zip(items, send(items), strict=True))
        except UploadRejected as error:
            bad = _named(error, names)
            if not skip_bad or not bad:
                raise UploadRejected(error.message, tuple(bad.values()) or error.items, error.status) from error
            for item in bad.values():
                say(f"skipped {item.filename}: {item.detail}")
            kept = [index for index in range(len(items)) if index not in bad]
            items, names = [items[index] for index in kept], [names[index] for index in kept]
    return []


@contextmanager
def told_if_half_made(client: "Client", task: "Task", source: Path) -> Iterator[None]:
    """On a problem or an interruption: say so, delete the task if it is empty, else say what it holds; then exit."""
    try:
        yield
    except ServiceError as error:
        problem(error)
        _tell(client, task, source)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        say("interrupted")
        _tell(client, task, source)
        raise typer.Exit(INTERRUPTED) from error


def _tell(client: "Client", task: "Task", source: Path) -> None:
    try:
        n_stored = client.task(task).n_examples
        if n_stored == 0:
            client.delete_task(task)
            say("nothing was kept: the task is deleted again")
            return
    except ServiceError:
        say(f"what task {task.id} holds is told by: handful tasks show {task.id}")
        return
    say(f"task {task.id} holds {counted(n_stored, 'image')} so far")
    say("to send what is missing (--skip-bad leaves out what is refused) and adapt it, or to remove it:")
    say(f"  handful tasks add {task.id} --from {shlex.quote(str(source))}")
    say(f"  handful tasks delete {task.id}")


def _add(client: "Client", task: "Task", images: Sequence[FoundImage]) -> "list[Example]":
    groups = [image.group for image in images]
    pairs = [(image.label, image.source) for image in images]
    return client.add_examples(task, pairs, groups=groups if any(groups) else None)


def _parts(sizes_bytes: Sequence[int], limits: "Limits") -> Iterator[slice]:
    from service.client.uploads import batches  # noqa: PLC0415  # httpx is slow to import

    max_bytes = min(PART_BYTES, limits.request_bytes)
    return batches(sizes_bytes, max_images=min(PART_IMAGES, limits.support_images), max_bytes=max_bytes)


def _named(error: UploadRejected, names: Sequence[str]) -> dict[int, BadItem]:
    """The refused items by their place, under the names that the user knows."""
    bad: dict[int, BadItem] = {}
    for item in error.items:
        place = item.pointer.rpartition("/")[2]
        if place.isdecimal() and int(place) < len(names):
            bad[int(place)] = BadItem(item.pointer, item.code, item.detail, names[int(place)])
    return bad
