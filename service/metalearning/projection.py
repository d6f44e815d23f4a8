"""What an ensemble learns from domains of meta-training classes: its centres and its projection."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from jaxtyping import Float, Int
from torch import Tensor

from service.metalearning.datasets import Dataset
from service.metalearning.ensemble import Ensemble
from service.metalearning.header import PixelScaling
from service.metalearning.learners.base import CHUNK_IMAGES
from service.metalearning.preprocessing import scaled
from service.metalearning.whitening import covariance_within, whitening
from service.wording import counted

PHOTOGRAPHS = "photographs"
"""The domain whose mean is the centre."""


@dataclass(frozen=True, slots=True, eq=False)
class Domain:
    """What the members say of the images of one domain.

    Attributes:
        pooled: for each member (n, its features), neither centred nor of one length.
        labels: the class of each image.
    """

    pooled: tuple[Float[Tensor, "n _"], ...]
    labels: Int[Tensor, " n"]


def seen_by_members(backbone: Ensemble, dataset: Dataset, scaling: PixelScaling) -> Domain:
    """The domain of all images of the data set."""
    chunks = [backbone.pooled(scaled(pixels, scaling)) for pixels in torch.split(dataset.images, CHUNK_IMAGES)]
    return Domain(tuple(torch.cat(parts) for parts in zip(*chunks, strict=True)), dataset.labels)


def learn_projection(backbone: Ensemble, domains: Mapping[str, Domain], *, floor: float) -> None:
    """Centre the members on the photographs and whiten by all domains; changes the backbone.

    Args:
        backbone: gets as many directions as it has room for.
        domains: by name; the photographs are among them.
        floor: as of `whitening`.

    Raises:
        DatasetError: no class of a domain has two images that differ.
    """
    for member, pooled in zip(backbone.networks, domains[PHOTOGRAPHS].pooled, strict=True):
        member.centre.copy_(pooled.mean(dim=0))
    covariances = [covariance_within(backbone.joined(domain.pooled), domain.labels) for domain in domains.values()]
    directions, shortening = whitening(covariances, floor=floor, rank=len(backbone.shortening))
    backbone.directions.copy_(directions)
    backbone.shortening.copy_(shortening)


def learned_from(domains: Mapping[str, Domain]) -> str:
    """The domains in words, for the provenance of a base model."""
    return ", ".join(f"{name} ({counted(len(domain.labels), 'image')})" for name, domain in domains.items())


def domains_to_file(path: Path, domains: Mapping[str, Domain]) -> None:
    """Keep the domains, in half precision."""
    tensors = {f"{name}.labels": domain.labels for name, domain in domains.items()}
    for name, domain in domains.items():
        tensors |= {f"{name}.{index}": pooled.half() for index, pooled in enumerate(domain.pooled)}
    safetensors.torch.save_file(tensors, path)


def domains_from_file(path: Path) -> dict[str, Domain]:
    """The domains that were kept, in the order of their names."""
    tensors = safetensors.torch.load_file(path)
    names = sorted(name.removesuffix(".labels") for name in tensors if name.endswith(".labels"))
    return {name: Domain(_pooled(tensors, name), tensors[f"{name}.labels"]) for name in names}


def _pooled(tensors: Mapping[str, Tensor], name: str) -> tuple[Tensor, ...]:
    n_members = sum(each.startswith(f"{name}.") for each in tensors) - 1
    return tuple(tensors[f"{name}.{index}"].float() for index in range(n_members))
