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
from service.metalearning.onnx_files import INPUT, PROBABILITIES, UNKNOWN
from service.metalearning.preprocessing import scaled
from service.metalearning.serialization import BaseModel

OPSET = 18
_TRACED = 3
"""Images, and classes. Not 1, which the tracer takes for a constant."""


class PixelsToAnswers(nn.Module):
    """The network of a task, and what stands before and behind it.

    Args:
        model: the base model.
        tells_unknown: whether there is an unknown score: a logistic function of the squared distance between the
            features and the nearest of `head.means`, with the weights `head.unknown`.
    """

    def __init__(self, model: BaseModel, *, tells_unknown: bool) -> None:
        super().__init__()
        self.network = Network(model.network.backbone, model.header.n_features, n_way=_TRACED)
        self.scaling = model.header.scaling
        self.tells_unknown = tells_unknown
        if tells_unknown:
            means = torch.zeros(_TRACED, model.header.n_features, dtype=torch.float16)
            self.network.head.register_buffer("means", means)
            self.network.head.register_buffer("unknown", torch.zeros(2))

    def forward(self, pixels: UInt8[Tensor, "n channels height width"]) -> tuple[Tensor, ...]:
        """Class probabilities of images in the base model's input format, (n, n_way), and the unknown scores, (n,)."""
        features = self.network.backbone(scaled(pixels, self.scaling))
        logits: Tensor = self.network.head(features)
        probabilities = logits.softmax(dim=-1)
        return (probabilities, self._unknown(features)) if self.tells_unknown else (probabilities,)

    def _unknown(self, features: Float[Tensor, "n n_features"]) -> Tensor:
        buffers = dict(self.network.head.named_buffers())
        means, weights = buffers["means"].to(features.dtype), buffers["unknown"]
        distance = (features[:, None] - means).square().sum(-1).amin(-1)
        return torch.sigmoid(weights[0] + weights[1] * distance)


def onnx_template(model: BaseModel, *, tells_unknown: bool = False) -> bytes:
    """The graph: input `pixels`, uint8 (n, channels, side_px, side_px) for any n; output `probabilities`.

    With `tells_unknown` there is a second output, `unknown`. The head is one of no task.
    """
    module = PixelsToAnswers(model, tells_unknown=tells_unknown).eval()
    wanted = model.header.input
    pixels = torch.zeros(_TRACED, wanted.channels, wanted.side_px, wanted.side_px, dtype=torch.uint8)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's remarks on its own insides
        program = torch.onnx.export(
            module,
            (pixels,),
            input_names=[INPUT],
            output_names=[PROBABILITIES, UNKNOWN] if tells_unknown else [PROBABILITIES],
            dynamic_shapes=({0: torch.export.Dim("n", min=1)},),
            opset_version=OPSET,
            dynamo=True,
            optimize=False,  # which would fold tensors that a task replaces into others
            verbose=False,
        )
    assert program is not None
    data: bytes = program.model_proto.SerializeToString(deterministic=True)
    return data
