"""Listing base models without a service."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from service.metalearning.header import (
    METADATA_KEY,
    BackboneSpec,
    BaseModelHeader,
    Figure,
    InputFormat,
    LearnerOffer,
    PixelScaling,
    header_to_json,
)
from tests.cli.conftest import Handful


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one base model called `leaves`."""
    header = BaseModelHeader(
        id="leaves",
        purpose="Leaves on paper.",
        suits="photographs",
        backbone=BackboneSpec("tiny"),
        n_features=4,
        input=InputFormat(side_px=32, channels=3),
        scaling=PixelScaling((0.5,) * 3, (0.5,) * 3),
        learners={"ridge": LearnerOffer("head"), "anil": LearnerOffer("head", {"steps": 5})},
        figures=(Figure("herbarium", "ridge", 5, 1, 91.25, 0.5, 1000),),
    )
    save_file({"w": np.zeros(1)}, tmp_path / "leaves.safetensors", {METADATA_KEY: header_to_json(header)})
    return tmp_path


def test_base_models_are_listed_with_their_figures(handful: Handful, folder: Path) -> None:
    ran = handful("base-models", "--dir", folder)
    assert ran.code == 0
    (line,) = [line for line in ran.out.splitlines() if line.startswith("leaves\t")]
    assert "91.2 ± 0.5 % (herbarium)" in line
    assert "ridge, anil" in line


def test_base_models_are_json_on_request(handful: Handful, folder: Path) -> None:
    ran = handful("base-models", "--dir", folder, "--json")
    found = {item["id"]: item for item in json.loads(ran.out)}
    assert found["leaves"]["header"]["figures"][0]["n_way"] == 5
    assert len(found["leaves"]["digest"]) == 64
