"""Predictions: one image as the raw body, many in as few requests as the limits allow."""

from collections.abc import Mapping, Sequence
from typing import Any

from service.client.answers import Limits, Prediction, prediction_from_json
from service.client.connection import Connection
from service.client.uploads import ImageSource, batches, file_parts


def predict_one(connection: Connection, path: str, source: ImageSource, params: Mapping[str, Any]) -> Prediction:
    """The answer for one image."""
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(source.size_bytes)}
    answer = connection.send("POST", path, params=params, content=source.stream(), headers=headers).json()
    (prediction,) = _predictions(answer, [source])
    return prediction


def predict_many(
    connection: Connection, path: str, sources: Sequence[ImageSource], params: Mapping[str, Any], limits: Limits
) -> list[Prediction]:
    """The answers for many images, in order; the version that answers the first request answers all."""
    predictions: list[Prediction] = []
    sizes = [source.size_bytes for source in sources]
    for part in batches(sizes, max_images=limits.prediction_images, max_bytes=limits.request_bytes):
        sent = sources[part]
        answer = connection.send("POST", path, params=params, files=file_parts(sent), wait_s=len(sent)).json()
        params = {**params, "version": answer["version"]}
        predictions += _predictions(answer, sent)
    return predictions


def _predictions(answer: dict[str, Any], sources: Sequence[ImageSource]) -> list[Prediction]:
    return [
        prediction_from_json(raw, version=answer.get("version"), filename=source.name)
        for raw, source in zip(answer["predictions"], sources, strict=True)
    ]
