"""The client of one service: every call of the public contract, typed."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self, Unpack, overload

import httpx

from service.client.answers import (
    BaseModelCard,
    Example,
    Limits,
    Prediction,
    Suggestion,
    Task,
    Version,
    base_model_from_json,
    example_from_json,
    parse,
    task_from_json,
    version_from_json,
)
from service.client.connection import Connection
from service.client.evaluations import Evaluation, UnknownLabels, evaluate
from service.client.exports import ExportedFile, ExportFormat, export
from service.client.finding import TaskFinder, TaskRef
from service.client.predictions import predict_many, predict_one
from service.client.suggestions import PoolProgress, suggest
from service.client.uploads import (
    Image,
    ImageSource,
    LabelledImages,
    Prior,
    TaskChanges,
    TaskOptions,
    form_fields,
    given,
    image_source,
    send_labelled,
)
from service.client.waiting import ready_task
from service.client.watching import Progress, watch
from service.errors import VersionNotFound

ADAPT_WAIT_S = 10.0


class Client:
    """Talks to one service; close it, or use it in a `with` statement.

    Every method raises the class of `service.errors` that the service's problem document names, and
    `ServiceUnreachable` where nothing answers. While the service says that it will be back, reads are repeated a few
    times, and so is what makes something, also where the connection broke: each such call has an idempotency key, so
    that it is done once. `idempotency_key` gives it a key of yours, to make the same call again in another process.

    Args:
        base_url: where the service is: `http://127.0.0.1:8000`.
        api_key: the key, where the service has one.
        timeout_s: how long to wait for an answer, beyond what a call asks the service to wait.
        transport: what carries the requests, for tests.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        api_key: str | None = None,
        *,
        timeout_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._connection = Connection(base_url, api_key=api_key, timeout_s=timeout_s, transport=transport)
        self._finder = TaskFinder(self._connection)
        self._limits: Limits | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the sockets back."""
        self._connection.close()

    # The service itself

    def ready(self) -> bool:
        """Whether the service can answer now."""
        return self._connection.answers("/readyz")

    def limits(self) -> Limits:
        """What the service accepts; asked once."""
        if self._limits is None:
            self._limits = parse(Limits, self._connection.get("/v1/limits").json())
        return self._limits

    def base_models(self) -> list[BaseModelCard]:
        """The base models that tasks can be adapted from."""
        answer = self._connection.get("/v1/base-models").json()
        return [base_model_from_json(item) for item in answer["items"]]

    # Tasks

    def create_task(
        self,
        name: str | None,
        examples: LabelledImages,
        *,
        groups: Sequence[str | None] | None = None,
        wait_s: float = ADAPT_WAIT_S,
        idempotency_key: str | None = None,
        **options: Unpack[TaskOptions],
    ) -> Task:
        """The task made of these examples, in one request; all of them are kept or none.

        Args:
            name: for people; need not be unique.
            examples: images by label, or (label, image) pairs, an image being a path or its bytes; or the path of a zip
                of a folder for each class, and of the `handful.json` that the page saves with it.
            groups: for each image what it belongs to (a burst, a slide, a part), or None; images of a group are
                never parted when the expected accuracy is told.
            wait_s: 0 to 60; adapted within it, the task is ready when this returns.
            idempotency_key: see the class.
            options: see `TaskOptions`.

        Raises:
            UploadRejected: some images cannot be used; `items` names each.
        """
        fields = {"name": name, "wait": wait_s, **form_fields(options)}
        answer = send_labelled(
            self._connection, "/v1/tasks", examples, fields=fields, groups=groups, wait_s=wait_s, key=idempotency_key
        )
        return task_from_json(answer)

    def create_empty_task(
        self, name: str | None = None, *, idempotency_key: str | None = None, **options: Unpack[TaskOptions]
    ) -> Task:
        """A task without examples, to be filled with `add_examples` and then adapted."""
        body = given({"name": name, **options})
        return task_from_json(self._connection.make("/v1/tasks", key=idempotency_key, json=body).json())

    def tasks(self, *, state: str | None = None, metadata: Mapping[str, str] | None = None) -> Iterator[Task]:
        """All tasks, newest first, page by page; those in a state, or with this metadata."""
        wanted = {f"metadata.{key}": value for key, value in (metadata or {}).items()}
        return (task_from_json(item) for item in self._connection.pages("/v1/tasks", given({"state": state}) | wanted))

    def task(self, task: TaskRef) -> Task:
        """The task with this id, or with this name if only one task has it.

        Raises:
            TaskNotFound: there is none.
            InvalidRequest: several tasks have the name; the message names their ids.
        """
        return self._finder.find(task)

    def update_task(self, task: TaskRef, **changes: Unpack[TaskChanges]) -> Task:
        """The task after its name, metadata, threshold, or what it keeps, were changed; see `TaskChanges`."""
        return task_from_json(self._connection.send("PATCH", self._finder.path(task), json=changes).json())

    def delete_task(self, task: TaskRef) -> None:
        """Remove a task with its examples and versions."""
        self._connection.send("DELETE", self._finder.path(task))

    # Examples

    def add_examples(
        self,
        task: TaskRef,
        examples: LabelledImages,
        *,
        groups: Sequence[str | None] | None = None,
        idempotency_key: str | None = None,
    ) -> list[Example]:
        """The examples stored, in the order given, in one request; all of them are kept or none.

        `groups` names for each image what it belongs to, as for `create_task`.

        Raises:
            UploadRejected: some images cannot be used; `items` names each.
        """
        path = f"{self._finder.path(task)}/examples"
        answer = send_labelled(self._connection, path, examples, groups=groups, key=idempotency_key)
        return [example_from_json(item) for item in answer["items"]]

    def examples(self, task: TaskRef) -> Iterator[Example]:
        """All examples of a task, page by page."""
        return (example_from_json(item) for item in self._connection.pages(f"{self._finder.path(task)}/examples", {}))

    def example_bytes(self, task: TaskRef, example: Example | str) -> bytes:
        """The file of an example as it was uploaded."""
        return self._connection.get(self._finder.example_path(task, example)).content

    def delete_example(self, task: TaskRef, example: Example | str) -> None:
        """Remove an example; the versions adapted on it stay."""
        self._connection.send("DELETE", self._finder.example_path(task, example))

    def move_example(self, task: TaskRef, example: Example | str, label: str) -> Example:
        """The example once it belongs to another class, which is added if the task has none of that label."""
        return self._changed_example(task, example, {"label": label})

    def group_example(self, task: TaskRef, example: Example | str, group: str | None) -> Example:
        """The example once it belongs to this burst, slide or part, or to none."""
        return self._changed_example(task, example, {"group": group})

    # Classes: versions stay as they are, the next adaptation obeys

    def rename_class(self, task: TaskRef, label: str, new_label: str) -> Task:
        """The task once the class has another label."""
        return self._changed_class(task, label, {"label": new_label})

    def leave_out_class(self, task: TaskRef, label: str) -> Task:
        """The task once adaptations leave the class out; its examples stay."""
        return self._changed_class(task, label, {"is_left_out": True})

    def take_in_class(self, task: TaskRef, label: str) -> Task:
        """The task once adaptations take in again a class that was left out."""
        return self._changed_class(task, label, {"is_left_out": False})

    def remove_class(self, task: TaskRef, label: str) -> None:
        """Remove a class with its examples."""
        self._connection.send("DELETE", self._finder.class_path(task, label))

    def give_feedback(
        self,
        task: TaskRef,
        examples: LabelledImages,
        *,
        adapt: bool = False,
        wait_s: float = ADAPT_WAIT_S,
        idempotency_key: str | None = None,
    ) -> list[Example]:
        """The examples that images with their right labels became; with `adapt`, the task is adapted to them too.

        Raises:
            UploadRejected: some images cannot be used; `items` names each.
        """
        path, fields = f"{self._finder.path(task)}/feedback", {"adapt": str(adapt).lower(), "wait": wait_s}
        answer = send_labelled(self._connection, path, examples, fields=fields, wait_s=wait_s, key=idempotency_key)
        return [example_from_json(item) for item in answer["items"]]

    def suggest(
        self,
        task: TaskRef,
        images: Iterable[Image],
        *,
        n: int = 10,
        on_progress: Callable[[PoolProgress], None] = lambda _: None,
    ) -> list[Suggestion]:
        """The images that are best labelled next, the first first; nothing of them is stored.

        `on_progress` is told how far the service is, a few times a second.
        """
        sources = [image_source(image) for image in images]
        return suggest(self._connection, f"{self._finder.path(task)}/suggest", sources, n=n, on_progress=on_progress)

    # Versions

    def adapt(  # noqa: PLR0913  # each is an option of the call
        self,
        task: TaskRef,
        *,
        learner: str | None = None,
        steps: int | None = None,
        lr: float | None = None,
        prior: Prior | None = None,
        activate: bool = True,
        wait_s: float = ADAPT_WAIT_S,
        idempotency_key: str | None = None,
    ) -> Version:
        """A new version of a task, adapted to its present examples; the old one serves until it is ready.

        Args:
            task: a task, its id, or a name that only one task has.
            learner: another than the task's.
            steps: gradient steps, for learners that take some.
            lr: their size.
            prior: of this version, as `TaskOptions` has it.
            activate: without it the old one goes on until the new one is activated.
            wait_s: for how long to wait for the result, 60 s at most.
            idempotency_key: of your own, where the call may be repeated by another process.
        """
        options = {"learner": learner, "steps": steps, "lr": lr, "prior": prior}
        body = given({**options, "wait": wait_s, "activate": activate})
        path = f"{self._finder.path(task)}/adapt"
        return version_from_json(self._connection.make(path, key=idempotency_key, json=body, wait_s=wait_s).json())

    def versions(self, task: TaskRef) -> Iterator[Version]:
        """All versions of a task, page by page."""
        return (version_from_json(item) for item in self._connection.pages(f"{self._finder.path(task)}/versions", {}))

    def version(self, task: TaskRef, number: int) -> Version:
        """One version of a task."""
        return version_from_json(self._connection.get(f"{self._finder.path(task)}/versions/{number}").json())

    def activate(self, task: TaskRef, number: int, *, idempotency_key: str | None = None) -> Task:
        """The task once a ready version answers, until another one is activated or a newer one becomes ready."""
        path = f"{self._finder.path(task)}/versions/{number}/activate"
        return task_from_json(self._connection.make(path, key=idempotency_key).json())

    def watch(self, task: TaskRef, number: int | None = None) -> Iterator[Progress]:
        """Each change of a version, by default the newest, until it is ready or failed.

        Raises:
            VersionNotFound: the task has no such version, or none at all.
        """
        if number is None:
            newest = next(self.versions(task), None)
            if newest is None:
                raise VersionNotFound("the task has no version to watch; adapt it first")
            number = newest.number
        return watch(self._connection, f"{self._finder.path(task)}/versions/{number}/events")

    def wait_until_ready(self, task: TaskRef, *, timeout_s: float = 300.0) -> Task:
        """The task, once its newest version is ready.

        Raises:
            ServiceError: the newest version failed; the class that its error names.
            DeadlineExceeded: it is not ready within `timeout_s`.
        """
        found = self.task(task)
        return ready_task(self._connection, self._finder.path(found), found, timeout_s=timeout_s)

    # Predictions

    # a str is an Image although it is an Iterable[str] too; at run time the first signature wins
    @overload
    def predict(  # type: ignore[overload-overlap]
        self, task: TaskRef, images: Image, *, top_k: int | None = ..., version: int | None = ..., nearest: int = ...
    ) -> Prediction: ...
    @overload
    def predict(
        self,
        task: TaskRef,
        images: Iterable[Image],
        *,
        top_k: int | None = ...,
        version: int | None = ...,
        nearest: int = ...,
    ) -> list[Prediction]: ...

    def predict(
        self,
        task: TaskRef,
        images: Image | Iterable[Image],
        *,
        top_k: int | None = None,
        version: int | None = None,
        nearest: int = 0,
    ) -> Prediction | list[Prediction]:
        """The class of an image, or of each of several images; all of them are answered by one version.

        Args:
            task: a task, its id, or a name that only one task has.
            images: one image, or any number of them; an image is a path or its bytes.
            top_k: how many classes to score; all where it is not given.
            version: the one that serves where it is not given.
            nearest: how many of the version's most similar examples to name beside each answer.
        """
        path = f"{self._finder.path(task)}/predict"
        params = given({"top_k": top_k, "version": version, "nearest": nearest or None})
        if isinstance(images, (bytes, str, os.PathLike, ImageSource)):
            return predict_one(self._connection, path, image_source(images), params)
        sources = [image_source(image) for image in images]
        return predict_many(self._connection, path, sources, params, self.limits())

    def evaluate(
        self,
        task: TaskRef,
        queries: LabelledImages | None = None,
        *,
        version: int | None = None,
        unknown_labels: UnknownLabels = "refuse",
    ) -> Evaluation:
        """How good a version is on these labelled images, which are not kept; without them, what its report says.

        Args:
            task: a task, its id, or a name that only one task has.
            queries: as the examples of `create_task`.
            version: the one that answers where it is not given.
            unknown_labels: `count` counts images whose label the task does not have as images of none of its classes.
        """
        path = f"{self._finder.path(task)}/evaluate"
        return evaluate(self._connection, path, queries, version=version, unknown_labels=unknown_labels)

    def export(self, task: TaskRef, kind: ExportFormat = "onnx", *, version: int | None = None) -> ExportedFile:
        """A version as a file that runs without Handful; an ONNX file takes some seconds to make.

        Args:
            task: a task, its id, or a name that only one task has.
            kind: `onnx` for the whole model, `safetensors` for the task parameters alone.
            version: the one that answers where it is not given.
        """
        return export(self._connection, f"{self._finder.path(task)}/export", kind, version=version)

    # How it is sent

    def _changed_class(self, task: TaskRef, label: str, changes: Mapping[str, object]) -> Task:
        return task_from_json(self._connection.send("PATCH", self._finder.class_path(task, label), json=changes).json())

    def _changed_example(self, task: TaskRef, example: Example | str, changes: Mapping[str, object]) -> Example:
        return example_from_json(
            self._connection.send("PATCH", self._finder.example_path(task, example), json=changes).json()
        )
