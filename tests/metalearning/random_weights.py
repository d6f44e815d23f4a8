"""Networks of torchvision with random weights, in files as published ones are."""

from pathlib import Path

import torch

# torchvision has no type hints.
from torchvision import models  # type: ignore[import-untyped]


def save_random_weights(model: str, folder: Path, **options: object) -> Path:
    """The file, named after the network."""
    torch.manual_seed(0)
    path = folder / f"{model}.pth"
    torch.save(models.get_model(model, weights=None, **options).state_dict(), path)
    return path
