"""How the service is: limits, liveness, readiness, metrics."""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Response
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from service.api.deps import Services, ServicesDep
from service.api.openapi import open_problems, problems
from service.api.problems import NotReady
from service.api.service_schemas import Health, LimitsAnswer
from service.engine.base import EngineStats
from service.errors import BadItem, Draining, EngineNotReady, ServiceError
from service.telemetry import METRICS_MEDIA_TYPE

_log = logging.getLogger("handful.api")
_PLAIN_TEXT: dict[str, Any] = {"schema": {"type": "string"}}

router = APIRouter(tags=["service"])


@router.get("/v1/limits", response_model=LimitsAnswer, summary="How much a request may ask for", responses=problems())
async def get_limits(services: ServicesDep) -> LimitsAnswer:
    """The limits of this service, so that a client can stay below them."""
    return LimitsAnswer(**asdict(services.limits), deadline_s=services.deadline_s)


@router.get("/livez", response_model=Health, summary="Whether the process answers", responses=open_problems())
async def livez() -> Health:
    """Always 200 while the process can answer at all."""
    return Health(status="live")


@router.get(
    "/readyz", response_model=Health, summary="Whether the service can do its work", responses=open_problems(NotReady)
)
async def readyz(services: ServicesDep) -> Health:
    """200 once the worker is warm and the database has the right schema; else 503, which names the part."""
    items = [item async for item in _unready(services)]
    if items:
        raise NotReady(items[0].detail, tuple(items))
    return Health(status="ready")


@router.get(
    "/metrics",
    response_class=Response,
    summary="Metrics for Prometheus",
    responses={200: {"description": "Prometheus's text format", "content": {"text/plain": _PLAIN_TEXT}}, **problems()},
)
async def metrics(services: ServicesDep) -> Response:
    """Requests, latencies, and what the engine does."""
    return Response(services.metrics.render(), headers={"Content-Type": METRICS_MEDIA_TYPE})


class EngineCollector(Collector):
    """The engine's figures, read when Prometheus asks."""

    def __init__(self, stats: Callable[[], EngineStats]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        """Each figure as a metric."""
        stats = self._stats()
        yield _device(stats.device)
        yield _batches(stats.batches, stats.batch_rows)
        for name, text, value in (
            ("engine_ready", "1 if the worker is warm.", stats.state == "ready"),
            ("base_models", "Base models loaded.", len(stats.base_models)),
            ("queue_items", "Adaptations, and images to predict, that wait for the worker or run.", stats.queue_items),
            ("cache_bytes", "Task models in the worker's memory.", stats.cache_bytes),
            ("cache_items", "Task models in the worker's memory.", stats.cache_items),
        ):
            yield GaugeMetricFamily(f"handful_{name}", text, value=value)
        for name, text, value in (
            ("worker_restarts", "Times the worker was started again.", stats.worker_restarts),
            ("cache_hits", "Predictions whose task model was in memory.", stats.cache_hits),
            ("cache_misses", "Predictions whose task model was read from disk.", stats.cache_misses),
            ("adaptations", "Adaptations finished.", stats.adaptations),
        ):
            yield CounterMetricFamily(f"handful_{name}", text, value=value)


def _device(name: str) -> Metric:
    """`cuda: NVIDIA H100` as two labels, so that a rule can ask for the first."""
    kind, _, detail = name.partition(":")
    metric = GaugeMetricFamily(
        "handful_device", "1, with the device that networks run on.", labels=("device", "detail")
    )
    metric.add_metric((kind or "unknown", detail.strip()), 1)
    return metric


def _batches(count: int, rows: int) -> Metric:
    text = "Images that were predicted together: _count is the number of batches, _sum that of their images."
    return SummaryMetricFamily("handful_batch_rows", text, count_value=count, sum_value=rows)


async def _unready(services: Services) -> AsyncIterator[BadItem]:
    lifecycle = services.lifecycle
    if lifecycle.is_draining:
        yield BadItem("/process", Draining.problem_type(), "the service is ending")
    if lifecycle.failure is not None:
        yield BadItem("/engine", lifecycle.failure.problem_type(), lifecycle.failure.message)
    elif (state := services.engine_stats().state) != "ready":
        yield BadItem("/engine", EngineNotReady.problem_type(), f"the worker is {state}")
    try:
        await services.check_database()
    except ServiceError as error:
        yield BadItem("/database", error.problem_type(), error.message)
    except Exception as error:  # noqa: BLE001  # whatever the driver says, the answer is "not ready"
        _log.warning("the database does not answer: %s", error)
        yield BadItem("/database", "no-answer", "the database does not answer")
