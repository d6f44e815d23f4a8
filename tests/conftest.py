"""Fixtures that every room's tests may use."""

import os
from pathlib import Path

import pytest

from tests.running import service_url

__all__ = ["service_url"]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images: HANDFUL_TEST_DATA, else ../shared/data of the checkout; skips where there is none."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("HANDFUL_TEST_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"the folder of real images is not here: {folder.name}")
    return folder
