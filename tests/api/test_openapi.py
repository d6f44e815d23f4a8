"""The OpenAPI document: complete, without loose ends, and true of what is sent and answered."""

import re
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
import schemathesis

from tests.api.toy_service import png

OPERATIONS = {
    "create_task": ("post", "/v1/tasks"),
    "list_tasks": ("get", "/v1/tasks"),
    "get_task": ("get", "/v1/tasks/{task}"),
    "update_task": ("patch", "/v1/tasks/{task}"),
    "delete_task": ("delete", "/v1/tasks/{task}"),
    "update_class": ("patch", "/v1/tasks/{task}/classes/{label}"),
    "remove_class": ("delete", "/v1/tasks/{task}/classes/{label}"),
    "activate_version": ("post", "/v1/tasks/{task}/versions/{number}/activate"),
    "give_feedback": ("post", "/v1/tasks/{task}/feedback"),
    "suggest_images": ("post", "/v1/tasks/{task}/suggest"),
    "add_examples": ("post", "/v1/tasks/{task}/examples"),
    "list_examples": ("get", "/v1/tasks/{task}/examples"),
    "get_example": ("get", "/v1/tasks/{task}/examples/{example}"),
    "update_example": ("patch", "/v1/tasks/{task}/examples/{example}"),
    "delete_example": ("delete", "/v1/tasks/{task}/examples/{example}"),
    "adapt_task": ("post", "/v1/tasks/{task}/adapt"),
    "list_versions": ("get", "/v1/tasks/{task}/versions"),
    "get_version": ("get", "/v1/tasks/{task}/versions/{number}"),
    "watch_version": ("get", "/v1/tasks/{task}/versions/{number}/events"),
    "predict": ("post", "/v1/tasks/{task}/predict"),
    "evaluate_task": ("post", "/v1/tasks/{task}/evaluate"),
    "export_task": ("get", "/v1/tasks/{task}/export"),
    "list_base_models": ("get", "/v1/base-models"),
    "get_base_model": ("get", "/v1/base-models/{base_model}"),
    "get_limits": ("get", "/v1/limits"),
    "livez": ("get", "/livez"),
    "readyz": ("get", "/readyz"),
    "metrics": ("get", "/metrics"),
    "explain_problem": ("get", "/problems/{name}"),
}
OPEN = {"livez", "readyz", "explain_problem"}
BODIES = {
    "create_task": {"multipart/form-data", "application/json"},
    "add_examples": {"multipart/form-data"},
    "update_task": {"application/json"},
    "update_class": {"application/json"},
    "update_example": {"application/json"},
    "adapt_task": {"application/json"},
    "give_feedback": {"multipart/form-data"},
    "suggest_images": {"multipart/form-data"},
    "predict": {"image/*", "application/octet-stream", "multipart/form-data"},
    "evaluate_task": {"multipart/form-data"},
}


@pytest.fixture(scope="module")
def document(client: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


@pytest.fixture(scope="module")
def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["operationId"]: each for methods in document["paths"].values() for each in methods.values()}


@pytest.fixture(scope="module")
def task(client: httpx.Client, operations: dict[str, dict[str, Any]]) -> str:
    """The id of the task that the document's own example makes."""
    examples = operations["create_task"]["requestBody"]["content"]["multipart/form-data"]["examples"]
    return str(posted(client, "/v1/tasks", "multipart/form-data", examples["images"]["value"]).json()["id"])


def posted(
    client: httpx.Client,
    address: str,
    media_type: str,
    body: Any,  # noqa: ANN401  # JSON
    method: str = "post",
) -> httpx.Response:
    """The answer to an example of the document, sent exactly as it stands there."""
    if media_type == "application/json":
        return client.request(method, address, json=body)
    if media_type == "multipart/form-data":
        return client.post(address, files=form(body))
    return client.post(address, content=body.encode("ascii"), headers={"Content-Type": media_type})


def form(fields: Mapping[str, Any]) -> list[tuple[str, Any]]:
    parts = [
        (name, value) for name, values in fields.items() for value in (values if type(values) is list else [values])
    ]
    return [
        (name, ("drawing.tif", value.encode("ascii"), "image/tiff") if name == "files" else (None, str(value)))
        for name, value in parts
    ]


def check(document: dict[str, Any], name: str, response: httpx.Response) -> None:
    """See that an answer is one that the document tells of."""
    method, path = OPERATIONS[name]
    response.request.read()  # schemathesis looks at it
    schemathesis.openapi.from_dict(document)[path][method].validate_response(response)


def test_the_document_has_every_operation_of_the_contract(document: dict[str, Any]) -> None:
    found = {
        operation["operationId"]: (method, path)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert found == OPERATIONS


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_tells_all_its_answers(operations: dict[str, dict[str, Any]], name: str) -> None:
    operation = operations[name]
    answers = operation["responses"]
    problems = {status: answer for status, answer in answers.items() if status >= "400"}
    assert operation["summary"]
    assert operation["description"]
    assert {kind for answer in problems.values() for kind in answer["content"]} == {"application/problem+json"}
    assert {"400", "403", "413", "500"} <= set(problems)
    assert ("401" in problems, operation.get("security")) == ((False, []) if name in OPEN else (True, None))


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_tells_the_headers_of_its_answers(operations: dict[str, dict[str, Any]], name: str) -> None:
    answers = operations[name]["responses"]
    headers = {status: set(answer["headers"]) for status, answer in answers.items()}
    assert all("X-Request-Id" in each for each in headers.values())
    assert {status for status, each in headers.items() if "Retry-After" in each} == {"202", "503"} & set(headers)
    assert {status for status, each in headers.items() if "WWW-Authenticate" in each} == {"401"} & set(headers)


def test_what_is_made_has_an_address(operations: dict[str, dict[str, Any]]) -> None:
    made = [
        (name, status)
        for name, operation in operations.items()
        for status, answer in operation["responses"].items()
        if "Location" in answer["headers"]
    ]
    assert made == [
        ("create_task", "201"),
        ("create_task", "202"),
        ("adapt_task", "201"),
        ("adapt_task", "202"),
        ("give_feedback", "202"),
    ]


def test_bodies_are_documented_whatever_their_kind(operations: dict[str, dict[str, Any]]) -> None:
    kinds = {name: set(each["requestBody"]["content"]) for name, each in operations.items() if "requestBody" in each}
    assert kinds == BODIES
    form = operations["create_task"]["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert set(form) == {
        "files", "labels", "groups", "archive", "name", "base_model", "learner", "prior", "metadata", "store",
        "threshold", "keep_s", "wait",
    }  # fmt: skip


def test_every_reference_of_the_document_leads_somewhere(client: httpx.Client, document: dict[str, Any]) -> None:
    references = re.findall(r'"#/components/([^"/]+)/([^"]+)"', client.get("/openapi.json").text)
    assert {name for kind, name in references if kind == "schemas"} <= set(document["components"]["schemas"])
    assert {name for kind, name in references if kind == "headers"} == set(document["components"]["headers"])
    assert ("schemas", "Problem") in references
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_every_link_of_the_document_leads_to_an_operation(operations: dict[str, dict[str, Any]]) -> None:
    links = {
        link["operationId"]: set(link["parameters"])
        for operation in operations.values()
        for answer in operation["responses"].values()
        for link in answer.get("links", {}).values()
    }
    assert set(links) == {name for name, (_, path) in OPERATIONS.items() if "{" in path and name not in OPEN}
    assert {name: {f"{{{parameter}}}" for parameter in parameters} for name, parameters in links.items()} == {
        name: set(re.findall(r"\{\w+\}", OPERATIONS[name][1])) for name in links
    }


@pytest.mark.parametrize(("name", "media_type"), [(name, each) for name in BODIES for each in sorted(BODIES[name])])
def test_a_documented_request_is_answered_as_documented(
    client: httpx.Client, document: dict[str, Any], task: str, name: str, media_type: str
) -> None:
    method, path = OPERATIONS[name]
    body = document["paths"][path][method]["requestBody"]["content"][media_type]
    (example,) = (each["value"] for each in body["examples"].values())

    stored = client.get(f"/v1/tasks/{task}/examples").json()["items"][-1]
    address = path.format(task=task, label=stored["label"], example=stored["id"])
    response = posted(client, address, media_type, example, method)

    assert response.status_code in {200, 201}, response.text
    check(document, name, response)


def test_the_example_of_a_task_answers_the_example_of_a_prediction(
    client: httpx.Client, operations: dict[str, dict[str, Any]]
) -> None:
    form = "multipart/form-data"
    bodies = [operations[name]["requestBody"]["content"][form]["examples"] for name in ("create_task", "predict")]
    created = posted(client, "/v1/tasks", form, bodies[0]["images"]["value"]).json()
    answer = posted(client, f"/v1/tasks/{created['id']}/predict", form, bodies[1]["images"]["value"]).json()
    assert (created["state"], created["base_model"]) == ("ready", "omniglot-conv4")
    assert [each["label"] for each in answer["predictions"]] == ["ring", "cross"]


READ = ["list_tasks", "get_task", "list_examples", "list_versions", "list_base_models", "get_limits", "metrics"]


@pytest.mark.parametrize("name", [*READ, "livez", "readyz"])
def test_what_is_read_is_as_documented(client: httpx.Client, document: dict[str, Any], task: str, name: str) -> None:
    _, path = OPERATIONS[name]
    response = client.get(path.format(task=task))
    assert response.status_code == 200
    check(document, name, response)


def test_a_problem_is_as_documented(client: httpx.Client, document: dict[str, Any], task: str) -> None:
    address = f"/v1/tasks/{task}/predict"
    answers = [
        client.post(address, files=[("files", ("a.png", png(0)[:-20]))]),
        client.post(address, content=b"no image", headers={"Content-Type": "text/plain"}),
        client.post(address, params={"top_k": 0}, content=png(0)),
        client.post("/v1/tasks/unknown/predict", content=png(0)),
    ]
    assert [answer.status_code for answer in answers] == [422, 415, 422, 404]
    for answer in answers:
        check(document, "predict", answer)
