"""The Python client: httpx and the error tree, nothing else; it needs no torch.

    from service.client import Client

    with Client("http://127.0.0.1:8000") as client:
        task = client.create_task("mugs", {"whole": ["a.jpg", "b.jpg"], "chipped": ["c.jpg"]})
        print(client.predict(task, "d.jpg").label)

What the service refuses arrives as the exceptions of `service.errors`.
"""

from service.client.answers import (
    BaseModelCard,
    Example,
    LearnerOffer,
    Limits,
    NearestExample,
    Prediction,
    Problem,
    Score,
    Suggestion,
    Task,
    TaskClass,
    Version,
)
from service.client.client import Client
from service.client.connection import ServiceUnreachable
from service.client.evaluations import ClassEvaluation, Evaluation, ThresholdEvaluation
from service.client.exports import ExportedFile, ExportFormat
from service.client.finding import TaskRef
from service.client.suggestions import PoolProgress
from service.client.uploads import Image, ImageSource, LabelledImage, LabelledImages, Prior, TaskChanges, TaskOptions
from service.client.watching import Progress

__all__ = [
    "BaseModelCard",
    "ClassEvaluation",
    "Client",
    "Evaluation",
    "Example",
    "ExportFormat",
    "ExportedFile",
    "Image",
    "ImageSource",
    "LabelledImage",
    "LabelledImages",
    "LearnerOffer",
    "Limits",
    "NearestExample",
    "PoolProgress",
    "Prediction",
    "Prior",
    "Problem",
    "Progress",
    "Score",
    "ServiceUnreachable",
    "Suggestion",
    "Task",
    "TaskChanges",
    "TaskClass",
    "TaskOptions",
    "TaskRef",
    "ThresholdEvaluation",
    "Version",
]
