"""What a version will be adapted from and how: pure choices and checks, before anything is stored."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from service.errors import (
    BaseModelGone,
    BaseModelNotFound,
    ExamplesNotKept,
    InvalidOption,
    InvalidRequest,
    InvalidSupportSet,
    UnknownBaseModel,
    UnknownLearner,
)
from service.metalearning.header import LearnerOffer, Setting
from service.persistence.ids import new_id
from service.persistence.records import ClassCount, TaskSnapshot, VersionRecord
from service.usecases.base_models import BaseModelCard, BaseModels
from service.usecases.limits import Limits
from service.usecases.texts import checked_label
from service.wording import counted

Prior: TypeAlias = str | Mapping[str, float]
"""`balanced`, `support`, or a weight for each label."""

PRIORS = ("balanced", "support")
MAX_STEPS = 100
MAX_LR = 10.0
_PRIOR = "prior"
_BOUND = "it is the task's own: named when the task was made, or chosen for its first version"


@dataclass(frozen=True, slots=True)
class Wish:
    """How a client wants a task adapted; None where it does not say.

    Attributes:
        prior: of this version; the task keeps its own.
        activate: whether the version answers as soon as it is ready.
    """

    learner: str | None = None
    steps: int | None = None
    lr: float | None = None
    prior: Prior | None = None
    activate: bool = True

    @property
    def options(self) -> dict[str, Setting]:
        """What replaces settings of the learner's offer."""
        return {name: value for name, value in (("steps", self.steps), ("lr", self.lr)) if value is not None}


def planned_version(task: TaskSnapshot, wish: Wish, base_models: BaseModels, limits: Limits) -> VersionRecord:
    """The version that adapts a task as it is, as the client wishes.

    Raises:
        InvalidSupportSet: the classes are too few or too many.
        BaseModelGone: the task's base model is not loaded.
        ExamplesNotKept: the task does not keep what this needs.
        UnknownBaseModel: the task names none, and none is loaded.
        UnknownLearner, InvalidOption: the base model does not offer this.
    """
    check_is_kept(task)
    check_classes(task.classes, limits, left_out=task.left_out)
    card, reason = chosen_base_model(task, base_models)
    learner = wish.learner or task.learner or card.header.default_learner
    offer = offered(card, learner)
    check_options(learner, offer, wish.options)
    _check_kept(task, card, learner, offer)
    wanted = task.prior if wish.prior is None else checked_prior(wish.prior, limits)
    prior = prior_without(wanted, task.left_out)
    prior_of_classes(prior, task.classes)
    settings = {**offer.settings, **wish.options, _PRIOR: prior}
    report: dict[str, Any] = {"base_model": {"chosen": card.id, "reason": reason}}
    if task.left_out:
        report["left_out"] = list(task.left_out)
    return VersionRecord(new_id(), learner, card.id, card.digest, settings, wish.activate, report)


def check_is_kept(task: TaskSnapshot) -> None:
    """Return if the task still keeps examples to adapt to.

    Raises:
        ExamplesNotKept: it does not.
    """
    if task.store == "nothing" and task.is_adapted:
        raise ExamplesNotKept(
            "the task keeps nothing of its examples (store is 'nothing'), so that it cannot be adapted again; "
            "make a new task"
        )


def _check_kept(task: TaskSnapshot, card: BaseModelCard, learner: str, offer: LearnerOffer) -> None:
    if task.store == "features" and offer.adapts != "head":
        raise InvalidOption(
            f"the learner {learner!r} adapts the whole network and needs the images themselves, but the task keeps "
            "features only; take a learner that adapts the head, or set store to 'images'"
        )
    if task.features_only and (task.features_only != {card.digest} or offer.adapts != "head"):
        raise ExamplesNotKept(
            f"the originals of some examples are not kept, and their features are no use to {learner!r} on base model "
            f"{card.id!r} of digest {card.digest}; add the images again"
        )


def prior_without(prior: Any, left_out: Sequence[str]) -> Any:  # noqa: ANN401  # JSON
    """The prior without the weights of classes that are left out."""
    if not isinstance(prior, Mapping):
        return prior
    return {label: weight for label, weight in prior.items() if label not in left_out}


def check_classes(classes: Sequence[ClassCount], limits: Limits, *, left_out: Sequence[str] = ()) -> None:
    """Return if there are enough classes for a choice, and not too many.

    Raises:
        InvalidSupportSet: there are not.
    """
    if len(classes) < limits.min_classes:
        names = "; the only one is " + repr(classes[0].label) if classes else ""
        names += "; left out: " + ", ".join(map(repr, left_out)) if left_out else ""
        found = counted(len(classes), "class")
        raise InvalidSupportSet(f"the examples have {found}, need at least {limits.min_classes}{names}")
    if len(classes) > limits.max_classes:
        raise InvalidSupportSet(f"the examples have {len(classes)} classes, at most {limits.max_classes} are allowed")


def chosen_base_model(task: TaskSnapshot, base_models: BaseModels) -> tuple[BaseModelCard, str]:
    """The task's base model, or the one that suits most of its images: drawings or photographs; and why, in words.

    Raises:
        BaseModelGone, UnknownBaseModel: it, or any, is not loaded.
    """
    try:
        if task.base_model is not None:
            return base_models.get(task.base_model), _BOUND
        return _suiting(task.looks_drawn, base_models)
    except BaseModelNotFound as error:
        raise (UnknownBaseModel if task.base_model is None else BaseModelGone)(error.message) from None


def _suiting(looks_drawn: Sequence[bool], base_models: BaseModels) -> tuple[BaseModelCard, str]:
    n_drawn, n_images = sum(looks_drawn), len(looks_drawn)
    most_drawn = 2 * n_drawn > n_images
    kind, n_such = ("drawings", n_drawn) if most_drawn else ("photographs", n_images - n_drawn)
    card = base_models.default_for(most_drawn)
    if len(base_models.candidates()) == 1:
        return card, "no base model for other images is loaded"
    return card, f"{n_such} of {n_images} images look like {kind}, which it is made for"


def candidates(base_model: str | None, base_models: BaseModels) -> tuple[BaseModelCard, ...]:
    """The base models that a task can turn out to use: the named one, or every default.

    Raises:
        UnknownBaseModel: there is none.
    """
    try:
        return base_models.candidates() if base_model is None else (base_models.get(base_model),)
    except BaseModelNotFound as error:
        raise UnknownBaseModel(error.message) from None


def cards_of(base_model: str | None, base_models: BaseModels) -> tuple[BaseModelCard, ...]:
    """The base models whose format the examples of a task must decode to."""
    try:
        return candidates(base_model, base_models)
    except UnknownBaseModel:
        return candidates(None, base_models)


def offered(card: BaseModelCard, learner: str) -> LearnerOffer:
    """The base model's offer of a learner.

    Raises:
        UnknownLearner: it does not offer it.
    """
    if learner not in card.header.learners:
        names = ", ".join(card.header.learners)
        raise UnknownLearner(f"base model {card.id!r} does not offer the learner {learner!r}; it offers: {names}")
    return card.header.learners[learner]


def check_learner(learner: str | None, cards: Sequence[BaseModelCard]) -> None:
    """Return if one of the base models offers the learner, or none is named.

    Raises:
        UnknownLearner: none does.
    """
    if learner is not None and not any(learner in card.header.learners for card in cards):
        offered(cards[0], learner)


def check_options(learner: str, offer: LearnerOffer, options: Mapping[str, Setting]) -> None:
    """Return if the learner has these options and they are in range.

    Raises:
        InvalidOption: it has not, or they are not.
    """
    for name, value in options.items():
        if name not in offer.settings:
            raise InvalidOption(f"the learner {learner!r} has no option {name!r}")
        if name == "steps" and not 0 <= float(value) <= MAX_STEPS:
            raise InvalidOption(f"steps is {value}, expected 0 to {MAX_STEPS}")
        if name == "lr" and not 0 < float(value) <= MAX_LR:
            raise InvalidOption(f"lr is {value}, expected more than 0 and at most {MAX_LR:g}")


def checked_prior(prior: Prior, limits: Limits) -> Prior:
    """The prior with its labels as they are stored.

    Raises:
        InvalidOption: it is no prior that can be.
    """
    if isinstance(prior, str):
        if prior not in PRIORS:
            raise InvalidOption(f"prior is {prior!r}, expected {', '.join(PRIORS)} or a weight for each label")
        return prior
    try:
        weights = {checked_label(label, limits): float(weight) for label, weight in prior.items()}
    except (InvalidRequest, TypeError, ValueError) as error:
        raise InvalidOption(f"the prior cannot be read: {error}") from None
    for label, weight in weights.items():
        if not (math.isfinite(weight) and weight > 0):
            raise InvalidOption(f"the prior of {label!r} is {weight}, expected a number above 0")
    return weights


def prior_of_classes(prior: Any, classes: Sequence[ClassCount]) -> tuple[float, ...] | None:  # noqa: ANN401  # JSON
    """The probability of each class before an image is seen; None weighs all equally.

    Raises:
        InvalidOption: the prior leaves out a class, or names another.
    """
    if prior == "balanced":
        return None
    if prior == "support":
        weights = [float(each.n_examples) for each in classes]
    else:
        labels = [each.label for each in classes]
        if set(prior) != set(labels):
            raise InvalidOption(
                f"the prior names {sorted(prior)}, but the classes are {sorted(labels)}; adapt with a prior of these"
            )
        weights = [float(prior[label]) for label in labels]
    return tuple(weight / sum(weights) for weight in weights)


def options_of(settings: Mapping[str, Any], offer: LearnerOffer) -> dict[str, Setting]:
    """What a version's settings replace in the offer."""
    return {name: value for name, value in settings.items() if name != _PRIOR and offer.settings.get(name) != value}


def prior_of(settings: Mapping[str, Any]) -> Any:  # noqa: ANN401  # JSON
    """The prior among a version's settings."""
    return settings[_PRIOR]
