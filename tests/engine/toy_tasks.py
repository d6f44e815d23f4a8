"""A tiny base model file, and tasks on 8 px images that anything can learn."""

from pathlib import Path

import numpy as np
import torch

from service.engine.base import AdaptRequest, Pixels, PredictRequest
from service.metalearning.backbones import build_backbone
from service.metalearning.header import (
    BackboneSpec,
    BaseModelHeader,
    InputFormat,
    LearnerOffer,
    PixelScaling,
    file_digest,
)
from service.metalearning.learners.base import Network
from service.metalearning.serialization import save_base_model

OFFERS = {
    "ridge": LearnerOffer("head", {"penalty": 1.0, "scale": 10.0}),
    "protonet": LearnerOffer("head"),
    "anil": LearnerOffer("head", {"steps": 3, "lr": 0.1}),
    "maml": LearnerOffer("network", {"steps": 3, "lr": 0.1}),
}


def save_toy_base_model(path: Path, *, mirrored: bool = False, seed: int = 0) -> str:
    """Write a base model with random weights; return its digest."""
    spec = BackboneSpec("tiny", {"channels": 1, "mirrored": mirrored})
    torch.manual_seed(seed)
    backbone = build_backbone(spec)
    n_features = int(backbone.n_features)  # type: ignore[arg-type]  # nn.Module hides the type of its attributes
    header = BaseModelHeader(
        id="toy",
        purpose="Tests.",
        suits="drawings",
        backbone=spec,
        n_features=n_features,
        input=InputFormat(side_px=8, channels=1),
        scaling=PixelScaling(mean=(0.5,), std=(0.5,)),
        learners=OFFERS,
    )
    save_base_model(path, Network(backbone, n_features), header)
    return file_digest(path)


def toy_images(classes: list[int], *, seed: int = 0) -> Pixels:
    """Images whose class is the bright quarter: 0 top left, 1 top right, 2 bottom left, 3 bottom right."""
    noise = np.random.default_rng(seed).integers(0, 60, (len(classes), 1, 8, 8))
    bright = np.zeros((len(classes), 1, 8, 8), np.int64)
    for image, index in zip(bright, classes, strict=True):
        row, column = divmod(index, 2)
        image[0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 180
    return (noise + bright).astype(np.uint8)


def toy_support(
    base_model: str, *, learner: str = "ridge", n_way: int = 3, n_shot: int = 4, seed: int = 0, **more: object
) -> AdaptRequest:
    """A support set of n_shot images of each of n_way quarters."""
    labels = tuple(range(n_way)) * n_shot
    values: dict[str, object] = {
        "base_model": base_model,
        "learner": learner,
        "options": {},
        "labels": labels,
        "features": (None,) * len(labels),
        "pixels": toy_images(list(labels), seed=seed),
    }
    return AdaptRequest(**(values | more))  # type: ignore[arg-type]  # the values above, some of them replaced


def toy_query(base_model: str, artifact: str, classes: list[int], *, seed: int = 99) -> PredictRequest:
    """Images of these quarters for one task model."""
    return PredictRequest(base_model, artifact, toy_images(classes, seed=seed))
