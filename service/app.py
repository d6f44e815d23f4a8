"""The composition root: the one place that chooses implementations and puts everything together from Settings."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from fastapi import APIRouter, Depends, FastAPI

from service.api import (
    base_models,
    classes,
    evaluations,
    events,
    examples,
    exports,
    feedback,
    health,
    life,
    pages,
    predictions,
    problem_types,
    suggestions,
    tasks,
    versions,
)
from service.api.access import AccessGuard, AccessRules
from service.api.deps import Lifecycle, Services
from service.api.draining import DrainingServer, server_config
from service.api.middleware import BodyLimit, RequestContext
from service.api.openapi import install_openapi
from service.api.problems import install_handlers
from service.api.queries import known_query
from service.api.schemas import MAX_WAIT_S
from service.artifacts import FileArtifacts
from service.engine.base import Engine
from service.engine.exporting import Exporter
from service.engine.process import ProcessEngine
from service.errors import SetupError
from service.persistence.database import Database
from service.persistence.migrate import check_schema
from service.preparation import database_url, ending_at_once, exclusive, prepare_database
from service.settings import Settings, strange_variables
from service.telemetry import Metrics, configure_logging
from service.usecases.base_models import SHIPPED, BaseModels
from service.usecases.classes import TaskClasses
from service.usecases.decoding import Decoder
from service.usecases.evaluation import Evaluations
from service.usecases.exports import Exports
from service.usecases.feedback import Feedback
from service.usecases.life import TaskLife
from service.usecases.nearest import NearestExamples
from service.usecases.predictions import Predictions
from service.usecases.progress import Progress
from service.usecases.retries import Retries
from service.usecases.serving import ServingVersions
from service.usecases.suggestions import Suggestions
from service.usecases.tasks import Tasks

ROUTERS: Final[tuple[APIRouter, ...]] = (
    tasks.router,
    examples.router,
    versions.router,
    predictions.router,
    evaluations.router,
    life.router,
    classes.router,
    feedback.router,
    exports.router,
    events.router,
    suggestions.router,
    base_models.router,
    health.router,
    problem_types.router,
    pages.router,
)
_GRACE_MARGIN_S: Final = 10.0

_log = logging.getLogger("handful")


@dataclass(frozen=True, slots=True)
class _Parts:
    """What lives as long as the app."""

    database: Database
    engine: Engine
    decoder: Decoder
    services: Services


def serve(settings: Settings) -> None:
    """Run the service until it is told to end; blocks.

    Raises:
        SetupError: it cannot run like this; the message is one sentence for the person who started it.
    """
    configure_logging(settings.log_format)
    for sentence in strange_variables():
        _log.warning(sentence)
    settings.check_access()
    with exclusive(settings):
        with ending_at_once():
            prepare_database(settings)
        servers: list[DrainingServer] = []
        app = build_app(settings, on_failure=lambda: setattr(servers[0], "should_exit", True))
        lifecycle: Lifecycle = app.state.services.lifecycle
        grace_s = max(settings.deadline_s, MAX_WAIT_S) + _GRACE_MARGIN_S
        config = server_config(app, host=settings.host, port=settings.port, grace_s=grace_s)
        servers.append(DrainingServer(config, lifecycle=lifecycle, drain_s=settings.drain_s))
        _run(servers[0], settings)
        if lifecycle.failure is not None:
            raise lifecycle.failure


def _run(server: DrainingServer, settings: Settings) -> None:
    try:
        server.run()
    except SystemExit:  # uvicorn's way to say that it cannot listen; it has logged why
        raise SetupError(
            f"cannot listen on {settings.host} port {settings.port}: it is in use, or not of this machine"
        ) from None


def build_app(
    settings: Settings, *, engine: Engine | None = None, on_failure: Callable[[], None] = lambda: None
) -> FastAPI:
    """The whole service as an ASGI application on a database that is prepared.

    Args:
        settings: everything that was told.
        engine: another engine than the worker process.
        on_failure: called once if the engine cannot be started; `services.lifecycle.failure` says why.
    """
    parts = _build_parts(settings, engine)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        # Before anything is taken in: both end what an earlier process on an SQLite file left running.
        with _failure_told(parts, on_failure):
            await parts.services.retries.start()
            await parts.services.tasks.start()
        starting = asyncio.create_task(_start_engine(parts, on_failure))
        try:
            yield
        finally:
            await _stop(parts, starting)

    app = FastAPI(
        title="Handful",
        version=version("handful"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.services = parts.services
    for router in ROUTERS:
        app.include_router(router, dependencies=[Depends(known_query)])
    install_handlers(app, [route for router in ROUTERS for route in router.routes] + app.routes)
    install_openapi(app)
    _surround(app, settings, parts.services)
    return app


def _build_parts(settings: Settings, engine: Engine | None) -> _Parts:
    artifacts_root = settings.data_dir / "artifacts"
    folders = [SHIPPED, *([settings.base_models_dir] if settings.base_models_dir else [])]
    models = BaseModels(folders)
    limits = settings.limits()
    database = Database(database_url(settings))
    artifacts = FileArtifacts(artifacts_root)
    if engine is None:
        engine = ProcessEngine(
            base_model_files=models.files(),
            artifacts_root=artifacts_root,
            device=settings.device,
            cache_bytes=settings.cache_bytes,
            queue_items=settings.queue_items,
            log_format=settings.log_format,
        )
    decoder = Decoder(limits)
    serving = ServingVersions(database)
    predictions = Predictions(engine, models, decoder, serving, NearestExamples(database, engine))
    task_cases = Tasks(database, engine, artifacts, models, decoder, serving, lease_s=settings.lease_s)
    lifecycle = Lifecycle()
    metrics = Metrics()
    metrics.registry.register(health.EngineCollector(engine.stats))
    services = Services(
        tasks=task_cases,
        retries=Retries(database, lease_s=settings.lease_s),
        predictions=predictions,
        exports=Exports(database, artifacts, models, serving, Exporter(artifacts_root)),
        evaluations=Evaluations(database, predictions, serving, limits),
        life=TaskLife(database, models, limits, serving),
        classes=TaskClasses(database, limits),
        feedback=Feedback(
            database, engine, models, limits, intake=task_cases.intake, adaptations=task_cases.adaptations
        ),
        base_models=models,
        limits=limits,
        deadline_s=settings.deadline_s,
        metrics=metrics,
        engine_stats=engine.stats,
        check_database=lambda: check_schema(database),
        suggestions=Suggestions(database, engine, models, decoder, serving),
        progress=Progress(database, is_ending=lambda: lifecycle.is_draining),
        lifecycle=lifecycle,
    )
    return _Parts(database, engine, decoder, services)


def _surround(app: FastAPI, settings: Settings, services: Services) -> None:
    """Put the middleware around the routes; what is added last is outermost."""
    lifecycle = services.lifecycle
    rules = AccessRules(
        api_key=settings.api_key.get_secret_value() if settings.api_key else None,
        cors_origins=settings.cors_origins,
        loopback_only=not settings.allow_open,
    )
    app.add_middleware(BodyLimit, max_bytes=settings.max_request_bytes)
    app.add_middleware(AccessGuard, rules=rules)
    app.add_middleware(RequestContext, metrics=services.metrics, is_draining=lambda: lifecycle.is_draining)


async def _start_engine(parts: _Parts, on_failure: Callable[[], None]) -> None:
    """Warm the engine up while the listener already answers; what needs the engine waits for it."""
    with _failure_told(parts, on_failure):
        await parts.engine.start()
        stats = parts.engine.stats()
        _log.info("ready: device %s, %d base models", stats.device, len(stats.base_models))


@contextmanager
def _failure_told(parts: _Parts, on_failure: Callable[[], None]) -> Iterator[None]:
    """Keep and tell what goes wrong inside the block."""
    try:
        yield
    except SetupError as error:
        parts.services.lifecycle.failure = error
    except Exception as error:  # noqa: BLE001  # nobody awaits this task: what is not kept here is lost
        _log.exception("the service cannot start")
        parts.services.lifecycle.failure = SetupError(f"the service cannot start: {error}")
    else:
        return
    on_failure()


async def _stop(parts: _Parts, starting: asyncio.Task[None]) -> None:
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await parts.services.tasks.stop()
    await parts.engine.stop()
    parts.decoder.close()
    await parts.database.close()
