"""How alike images are to stored examples: the cosine of their features under the base model."""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from service.engine.base import Directions, DirectionsRequest, FeatureRow, Similarities, SimilarityRequest
from service.engine.inference import Inference
from service.errors import ArtifactDamaged
from service.metalearning.header import BaseModelHeader
from service.metalearning.serialization import features_from_bytes

Tables = Callable[[str], Tensor]
"""The directions in a features artifact, by its digest: what `directions` made."""


def directions(data: bytes, header: BaseModelHeader) -> Tensor:
    """The features in an artifact divided by their lengths.

    Raises:
        ArtifactDamaged: they are not features of this base model.
    """
    rows = features_from_bytes(data)
    if rows.shape[1] != header.n_features:
        raise ArtifactDamaged(f"features of width {rows.shape[1]} are not of base model {header.id}")
    return F.normalize(rows, dim=1)


def similarities(request: SimilarityRequest, inference: Inference, tables: Tables) -> Similarities:
    """One row an image, one column an example.

    Raises:
        ArtifactDamaged: a row is beyond its artifact.
    """
    examples = _gathered(request.support, {row.digest: tables(row.digest) for row in request.support})
    with torch.inference_mode():
        features = F.normalize(inference.features(request.pixels), dim=1)
        return (features @ examples.T).clamp(-1, 1).float().cpu().numpy()


def gathered_directions(request: DirectionsRequest, inference: Inference, tables: Tables) -> Directions:
    """The directions of the stored examples, then of the images.

    Raises:
        ArtifactDamaged: a row is beyond its artifact.
    """
    with torch.inference_mode():
        found = [F.normalize(inference.features(request.pixels), dim=1)]
        if request.stored:
            found.insert(0, _gathered(request.stored, {row.digest: tables(row.digest) for row in request.stored}))
        return torch.cat(found).float().cpu().numpy()


def _gathered(support: Sequence[FeatureRow], tables: Mapping[str, Tensor]) -> Tensor:
    for row in support:
        if row.row >= len(tables[row.digest]):
            raise ArtifactDamaged(f"features {row.digest} have no row {row.row}")
    return torch.stack([tables[row.digest][row.row] for row in support])  # (n_support, n_features)
