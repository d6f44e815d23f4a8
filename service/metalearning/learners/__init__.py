"""The algorithms: each meta-trains a network and adapts it. `LEARNERS` is the list; a new one is a line in it."""

from collections.abc import Callable
from typing import Any

from service.metalearning.header import Setting
from service.metalearning.learners.base import Learner, Network
from service.metalearning.learners.closed_form import ProtoNet, Ridge
from service.metalearning.learners.cosine import Cosine
from service.metalearning.learners.film import FiLM
from service.metalearning.learners.gradient import ANIL, MAML, ProtoMAML, Reptile
from service.metalearning.learners.learned_rates import MAMLPlusPlus, MetaSGD
from service.metalearning.learners.logistic import Linear
from service.metalearning.learners.options import checked_settings


def _entry(learner: type[Learner], **fixed: bool) -> Callable[..., Learner]:
    def build(network: Network, **settings: Setting) -> Learner:
        """The learner on this network; InvalidOption for a setting that is unknown or out of range."""
        arguments: dict[str, Any] = {**checked_settings(learner.options, settings), **fixed}
        return learner(network, **arguments)

    return build


LEARNERS: dict[str, Callable[..., Learner]] = {
    "maml": _entry(MAML),
    "fomaml": _entry(MAML, first_order=True),
    "protomaml": _entry(ProtoMAML),
    "meta-sgd": _entry(MetaSGD),
    "maml++": _entry(MAMLPlusPlus),
    "film": _entry(FiLM),
    "anil": _entry(ANIL),
    "reptile": _entry(Reptile),
    "protonet": _entry(ProtoNet),
    "ridge": _entry(Ridge),
    "linear": _entry(Linear),
    "cosine": _entry(Cosine),
}
