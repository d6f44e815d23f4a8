"""Task models as ONNX files, from the template of their base model; needs no torch."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from service.errors import CheckpointError

INPUT, PROBABILITIES, UNKNOWN = "pixels", "probabilities", "unknown"
UNKNOWN_WEIGHTS = "head.unknown"
"""What a task has that tells how likely an image is of none of its classes."""

_OF_CLASSES = frozenset({"head.weight", "head.bias", "head.means"})
"""Tensors with a row for each class."""

_PREFIX = "network."
"""What stands before a state-dict name in the template."""


def onnx_file(template: bytes, task: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    """The template with the task parameters in their places.

    Args:
        template: what `onnx_template` made of the base model.
        task: tensors by state-dict name.
        metadata: goes into the file's `metadata_props`.

    Raises:
        CheckpointError: a tensor has no place in the template, or another shape than its place.
    """
    import onnx  # noqa: PLC0415  # slow to import

    proto = onnx.load_model_from_string(template)
    places = {tensor.name: tensor for tensor in proto.graph.initializer}
    for name, values in task.items():
        place = places.get(_PREFIX + name)
        if place is None or not _fits(name, values.shape, tuple(place.dims)):
            found = "no place" if place is None else f"a place of shape {tuple(place.dims)}"
            raise CheckpointError(f"the base model's graph has {found} for {name} of shape {values.shape}")
        place.CopyFrom(onnx.numpy_helper.from_array(values, place.name))
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = len(task["head.bias"])
    _strip(proto)
    for key, value in metadata.items():
        proto.metadata_props.add(key=key, value=value)
    proto.producer_name, proto.producer_version = "handful", metadata.get("handful", "")
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def _fits(name: str, shape: tuple[int, ...], place: tuple[int, ...]) -> bool:
    """Whether a tensor has the shape of its place; a head has as many rows as its task has classes."""
    return shape[1:] == place[1:] if name in _OF_CLASSES else shape == place


def _strip(proto: Any) -> None:  # noqa: ANN401  # protobuf
    """Take out what the tracer says of our sources, and the shapes between, which were those of another task."""
    graph = proto.graph
    for item in (graph, *graph.node, *graph.input, *graph.output):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    graph.ClearField("value_info")
