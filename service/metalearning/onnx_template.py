"""A base model as an ONNX graph in which every tensor of the network has its place: the form of all its task models.

The graph is traced from the network itself, so whatever a backbone or a head does is in it; nothing here names one. Why
torch.onnx and not our own writer: it follows the modules. Why not a trace for each task: it takes seconds, and a task
model is tensors by state-dict name, which `onnx_files` puts into their places.
"""

import warnings

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from service.metalearning.learners.base import Network
from service.metalearning.onnx_files import INPUT, OUTPUT
from service.metalearning.preprocessing import scaled
from service.metalearning.serialization import BaseModel

OPSET = 18
_TRACED = 3
"""Images, and classes. Not 1, which the tracer takes for a constant."""


class PixelsToProbabilities(nn.Module):
    """The network of a task, and what stands before and behind it."""

    def __init__(self, model: BaseModel, network: Network) -> None:
        super().__init__()
        self.network = network
        self.scaling = model.header.scaling

    def forward(self, pixels: UInt8[Tensor, "n channels height width"]) -> Float[Tensor, "n n_way"]:
        """Class probabilities of images in the base model's input format."""
        logits: Tensor = self.network(scaled(pixels, self.scaling))
        return logits.softmax(dim=-1)


def onnx_template(model: BaseModel) -> bytes:
    """The graph: input `pixels`, uint8 (n, channels, side_px, side_px) for any n; output `probabilities`.

    Its head is one of no task.
    """
    network = Network(model.network.backbone, model.header.n_features, n_way=_TRACED)
    module = PixelsToProbabilities(model, network).eval()
    wanted = model.header.input
    pixels = torch.zeros(_TRACED, wanted.channels, wanted.side_px, wanted.side_px, dtype=torch.uint8)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's remarks on its own insides
        program = torch.onnx.export(
            module,
            (pixels,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("n", min=1)},),
            opset_version=OPSET,
            dynamo=True,
            optimize=False,  # which would fold tensors that a task replaces into others
            verbose=False,
        )
    assert program is not None
    data: bytes = program.model_proto.SerializeToString(deterministic=True)
    return data
