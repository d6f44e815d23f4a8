"""Base models, limits, health, metrics and the pages."""

import re

import httpx
import pytest

from tests.api.toy_service import create, png


def test_base_models_have_cards(client: httpx.Client) -> None:
    items = client.get("/v1/base-models").json()["items"]
    card = next(item for item in items if item["id"] == "toy")
    assert re.fullmatch("[0-9a-f]{64}", card["digest"])
    assert card["input"] == {"side_px": 8, "channels": 1, "fit": "pad", "resampling": "bilinear", "ink": False}
    assert [offer["name"] for offer in card["learners"]] == ["ridge", "protonet", "anil", "maml"]
    assert (card["default_learner"], card["backbone"], card["figures"]) == ("ridge", "tiny", [])
    assert client.get("/v1/base-models/toy").json() == card


@pytest.mark.parametrize("name", ["nothing", "..%2f..%2fetc%2fpasswd", "x" * 5000])
def test_a_base_model_that_is_not_there_is_not_found(client: httpx.Client, name: str) -> None:
    response = client.get(f"/v1/base-models/{name}")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


def test_the_limits_are_told(client: httpx.Client) -> None:
    limits = client.get("/v1/limits").json()
    assert limits["prediction_images"] == 64
    assert limits["support_images"] == 1000
    assert limits["file_bytes"] == 32 * 2**20
    assert limits["decoded_bytes"] == 512 * 2**20
    assert (limits["wait_s"], limits["deadline_s"]) == (60, 30)


def test_a_service_that_is_warm_is_live_and_ready(client: httpx.Client) -> None:
    assert client.get("/livez").json() == {"status": "live"}
    assert client.get("/readyz").json() == {"status": "ready"}


METRICS = {
    "handful_requests_total": "counter",
    "handful_request_seconds": "histogram",
    "handful_predicted_images_total": "counter",
    "handful_device": "gauge",
    "handful_engine_ready": "gauge",
    "handful_base_models": "gauge",
    "handful_queue_items": "gauge",
    "handful_batch_rows": "summary",
    "handful_cache_bytes": "gauge",
    "handful_cache_items": "gauge",
    "handful_cache_hits_total": "counter",
    "handful_cache_misses_total": "counter",
    "handful_adaptations_total": "counter",
    "handful_worker_restarts_total": "counter",
    "process_resident_memory_bytes": "gauge",
    "process_open_fds": "gauge",
}


def test_metrics_have_types_and_units_as_prometheus_names_them(client: httpx.Client) -> None:
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", response.text, re.MULTILINE))
    assert {name: types.get(name) for name in METRICS} == METRICS


def test_metrics_count_requests_images_and_what_the_engine_does(client: httpx.Client) -> None:
    before = metrics(client)
    task = create(client)
    client.post(f"/v1/tasks/{task['id']}/predict", content=png(0))
    after = metrics(client)
    route = 'method="POST",route="/v1/tasks/{task}/predict"'
    counted = [
        f'handful_requests_total{{{route},status="200"}}',
        f"handful_request_seconds_count{{{route}}}",
        "handful_predicted_images_total",
        "handful_adaptations_total",
        "handful_batch_rows_count",
        "handful_batch_rows_sum",
        "handful_cache_hits_total",
    ]
    assert {name: after[name] - before.get(name, 0) for name in counted} == dict.fromkeys(counted, 1)
    assert after["handful_cache_bytes"] > 0
    assert (after["handful_engine_ready"], after["handful_worker_restarts_total"]) == (1, 0)
    assert after['handful_device{detail="1 threads",device="cpu"}'] == 1
    assert [name for name in after if task["id"] in name] == []


def metrics(client: httpx.Client) -> dict[str, float]:
    lines = [line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def test_the_pages_bring_all_they_need(client: httpx.Client) -> None:
    for page in ("/", "/docs"):
        response = client.get(page)
        assert response.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert "//" not in response.text.replace("https://", "")
        for address in re.findall(r'(?:href|src)="([^"]+)"', response.text):
            assert client.get(address).status_code == 200
    assert 'href="/docs"' in client.get("/").text


def test_swagger_ui_is_served_from_here(client: httpx.Client) -> None:
    response = client.get("/web/swagger-ui-bundle.js")
    assert response.headers["content-type"].startswith("text/javascript")
    assert len(response.content) > 500_000


@pytest.mark.parametrize("name", ["nothing.js", "..%2fapp.py", "%2e%2e/settings.py", "index.html"])
def test_only_listed_files_are_served(client: httpx.Client, name: str) -> None:
    assert client.get(f"/web/{name}").status_code == 404
