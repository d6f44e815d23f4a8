"""The commands that need torch: `handful pretrain`, `handful meta-train` and `handful evaluate`."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.output import AsJson, say, show_json, show_table
from service.cli.processor import prepare_training

if TYPE_CHECKING:
    from service.metalearning.datasets import Decode
    from service.metalearning.header import InputFormat
    from service.metalearning.recipe import Recipe
    from service.metalearning.training_data import TrainingData
    from service.metalearning.training_run import Outcome, Progress

INTERRUPTED = 130
MAX_PIXELS = 100_000_000
_SECONDS_BETWEEN_LINES = 10


def register(app: typer.Typer) -> None:
    """Add the commands `pretrain`, `meta-train` and `evaluate`."""
    app.command("pretrain")(pretrain)
    app.command("meta-train")(meta_train)
    app.command("evaluate")(evaluate)


RecipeName = Annotated[str, typer.Argument(help="name of a shipped recipe, or path of a .toml file")]
TrainingFolder = Annotated[
    Path, typer.Option(help='folder of the data set; for data = "folder" the class folders or a zip')
]
Changes = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE in TOML, replaces a recipe key")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; default as many as torch takes")]
Restart = Annotated[bool, typer.Option("--restart", help="forget the state of an earlier run")]


def pretrain(
    recipe: RecipeName,
    data: TrainingFolder,
    out: Annotated[Path | None, typer.Option(help="folder of the run; default runs/ID-pretrained")] = None,
    changes: Changes = None,
    threads: Threads = None,
    restart: Restart = False,
) -> None:
    """Train a backbone to name the training classes, print its test accuracy; goes on where it was interrupted."""
    from service.metalearning import pretraining  # noqa: PLC0415  # slow to import

    wanted, training_data = _prepared(recipe, data, changes, threads)
    folder = _folder(out or Path("runs") / f"{wanted.id}-pretrained", restart=restart)
    steps = wanted.pretraining.optimizer.steps if wanted.pretraining else 0
    with _interruptible() as is_stopped, _shown(steps, "test accuracy") as on_progress:
        outcome = pretraining.pretrain(wanted, training_data, folder, on_progress=on_progress, is_stopped=is_stopped)
    _tell(outcome)


def meta_train(  # noqa: PLR0913, PLR0917  # an option is an argument
    recipe: RecipeName,
    data: TrainingFolder,
    out: Annotated[Path | None, typer.Option(help="folder of the run; default runs/ID")] = None,
    changes: Changes = None,
    threads: Threads = None,
    restart: Restart = False,
    start: Annotated[
        Path | None, typer.Option(help="checkpoint whose backbone to begin with, such as a pre-trained one")
    ] = None,
) -> None:
    """Meta-train a base model; started again after an interruption, go on where it stopped."""
    from service.metalearning import training  # noqa: PLC0415  # slow to import
    from service.metalearning.serialization import load_base_model  # noqa: PLC0415

    begun = None if start is None else load_base_model(start)
    wanted, training_data = _prepared(recipe, data, changes, threads)
    folder = _folder(out or Path("runs") / wanted.id, restart=restart)
    with _interruptible() as is_stopped, _shown(wanted.optimizer.steps, "validation") as on_progress:
        outcome = training.meta_train(
            wanted, training_data, folder, start=begun, on_progress=on_progress, is_stopped=is_stopped
        )
    _tell(outcome)


def evaluate(  # noqa: PLR0913, PLR0917  # an option is an argument
    checkpoint: Annotated[Path, typer.Argument(help="checkpoint file", exists=True, dir_okay=False)],
    data: Annotated[Path, typer.Option(help="folder of the data set; for --dataset folder the class folders or a zip")],
    ways: Annotated[str, typer.Option(help="classes of an episode, such as 5,20")] = "5,20",
    shots: Annotated[str, typer.Option(help="support images a class, such as 1,5")] = "1,5",
    queries: Annotated[int, typer.Option(min=1, help="query images a class")] = 15,
    episodes: Annotated[int, typer.Option(min=2, help="episodes for each figure")] = 1000,
    learner: Annotated[
        list[str] | None, typer.Option(help="learner; may be repeated; default the first offered")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="data set; default the one it was trained on")] = None,
    split: Annotated[str, typer.Option(help="train, val, trainval or test")] = "test",
    seed: Annotated[int, typer.Option(help="decides the episodes")] = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default as many as torch takes")] = None,
    as_json: AsJson = False,
    write_figures: Annotated[bool, typer.Option("--write-figures", help="put the figures into the checkpoint")] = False,
    transductive: Annotated[
        bool, typer.Option("--transductive", help="normalise queries by one another, as papers do; never the service")
    ] = False,
) -> None:
    """Measure a base model on episodes of classes it has never seen; every query is answered by itself."""
    import torch  # noqa: PLC0415  # slow to import

    from service.cli.figures import HEADER, Plan, measured_rows  # noqa: PLC0415
    from service.metalearning import evaluation  # noqa: PLC0415
    from service.metalearning.sampling import EpisodeShape  # noqa: PLC0415

    if transductive and write_figures:
        raise typer.BadParameter("figures of a base model are inductive; leave out --write-figures or --transductive")
    if threads is not None:
        torch.set_num_threads(threads)
    shapes = tuple(EpisodeShape(way, shot, queries) for way in _numbers(ways) for shot in _numbers(shots))
    plan = Plan(data, dataset, split, shapes, episodes, tuple(learner or ()), seed, transductive)
    rows = measured_rows(checkpoint, plan, decoder)
    if write_figures:
        evaluation.write_figures(checkpoint, [row.as_figure() for row in rows])
    if as_json:
        show_json({"results": [row.as_result() for row in rows]})
    else:
        show_table(HEADER, [row.as_cells() for row in rows])


def _prepared(
    recipe: str, data: Path, changes: list[str] | None, threads: int | None
) -> tuple["Recipe", "TrainingData"]:
    """The recipe and its data, with the process prepared to train on it."""
    from service.metalearning.recipe import read_recipe  # noqa: PLC0415  # slow to import
    from service.metalearning.training_data import read_training_data  # noqa: PLC0415

    prepare_training(threads)
    wanted = read_recipe(recipe, changes or [])
    say(f"reading {wanted.data}")
    return wanted, read_training_data(wanted, data, decoder(wanted.input))


def _folder(folder: Path, *, restart: bool) -> Path:
    """The run's folder, without its state if the run is to start anew."""
    from service.metalearning.training_state import STATE_FILE  # noqa: PLC0415  # slow to import

    if restart:
        (folder / STATE_FILE).unlink(missing_ok=True)
    return folder


def _tell(outcome: "Outcome") -> None:
    """Print the path of the base model; end with INTERRUPTED if the run was stopped."""
    if not outcome.finished:
        say(f"stopped; the same command goes on from {outcome.path}")
        raise typer.Exit(INTERRUPTED)
    typer.echo(outcome.path)


def decoder(wanted: "InputFormat") -> "Decode":
    """The service's own decoding, for one input format."""
    from service.imaging import decode  # noqa: PLC0415

    return lambda data: decode(data, [wanted], max_pixels=MAX_PIXELS).arrays[0]


def _numbers(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise typer.BadParameter(f"{text!r} is not a list of positive numbers such as 1,5")
    return numbers


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """A function that tells whether the first Ctrl-C or SIGTERM came; the second one acts as usual."""
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # signal's signature
        nonlocal stopped
        stopped = True
        signal.signal(number, before[signal.Signals(number)])

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield lambda: stopped
    finally:
        for number in numbers:
            signal.signal(number, before[number])


@contextmanager
def _shown(n_steps: int, accuracy: str) -> Iterator[Callable[["Progress"], None]]:
    """A function that shows progress: a bar on a terminal, a line every ten seconds elsewhere."""
    if not sys.stderr.isatty():
        yield _lines(accuracy)
        return
    from rich.console import Console  # noqa: PLC0415  # slow to import
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn  # noqa: PLC0415
    from rich.progress import Progress as Bars  # noqa: PLC0415

    columns = (MofNCompleteColumn(), BarColumn(), TextColumn("{task.description}"))
    with Bars(*columns, console=Console(stderr=True)) as bars:
        shown = bars.add_task("starting", total=n_steps)
        yield lambda at: bars.update(shown, completed=at.step, description=_described(at, accuracy))


def _lines(accuracy: str) -> Callable[["Progress"], None]:
    last_s = -float(_SECONDS_BETWEEN_LINES)

    def line(at: "Progress") -> None:
        nonlocal last_s
        if time.monotonic() - last_s >= _SECONDS_BETWEEN_LINES or at.step == at.steps:
            last_s = time.monotonic()
            say(f"step {at.step} of {at.steps}: {_described(at, accuracy)}")

    return line


def _described(at: "Progress", accuracy: str) -> str:
    measured = "" if at.validation is None else f", {accuracy} {at.validation:.2f} %"
    minutes, seconds = divmod(round(at.remaining_s), 60)
    return f"loss {at.loss:.4f}{measured}, {minutes}:{seconds:02} left"
