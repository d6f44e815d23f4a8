"""What README says is run: its commands against a service, its Python, its tables against the code."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from service import settings
from service.client import Client
from service.error_names import error_classes
from service.metalearning.header import BaseModelHeader, read_header
from service.usecases.base_models import SHIPPED
from tests.running import running_service

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
README_URL = "http://127.0.0.1:8000"
SHAPES = ((5, 1), (5, 5), (20, 1), (20, 5))
"""Way and shot of the columns of README's table of figures."""

VARYING = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"  # ids
    r"|\d{4}-\d\d-\d\d[ T][\d:.]+(Z|\+00:00)?"  # times
    r"|\d+(\.\d+)?(e-?\d+)?(?=[,}\t]|$)"  # probabilities, milliseconds, counts
)


@pytest.fixture(scope="module")
def fresh_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service as a new user has it: the shipped base models, and no task."""
    with running_service(tmp_path_factory.mktemp("readme")) as url:
        yield url


def blocks(language: str) -> list[str]:
    """The fenced blocks of README in a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands_and_outputs() -> list[tuple[str, str]]:
    """The shell blocks of README that use a running service, each with the block of text that it is said to print."""
    found = re.findall(r"^```sh\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", README, re.MULTILINE | re.DOTALL)
    return [(commands, output) for commands, output in found if not re.match("make serve|handful meta-train", commands)]


def steady(line: str) -> str:
    """A line of output without what differs from run to run."""
    return VARYING.sub("~", line).rstrip()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.timeout(300)
def test_the_commands_of_readme_print_what_it_says(fresh_url: str, tmp_path: Path) -> None:
    scripts, said = zip(*commands_and_outputs(), strict=True)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "HANDFUL_URL": fresh_url, "COLUMNS": "200"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "".join(scripts).replace(README_URL, fresh_url)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = [steady(line) for line in done.stdout.splitlines()]
    assert printed == [steady(line) for output in said for line in output.splitlines()]


@pytest.mark.timeout(300)
def test_the_python_of_readme_runs_and_prints_what_it_says(fresh_url: str, tmp_path: Path) -> None:
    script, _ = commands_and_outputs()[0]
    drawing = script[script.index('python -c "') : script.index("python -m zipfile")]
    (program,) = blocks("python")
    command = f"{drawing.strip()}\npython - <<'END'\n{program.replace(README_URL, fresh_url)}\nEND"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=tmp_path,
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = re.findall(r"# prints (.*)$", program, re.MULTILINE)
    assert done.stdout.splitlines() == said


@pytest.mark.timeout(300)
def test_the_program_of_readme_runs_an_exported_file_as_the_service_does(fresh_url: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    (program,) = blocks("py")
    files = [drawn(label, tmp_path / f"{label}.png") for label in "XYZ"]
    with Client(fresh_url) as client:
        task = client.create_task("to take along", {file.stem: [file] for file in files}, wait_s=60)
        answers = client.predict(task, files)
        (tmp_path / "model.onnx").write_bytes(client.export(task).data)
    command = [sys.executable, "-I", "-c", program, str(tmp_path / "model.onnx"), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[:2] for row in rows] == [[str(file), each.label] for file, each in zip(files, answers, strict=True)]
    assert [float(row[2]) for row in rows] == pytest.approx([each.probability for each in answers], abs=2e-4)
    assert "service" not in program


def drawn(letter: str, path: Path) -> Path:
    """The file, with the letter in it: wider than it is high."""
    image = Image.new("RGB", (140, 105), "white")
    ImageDraw.Draw(image).text((40, 10), letter, "black", font_size=70)
    image.save(path)
    return path


def test_the_settings_of_readme_are_those_of_the_code() -> None:
    assert settings.table() in README


def test_every_problem_that_a_client_can_meet_is_in_readme() -> None:
    internal = {"ServiceError", "Unavailable", "ImageError", "ArtifactError", "SetupError"}
    met = {
        cls.problem_type()
        for cls in error_classes()
        if cls.__module__ == "service.errors" and cls.__name__ not in internal and cls.status != 500
    }
    assert {kind for kind in met if f"`{kind}`" not in README} == set()


def test_every_file_that_readme_names_exists() -> None:
    named = set(re.findall(r"`((?:service|tests)/[\w/.-]+)`", README))
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_the_recipe_of_readme_can_be_trained() -> None:
    from service.metalearning.recipe import recipe_from_tables  # noqa: PLC0415  # torch, once a test needs it

    (recipe,) = blocks("toml")
    assert recipe_from_tables(tomllib.loads(recipe)).data == "folder"


def test_the_base_models_of_readme_are_those_shipped() -> None:
    headers = [read_header(path) for path in sorted(SHIPPED.glob("*.safetensors"))]
    assert headers
    assert [header.id for header in headers if base_model_row(header) not in README] == []


def base_model_row(header: BaseModelHeader) -> str:
    """The line of a base model in README's table."""
    taken = f"{header.input.side_px} px, {'grey' if header.input.channels == 1 else 'colour'}"
    return f"| `{header.id}` | {header.purpose} | {taken} | {', '.join(header.learners)} |"


def test_the_figures_of_readme_are_those_of_the_base_models() -> None:
    rows = [row for path in sorted(SHIPPED.glob("*.safetensors")) for row in figure_rows(read_header(path))]
    missing = [row for row in rows if row not in README]
    assert not missing, "README lacks\n" + "\n".join(missing)


def figure_rows(header: BaseModelHeader) -> list[str]:
    """The lines of README's table of figures for a base model: one a data set and learner."""
    found = {(item.dataset, item.learner, item.n_way, item.n_shot): item for item in header.figures}
    rows = []
    for dataset, learner in dict.fromkeys((item.dataset, item.learner) for item in header.figures):
        figures = [found.get((dataset, learner, *shape)) for shape in SHAPES]
        cells = [f"{item.accuracy:.2f} ± {item.interval_95:.2f}" if item else "–" for item in figures]
        rows.append(f"| `{header.id}` | {dataset} | {learner} | {' | '.join(cells)} |")
    return rows
