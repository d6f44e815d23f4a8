"""`handful make-base-model`: from a file of weights and class folders to answers of the service; weights are random."""

import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from PIL import Image

from service.client import Client
from service.engine.inline import InlineEngine
from service.metalearning.header import read_header
from tests.api.toy_service import make_settings, serving
from tests.cli.conftest import Handful
from tests.image_factories import noise
from tests.metalearning.random_weights import save_random_weights

MODEL = "shufflenet_v2_x0_5"
COLOURS = ("red", "green", "blue")


@pytest.fixture
def folder(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `images` of three colours, four of each, and the weights; torch hub has nothing."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for colour in COLOURS:
        (tmp_path / "images" / colour).mkdir(parents=True)
        for index in range(4):
            image = Image.blend(noise(40, 40, index), Image.new("RGB", (40, 40), colour), 0.6)
            image.save(tmp_path / "images" / colour / f"{index}.png")
    (tmp_path / weights.name).symlink_to(weights)
    return tmp_path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights."""
    return save_random_weights(MODEL, tmp_path_factory.mktemp("weights"))


def making(folder: Path, **changes: object) -> list[object]:
    """The command that makes `models/mine.safetensors`, with some of its options replaced."""
    options = {
        "backbone": f"torchvision:{MODEL}",
        "weights": folder / f"{MODEL}.pth",
        "data": folder / "images",
        "out": folder / "models" / "mine.safetensors",
        "side-px": 32,
        "threads": 1,
    } | changes
    return ["make-base-model", *(part for name, value in options.items() for part in (f"--{name}", value))]


def test_a_base_model_of_ones_own_answers_in_the_service(folder: Path, handful: Handful) -> None:
    made = handful(*making(folder))
    assert (made.code, made.out.strip()) == (0, str(folder / "models" / "mine.safetensors"))
    settings = make_settings(folder / "data", base_models_dir=folder / "models")
    engine = InlineEngine(
        base_model_files=[folder / "models" / "mine.safetensors"],
        artifacts_root=settings.data_dir / "artifacts",
        device="cpu",
        threads=1,
    )
    with serving(settings, engine) as url, Client(url) as client:
        examples = {colour: sorted((folder / "images" / colour).iterdir())[:3] for colour in COLOURS}
        task = client.create_task("colours", examples, base_model="mine", wait_s=60)
        unseen = [folder / "images" / colour / "3.png" for colour in COLOURS]
        assert [answer.label for answer in client.predict(task, unseen)] == list(COLOURS)


def test_what_is_made_can_be_measured_and_is_listed(folder: Path, handful: Handful) -> None:
    out = handful(*making(folder, purpose="Colours.")).out.strip()
    shape = ("--ways", 3, "--shots", 1, "--queries", 2, "--episodes", 4)
    measured = handful(
        "evaluate", out, "--data", folder / "images", "--dataset", "folder", *shape, "--threads", 1, "--write-figures"
    )
    assert measured.code == 0, measured.err
    assert [figure.dataset for figure in read_header(Path(out)).figures] == ["images"]
    assert (
        "mine\tphotographs\t32 px colour\tridge, protonet, anil"
        in handful("base-models", "--dir", Path(out).parent).out
    )


def test_gains_and_shifts_are_learned_in_so_many_steps(folder: Path, handful: Handful) -> None:
    plain = Path(handful(*making(folder)).out.strip())
    at_first = safetensors.torch.load_file(plain)
    made = handful(*making(folder, steps=2))
    assert (made.code, "step 2: loss" in made.err) == (0, True)
    learned = safetensors.torch.load_file(plain)
    names = ["backbone.members.0.gains", "backbone.members.0.shifts"]
    assert all(at_first[name].abs().max() == 0 for name in names)
    assert all(learned[name].abs().max() > 0 for name in names)
    assert read_header(plain).provenance["modulation"].endswith("learned in 2 steps")
    assert sorted(path.name for path in plain.parent.iterdir()) == ["mine.safetensors", f"{MODEL}.pth"]


def test_weights_in_the_cache_of_torch_hub_are_not_copied(folder: Path, weights: Path, handful: Handful) -> None:
    cached = folder / "torch" / "hub" / "checkpoints" / weights.name
    cached.parent.mkdir(parents=True)
    cached.write_bytes(weights.read_bytes())
    made = handful(*making(folder, weights=cached))
    assert made.code == 0, made.err
    assert [file.name for file in (folder / "models").iterdir()] == ["mine.safetensors"]


def test_another_file_beside_the_checkpoint_is_not_replaced(folder: Path, handful: Handful) -> None:
    (folder / "models").mkdir()
    torch.save({}, folder / "models" / f"{MODEL}.pth")
    made = handful(*making(folder))
    assert made.code == 1
    assert "is another file than" in made.err
    assert torch.load(folder / "models" / f"{MODEL}.pth", weights_only=True) == {}


@pytest.mark.parametrize("changes", [{"backbone": MODEL}, {"backbone": "torchvision:"}, {"out": "mine.pth"}])
def test_a_name_that_cannot_be_right_is_wrong_usage(folder: Path, handful: Handful, changes: dict[str, object]) -> None:
    assert handful(*making(folder, **changes)).code == 2


def test_classes_of_one_image_teach_nothing(folder: Path, handful: Handful) -> None:
    for image in (folder / "images").glob("*/[123].png"):
        image.unlink()
    made = handful(*making(folder))
    assert made.code == 1
    assert "no class has two images that differ" in made.err


@pytest.mark.parametrize("module", ["photo", "calibrate"])
def test_a_command_of_maintainers_starts_without_a_warning(module: str) -> None:
    command = [sys.executable, "-W", "error", "-m", f"service.cli.{module}", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
