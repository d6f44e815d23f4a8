"""An adaptation's report in the client's words: labels, ids of examples, and a sentence for each warning."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

_SENTENCES: Mapping[str, str] = {
    "single-image": "{labels} {has} one image only: what a class looks like needs two or more, and nothing can be "
    "held out to check it",
    "duplicates-across-classes": "the same image, or all but the same, is an example of {labels}",
    "nearest-to-another-class": "{n} of the examples of {labels} would be answered as another class; look whether "
    "they are labelled as they should be",
    "confusable-classes": "the model can hardly tell {labels} apart; more examples of both may help",
}


def named_report(report: Mapping[str, Any], labels: Sequence[str], example_ids: Sequence[UUID]) -> dict[str, Any]:
    """The engine's report with names in the place of numbers.

    Args:
        report: as the engine gave it; what it does not say stays out.
        labels: of the classes, in the order of their numbers.
        example_ids: of the support examples, in the order in which the engine got them.
    """
    named = dict(report)
    if "classes" in report:
        named["classes"] = [{**each, "label": labels[each["label"]]} for each in report["classes"]]
        class_of = [index for index, each in enumerate(report["classes"]) for _ in range(each["n_examples"])]
        named["suspects"] = [_suspect(each, labels, example_ids, class_of) for each in report["suspects"]]
        named["warnings"] = [_warning(each, labels, example_ids) for each in report["warnings"]]
    if "unbalanced" in report:
        named["unbalanced"] = {**report["unbalanced"], "label": labels[report["unbalanced"]["label"]]}
    return named


def _suspect(
    suspect: Mapping[str, Any], labels: Sequence[str], example_ids: Sequence[UUID], class_of: Sequence[int]
) -> dict[str, Any]:
    place = suspect["example_id"]
    return {
        "example_id": str(example_ids[place]),
        "label": labels[class_of[place]],
        "nearest_label": labels[suspect["nearest_label"]],
        "reason": suspect["reason"],
    }


def _warning(warning: Mapping[str, Any], labels: Sequence[str], example_ids: Sequence[UUID]) -> dict[str, Any]:
    concerned = [labels[index] for index in warning["labels"]]
    examples = [str(example_ids[place]) for place in warning["example_ids"]]
    has = "has" if len(concerned) == 1 else "have"
    detail = _SENTENCES[warning["code"]].format(labels=_listed(concerned), has=has, n=len(examples))
    return {"code": warning["code"], "detail": detail, "labels": concerned, "example_ids": examples}


def _listed(labels: Sequence[str]) -> str:
    quoted = [repr(label) for label in labels]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"
