"""A task of a few hundred numbers: scale and shift of the backbone's channels, and a head."""

from collections.abc import Iterator

from torch import Tensor

from service.errors import InvalidOption
from service.metalearning.learners.base import Network
from service.metalearning.learners.inner_loop import Start, UnrolledLearner
from service.metalearning.normalisation import Normalisation


class FiLM(UnrolledLearner):
    """Gradient steps on the head and on scale and shift of each channel; all convolutions are shared.

    Feature-wise linear modulation is Perez et al. 2018 (arXiv:1709.07871, section 2.1). As a task's own parameters,
    found by gradient steps: FLUTE, Triantafillou et al. 2021 (arXiv:2105.07029, section 3.3). Scale and shift are the
    weight and bias of each `Normalisation`, so that a task of Conv-4-64 has 512 numbers and a head, instead of 111,000.

    Differences: the start of scale and shift and the convolutions are meta-trained through the steps, as in MAML, where
    FLUTE trains a set of modulations by classification and blends their start for each task; the head starts from zero
    or prototypes and takes steps of the same size; no modulation is predicted by another network, as in CNAPs.
    """

    def __init__(
        self, network: Network, *, steps: int = 5, lr: float = 0.1, start: Start = "zero", start_scale: float = 1.0
    ) -> None:
        settings = {"steps": steps, "lr": lr, "start": start, "start_scale": start_scale}
        super().__init__(network, settings, start=start)
        if next(self._adapted(), None) is None:
            raise InvalidOption("the backbone has no normalisation whose scale and shift could be adapted; use anil")

    def _adapted(self) -> Iterator[tuple[str, Tensor]]:
        for name, module in self.network.named_modules():
            if isinstance(module, Normalisation):
                yield f"{name}.weight", module.weight
                yield f"{name}.bias", module.bias
