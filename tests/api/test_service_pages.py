"""Base models, limits, health, metrics, the documentation and the page."""

import re
from typing import Any

import httpx
import pytest

from tests.api.toy_service import create, png

OPERATIONS = {
    ("get", "/v1/base-models"),
    ("get", "/v1/base-models/{base_model}"),
    ("post", "/v1/tasks"),
    ("get", "/v1/tasks"),
    ("get", "/v1/tasks/{task}"),
    ("delete", "/v1/tasks/{task}"),
    ("post", "/v1/tasks/{task}/examples"),
    ("get", "/v1/tasks/{task}/examples"),
    ("get", "/v1/tasks/{task}/examples/{example}"),
    ("delete", "/v1/tasks/{task}/examples/{example}"),
    ("post", "/v1/tasks/{task}/adapt"),
    ("get", "/v1/tasks/{task}/versions"),
    ("get", "/v1/tasks/{task}/versions/{number}"),
    ("post", "/v1/tasks/{task}/predict"),
    ("get", "/v1/limits"),
    ("get", "/livez"),
    ("get", "/readyz"),
    ("get", "/metrics"),
    ("get", "/problems/{name}"),
}


@pytest.fixture(scope="module")
def document(client: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method, path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_base_models_have_cards(client: httpx.Client) -> None:
    items = client.get("/v1/base-models").json()["items"]
    card = next(item for item in items if item["id"] == "toy")
    assert re.fullmatch("[0-9a-f]{64}", card["digest"])
    assert card["input"] == {"side_px": 8, "channels": 1, "fit": "pad", "resampling": "bilinear"}
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
    assert (limits["wait_s"], limits["deadline_s"]) == (60, 30)


def test_a_service_that_is_warm_is_live_and_ready(client: httpx.Client) -> None:
    assert client.get("/livez").json() == {"status": "live"}
    assert client.get("/readyz").json() == {"status": "ready"}


def test_metrics_count_requests_images_and_what_the_engine_does(client: httpx.Client) -> None:
    task = create(client)
    client.post(f"/v1/tasks/{task['id']}/predict", content=png(0))
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    values = dict(line.rsplit(" ", 1) for line in response.text.splitlines() if not line.startswith("#"))
    assert float(values['handful_requests_total{method="POST",route="/v1/tasks/{task}/predict",status="200"}']) >= 1
    assert float(values["handful_predicted_images_total"]) >= 1
    assert float(values["handful_adaptations_total"]) >= 1
    assert float(values["handful_engine_ready"]) == 1
    assert float(values["handful_worker_restarts_total"]) == 0
    assert "handful_device" in response.text
    assert task["id"] not in response.text


def test_the_document_has_every_operation_of_the_contract(document: dict[str, Any]) -> None:
    assert set(operations(document)) == OPERATIONS


def test_every_operation_documents_its_problems(document: dict[str, Any]) -> None:
    undocumented = [
        (name, status)
        for name, operation in operations(document).items()
        for status, answer in operation["responses"].items()
        if status >= "400" and list(answer["content"]) != ["application/problem+json"]
    ]
    assert undocumented == []
    for_keys = [name for name, operation in operations(document).items() if name[1].startswith("/v1")]
    assert [name for name in for_keys if "401" not in operations(document)[name]["responses"]] == []


def test_every_operation_has_a_summary_and_a_description(document: dict[str, Any]) -> None:
    assert [name for name, each in operations(document).items() if not each.get("summary")] == []
    assert [name for name, each in operations(document).items() if not each.get("description")] == []


def test_bodies_are_documented_whatever_their_kind(document: dict[str, Any]) -> None:
    found = operations(document)
    kinds = {name: set(each["requestBody"]["content"]) for name, each in found.items() if "requestBody" in each}
    assert kinds == {
        ("post", "/v1/tasks"): {"multipart/form-data", "application/json"},
        ("post", "/v1/tasks/{task}/examples"): {"multipart/form-data"},
        ("post", "/v1/tasks/{task}/adapt"): {"application/json"},
        ("post", "/v1/tasks/{task}/predict"): {"image/*", "application/octet-stream", "multipart/form-data"},
    }
    form = found["post", "/v1/tasks"]["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert set(form) == {
        "files", "labels", "archive", "name", "base_model", "learner", "prior", "metadata", "wait",
    }  # fmt: skip


def test_every_reference_of_the_document_leads_somewhere(client: httpx.Client, document: dict[str, Any]) -> None:
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', client.get("/openapi.json").text))
    assert references <= set(document["components"]["schemas"])
    assert "Problem" in references
    assert "HTTPValidationError" not in document["components"]["schemas"]


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
