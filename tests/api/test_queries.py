"""A misspelt query parameter is not left out in silence."""

import httpx
import pytest

from tests.api.toy_service import create, png

NOWHERE = "0194c9b2-e6c7-7a0b-8b1e-3f6d5c2a9e10"


@pytest.fixture(scope="module")
def task(client: httpx.Client) -> str:
    return str(create(client)["id"])


def test_a_misspelt_parameter_is_refused_and_the_one_that_was_meant_named(client: httpx.Client, task: str) -> None:
    response = client.post(f"/v1/tasks/{task}/predict", params={"nearst": 5, "top_k": 1}, content=png(0))
    problem = response.json()
    assert (response.status_code, problem["type"]) == (422, "/problems/invalid-request")
    (item,) = problem["errors"]
    assert (item["pointer"], item["code"]) == ("/query/nearst", "unknown-parameter")
    assert item["detail"] == "there is no such parameter; did you mean nearest?"


def test_every_strange_parameter_is_told(client: httpx.Client) -> None:
    problem = client.get("/v1/tasks?colour=red&a/b=1&limit=5").json()
    assert [item["pointer"] for item in problem["errors"]] == ["/query/colour", "/query/a~1b"]
    assert problem["detail"].startswith("/query/colour: there is no such parameter; there is cursor, limit, state")


def test_an_operation_without_parameters_takes_none(client: httpx.Client, task: str) -> None:
    problem = client.delete(f"/v1/tasks/{task}?recursive=true").json()
    assert problem["errors"][0]["detail"] == "there is no such parameter; there is none"
    assert client.get(f"/v1/tasks/{task}").status_code == 200


def test_metadata_of_any_name_is_a_filter(client: httpx.Client) -> None:
    assert client.get("/v1/tasks", params={"metadata.whatever-you-like": "x"}).status_code == 200


@pytest.mark.parametrize("address", ["/livez", "/", "/openapi.json"])
def test_what_is_outside_the_api_takes_any_query(client: httpx.Client, address: str) -> None:
    assert client.get(address, params={"cache": "no"}).status_code == 200


def test_what_is_not_there_is_not_found_whatever_is_asked(client: httpx.Client) -> None:
    assert client.get(f"/v1/nothing/{NOWHERE}?x=1").status_code == 404
