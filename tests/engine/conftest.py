"""Fixtures of the engine's tests: a tiny base model, and both engines on it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from service.engine.base import AdaptRequest, AdaptResult, Engine
from service.engine.inline import InlineEngine
from service.engine.process import ProcessEngine
from tests.engine.toy_tasks import save_toy_base_model

ENGINES: dict[str, type[InlineEngine] | type[ProcessEngine]] = {"inline": InlineEngine, "process": ProcessEngine}


@dataclass(frozen=True)
class ToyModel:
    """A base model file."""

    path: Path
    digest: str


@dataclass(frozen=True)
class Bench:
    """A running engine and its base models."""

    engine: Engine
    base_model: str
    mirrored: str
    artifacts: Path

    async def adapt(self, request: AdaptRequest) -> AdaptResult:
        with self.engine.reserve():
            return await self.engine.adapt(request)


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> ToyModel:
    path = tmp_path_factory.mktemp("base-models") / "toy.safetensors"
    return ToyModel(path, save_toy_base_model(path))


@pytest.fixture(scope="session")
def mirrored_toy(tmp_path_factory: pytest.TempPathFactory) -> ToyModel:
    path = tmp_path_factory.mktemp("base-models") / "mirrored.safetensors"
    return ToyModel(path, save_toy_base_model(path, mirrored=True, seed=1))


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=list(ENGINES))
async def bench(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, toy: ToyModel, mirrored_toy: ToyModel
) -> AsyncIterator[Bench]:
    artifacts = tmp_path_factory.mktemp("artifacts")
    engine = ENGINES[request.param](
        base_model_files=[toy.path, mirrored_toy.path],
        artifacts_root=artifacts,
        device="cpu",
        cache_bytes=4096,
        queue_items=128,
        threads=1,
    )
    await engine.start()
    yield Bench(engine, toy.digest, mirrored_toy.digest, artifacts)
    await engine.stop()
