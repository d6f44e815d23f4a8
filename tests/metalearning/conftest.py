"""Fixtures of the learning core's tests."""

import pytest
import torch


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded source of randomness."""
    return torch.Generator().manual_seed(0)
