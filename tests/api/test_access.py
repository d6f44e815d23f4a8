"""The key is asked for, and without one no web page of others gets in."""

import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import httpx
import pytest
from fastapi import FastAPI

from service.api.access import AccessGuard, AccessRules

KEY = "a-long-random-key"
Headers: TypeAlias = dict[str, str] | list[tuple[str, str]]


@asynccontextmanager
async def guarded(rules: AccessRules, base_url: str = "http://localhost:8000") -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()

    @app.get("/v1/tasks")
    @app.get("/livez")
    @app.get("/readyz")
    @app.get("/web/style.css")
    async def answer() -> str:
        return "in"

    app.add_middleware(AccessGuard, rules=rules)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base_url) as client:
        yield client


@pytest.mark.parametrize(
    "headers", [{"Authorization": f"Bearer {KEY}"}, {"authorization": f"bearer  {KEY}"}, {"X-API-Key": KEY}]
)
async def test_the_right_key_is_let_in_from_anywhere(headers: dict[str, str]) -> None:
    async with guarded(AccessRules(KEY), "http://classifier.example") as client:
        response = await client.get("/v1/tasks", headers=headers | {"Origin": "https://elsewhere.example"})
    assert response.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": "Bearer"},
        {"Authorization": f"Bearer {KEY}x"},
        {"X-API-Key": KEY[:-1]},
        {b"X-API-Key": b"\xff\xfe"},
    ],
)
async def test_no_key_or_a_wrong_one_is_told_which_header_to_send(headers: dict[str, str]) -> None:
    async with guarded(AccessRules(KEY)) as client:
        response = await client.get("/v1/tasks", headers=headers)
    assert (response.status_code, response.json()["type"]) == (401, "/problems/unauthorized")
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert KEY not in response.text


@pytest.mark.parametrize("offered", ["x", KEY[:-1] + "x", KEY])
async def test_the_key_is_compared_in_constant_time(offered: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare_digest(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return a == b

    monkeypatch.setattr(hmac, "compare_digest", compare_digest)
    async with guarded(AccessRules(KEY)) as client:
        await client.get("/v1/tasks", headers={"X-API-Key": offered})
    assert compared == [(offered.encode(), KEY.encode())]


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/web/style.css"])
async def test_probes_and_pages_need_no_key(path: str) -> None:
    async with guarded(AccessRules(KEY)) as client:
        assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST", "127.0.0.1"])
async def test_without_a_key_this_machine_is_served(host: str) -> None:
    async with guarded(AccessRules(None)) as client:
        assert (await client.get("/v1/tasks", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "rebound.example",
        "localhost.rebound.example",
        "192.168.1.4:8000",
        "",
        "[::2]",
        "localhost.",
        "localhost:80@rebound.example",
        "localhost:rebound.example",
        "[::1]rebound.example",
        "[::1].rebound.example:80",
        "rebound.example#localhost",
    ],
)
async def test_without_a_key_another_name_of_this_machine_is_refused(host: str) -> None:
    async with guarded(AccessRules(None)) as client:
        response = await client.get("/v1/tasks", headers={"Host": host})
    assert (response.status_code, response.json()["type"]) == (403, "/problems/forbidden")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "null"},
        {"Origin": "http://[::1"},
        {"Sec-Fetch-Site": "cross-site"},
        [("Origin", "http://localhost:8000"), ("Origin", "https://evil.example")],
        [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "cross-site")],
    ],
)
async def test_without_a_key_the_web_pages_of_others_are_refused(headers: Headers) -> None:
    async with guarded(AccessRules(None)) as client:
        assert (await client.get("/v1/tasks", headers=headers)).status_code == 403


async def test_our_own_pages_may_call() -> None:
    headers = {"Origin": "http://localhost:8000", "Sec-Fetch-Site": "same-origin"}
    async with guarded(AccessRules(None)) as client:
        assert (await client.get("/v1/tasks", headers=headers)).status_code == 200


async def test_open_to_everybody_any_name_is_served_and_foreign_pages_are_not() -> None:
    async with guarded(AccessRules(None, loopback_only=False), "http://box.lan") as client:
        assert (await client.get("/v1/tasks")).status_code == 200
        assert (await client.get("/v1/tasks", headers={"Origin": "https://evil.example"})).status_code == 403


async def test_a_named_page_may_call_and_read_the_answer() -> None:
    headers = {"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"}
    async with guarded(AccessRules(None, ("https://app.example",))) as client:
        response = await client.get("/v1/tasks", headers=headers)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "https://app.example"
    assert response.headers["vary"] == "Origin"


async def test_a_named_page_can_read_a_refusal_too() -> None:
    async with guarded(AccessRules(KEY, ("https://app.example",))) as client:
        response = await client.get("/v1/tasks", headers={"Origin": "https://app.example"})
    assert response.status_code == 401
    assert response.headers["access-control-allow-origin"] == "https://app.example"


async def test_a_browser_that_asks_beforehand_needs_no_key() -> None:
    headers = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    async with guarded(AccessRules(KEY, ("https://app.example",))) as client:
        response = await client.options("/v1/tasks", headers=headers)
        refused = await client.options("/v1/tasks", headers=headers | {"Origin": "https://evil.example"})
    assert response.status_code == 204
    assert response.headers["access-control-allow-headers"] == "authorization,content-type"
    assert refused.status_code == 401
    assert "access-control-allow-origin" not in refused.headers
