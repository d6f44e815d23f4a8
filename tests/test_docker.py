"""The files of the containers fit the code: settings, dependencies, what the image copies, who may be let in."""

import re
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

# PyYAML brings no types
import yaml  # type: ignore[import-untyped]
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from service.api.schemas import MAX_WAIT_S
from service.settings import PREFIX, load_settings, rows

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text(encoding="utf-8")
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
CONSTRAINTS = (ROOT / "docker/constraints.txt").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
GPU: dict[str, Any] = yaml.safe_load((ROOT / "docker/compose.gpu.yml").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
OF_CUDA = ("cuda-*", "nvidia-*", "triton")
SERVICES = ["migrate", "handful"]


def pins() -> dict[str, Version]:
    """The versions that the image installs, by name."""
    lines = [line for line in CONSTRAINTS.splitlines() if line and not line.startswith("#")]
    return {name: Version(version) for name, _, version in (line.partition("==") for line in lines)}


def requirements(texts: list[str]) -> Iterator[Requirement]:
    """Those that count on this machine without an extra."""
    parsed = [Requirement(text) for text in texts]
    return (item for item in parsed if item.marker is None or item.marker.evaluate({"extra": ""}))


def needed(requirement: Requirement, seen: dict[str, Requirement]) -> None:
    """Put a requirement and all that its installed distribution needs into `seen`, but for the libraries of CUDA."""
    name = canonicalize_name(requirement.name)
    if any(fnmatch(name, pattern) for pattern in OF_CUDA):
        return
    extras = {canonicalize_name(extra) for extra in requirement.extras}
    key = f"{name}[{','.join(sorted(extras))}]"
    if key in seen:
        return
    seen[key] = requirement
    for text in distribution(name).requires or ():
        item = Requirement(text)
        if item.marker is None or any(item.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
            needed(item, seen)


def test_every_runtime_dependency_is_pinned_to_a_version_that_it_allows() -> None:
    wanted = list(requirements(PROJECT["project"]["dependencies"]))
    found = pins()
    assert [str(item) for item in wanted if not item.specifier.contains(found[canonicalize_name(item.name)])] == []


def test_what_the_dependencies_need_is_pinned_too() -> None:
    seen: dict[str, Requirement] = {}
    for item in requirements(PROJECT["project"]["dependencies"]):
        needed(item, seen)
    assert {canonicalize_name(item.name) for item in seen.values()} - set(pins()) == set()


def test_the_pins_serve_wheels_for_the_cpu_and_for_cuda() -> None:
    found = pins()
    assert Requirement(f"torch=={found['torch']}").specifier.contains(f"{found['torch']}+cpu")
    assert [name for name, version in found.items() if version.local] == []
    assert [name for name in found for pattern in OF_CUDA if fnmatch(name, pattern)] == []


def test_the_pins_name_no_place_to_take_them_from() -> None:
    assert re.findall(r"://|^-|@|file:", CONSTRAINTS, re.MULTILINE) == []


def test_the_image_copies_what_the_wheel_is_made_of() -> None:
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    project = PROJECT["project"]
    parts = {
        "pyproject.toml",
        project["readme"],
        *project["license-files"],
        *wheel["packages"],
        *wheel["force-include"],
    }
    copied = {word for line in re.findall(r"^COPY (?!--)(.+)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]}
    assert parts - copied == set()


def test_what_the_image_copies_is_sent_to_the_builder_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = {word for line in re.findall(r"^COPY (?!--)(.+)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]}
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == copied


def test_the_image_runs_as_nobody_in_particular_and_tells_its_health() -> None:
    final = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    assert re.search(r"^USER handful$", final, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK .*\\\n.*/readyz", final, re.MULTILINE)
    assert final.index("USER handful") < final.index("ENTRYPOINT")


def test_every_variable_of_the_container_files_is_a_setting() -> None:
    known = {row.variable for row in rows()}
    named = set(re.findall(rf"{PREFIX}[A-Z_]+", DOCKERFILE + COMPOSE_TEXT + yaml.safe_dump(GPU)))
    assert named - known == set()


def test_compose_passes_every_setting_on_but_those_that_the_image_fixes() -> None:
    fixed = {"HANDFUL_HOST", "HANDFUL_PORT", "HANDFUL_DATA_DIR", "HANDFUL_ALLOW_OPEN"}
    passed = {name for name in COMPOSE["services"]["handful"]["environment"] if name.startswith(PREFIX)}
    assert passed == {row.variable for row in rows()} - fixed


def test_what_compose_passes_on_when_nothing_is_set_is_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    defaults = load_settings()
    environment = COMPOSE["services"]["handful"]["environment"]
    unset = {name: re.sub(r"\$\{\w+:-(.*?)\}", r"\1", value) for name, value in environment.items() if ":-" in value}
    for name, value in unset.items():
        monkeypatch.setenv(name, value)
    assert load_settings(log_format="text") == defaults


@pytest.mark.parametrize("variable", ["HANDFUL_API_KEY", "POSTGRES_PASSWORD"])
def test_compose_demands_a_secret_wherever_it_names_it(variable: str) -> None:
    uses = re.findall(rf"\$\{{{variable}([^}}]*)\}}", COMPOSE_TEXT)
    assert uses
    assert [use for use in uses if not use.startswith(":?")] == []


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_of_handful_can_write_its_data_only(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["volumes"] == ["data:/data"]


def test_only_handful_is_published_and_on_this_machine_unless_told() -> None:
    published = {name: service["ports"] for name, service in COMPOSE["services"].items() if "ports" in service}
    assert published == {"handful": ["${PUBLISH:-127.0.0.1:8000}:8000"]}


def test_handful_starts_after_the_migration_which_runs_until_it_is_done() -> None:
    services = COMPOSE["services"]
    assert services["migrate"]["command"] == ["migrate"]
    assert services["migrate"]["restart"] == "on-failure"
    assert services["handful"]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_what_must_survive_lies_on_named_volumes() -> None:
    mounted = {volume.partition(":")[0] for service in COMPOSE["services"].values() for volume in service["volumes"]}
    assert mounted == set(COMPOSE["volumes"]) == {"data", "database"}


def test_the_grace_period_covers_the_drain_and_the_longest_request() -> None:
    grace_s = int(COMPOSE["services"]["handful"]["stop_grace_period"].removesuffix("s"))
    defaults = load_settings()
    assert grace_s >= defaults.drain_s + max(defaults.deadline_s, MAX_WAIT_S) + 10


def test_a_card_is_reserved_in_the_override_only() -> None:
    assert [name for name, service in COMPOSE["services"].items() if "deploy" in service] == []
    (device,) = GPU["services"]["handful"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert GPU["services"]["handful"]["environment"] == {"HANDFUL_DEVICE": "cuda"}
