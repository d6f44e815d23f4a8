"""How the service is: limits, liveness, readiness, metrics."""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Response
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.api.deps import Services, ServicesDep
from service.api.openapi import problems
from service.api.problems import NotReady
from service.api.schemas import Health, LimitsAnswer
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


@router.get("/livez", response_model=Health, summary="Whether the process answers")
async def livez() -> Health:
    """Always 200 while the process can answer at all."""
    return Health(status="live")


@router.get(
    "/readyz", response_model=Health, summary="Whether the service can do its work", responses=problems(NotReady)
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
        device = GaugeMetricFamily("handful_device", "1, with the device that networks run on.", labels=("device",))
        device.add_metric((stats.device or "unknown",), 1)
        yield device
        yield GaugeMetricFamily("handful_engine_ready", "1 if the worker is warm.", value=stats.state == "ready")
        yield GaugeMetricFamily("handful_base_models", "Base models loaded.", value=len(stats.base_models))
        yield GaugeMetricFamily("handful_queue_items", "Requests that wait for the worker.", value=stats.queue_items)
        yield GaugeMetricFamily("handful_cache_bytes", "Task models in the worker's memory.", value=stats.cache_bytes)
        yield GaugeMetricFamily("handful_cache_items", "Task models in the worker's memory.", value=stats.cache_items)
        for name, text, value in (
            ("worker_restarts", "Times the worker was started again.", stats.worker_restarts),
            ("cache_hits", "Predictions whose task model was in memory.", stats.cache_hits),
            ("cache_misses", "Predictions whose task model was read from disk.", stats.cache_misses),
            ("batches", "Batches of predictions.", stats.batches),
            ("batch_rows", "Images in batches of predictions.", stats.batch_rows),
            ("adaptations", "Adaptations finished.", stats.adaptations),
        ):
            yield CounterMetricFamily(f"handful_{name}", text, value=value)


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
