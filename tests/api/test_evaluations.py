"""Evaluations over HTTP: a query set as a form or a zip, or none, and every mistake told."""

import io
import zipfile

import httpx
import pytest

from tests.api.toy_service import LABELS, Parts, create, field, png, support


@pytest.fixture(scope="module")
def address(client: httpx.Client) -> str:
    return f"/v1/tasks/{create(client, n_way=4)['id']}/evaluate"


def queries(*indices: int, label: str | None = None) -> Parts:
    """A form of images of these quarters, each under its own label or the one that is given."""
    parts: Parts = []
    for seed, index in enumerate(indices):
        parts.append(("files", (f"{seed}.png", png(index, seed=100 + seed), "image/png")))
        parts.append(("labels", (None, (label or LABELS[index]).encode())))
    return parts


def test_a_query_set_gives_figures(client: httpx.Client, address: str) -> None:
    wrong = queries(0, label=LABELS[1])
    response = client.post(address, files=[*queries(0, 1, 2, 3, 0), *wrong])
    assert response.status_code == 200, response.text
    found = response.json()
    assert (found["basis"], found["version"], found["n_images"]) == ("query-set", 1, 6)
    assert found["accuracy"] == pytest.approx(5 / 6)
    assert found["interval_95"] == pytest.approx([0.4365, 0.9699], abs=5e-5)
    assert [row["label"] for row in found["classes"]] == list(LABELS)
    assert found["confusion"][1] == [1, 1, 0, 0]
    assert len(found["calibration"]["bins"]) == 15
    assert found["thresholds"][0] == {
        "threshold": 0.0,
        "coverage": 1.0,
        "accuracy": pytest.approx(5 / 6),
        "unknown_answered": None,
    }
    assert found["unknown"] is None


def test_a_query_set_may_be_a_zip_of_more_than_64_images(client: httpx.Client, address: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for n in range(70):
            archive.writestr(f"{LABELS[n % 4]}/{n}.png", png(n % 4, seed=n))
    found = client.post(address, files=[("archive", ("queries.zip", buffer.getvalue()))]).json()
    assert (found["n_images"], found["accuracy"]) == (70, 1.0)


def test_an_evaluation_agrees_with_the_predictions(client: httpx.Client, address: str) -> None:
    parts = queries(*[n % 4 for n in range(12)])
    images = [part for part in parts if part[0] == "files"]
    answers = client.post(address.replace("evaluate", "predict"), files=images).json()["predictions"]
    found = client.post(address, files=parts).json()
    right = [answer["label"] == LABELS[n % 4] for n, answer in enumerate(answers)]
    gap = abs(sum(right) / 12 - sum(answer["probability"] for answer in answers) / 12)
    assert found["accuracy"] == sum(right) / 12
    assert found["calibration"]["error"] >= gap - 1e-6  # the mean of the bins' gaps is at least that of all


def test_unknown_images_judge_the_unknown_score(client: httpx.Client) -> None:
    address = f"/v1/tasks/{create(client, n_way=2)['id']}/evaluate"
    refused = client.post(address, files=queries(0, 1, 3))
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/upload-rejected")
    assert [(item["pointer"], item["code"]) for item in refused.json()["errors"]] == [("/files/2", "unknown-label")]
    found = client.post(address, files=[*queries(0, 1, 3), field("unknown_labels", "count")]).json()
    assert (found["n_images"], found["unknown"]["n_images"], found["unknown"]["labels"]) == (2, 1, [LABELS[3]])
    assert 0 <= found["unknown"]["auroc"] <= 1


def test_an_older_version_can_be_evaluated(client: httpx.Client) -> None:
    task = f"/v1/tasks/{create(client)['id']}"
    client.post(f"{task}/adapt", json={"learner": "maml"})
    versions = [client.post(f"{task}/evaluate{query}", files=queries(0, 1)).json() for query in ("", "?version=1")]
    assert [each["version"] for each in versions] == [2, 1]


def test_an_evaluation_stores_nothing(client: httpx.Client) -> None:
    task = create(client)
    client.post(f"/v1/tasks/{task['id']}/evaluate", files=queries(0, 1))
    assert client.get(f"/v1/tasks/{task['id']}").json() == task


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([field("unknown_labels", "count")], 422),
        ([*queries(0), field("unknown_labels", "ignore")], 422),
        ([*queries(0), field("name", "owl")], 422),
        ([*queries(0, 1), field("labels", "one more")], 422),
        ([("files", ("x.png", b"no image")), field("labels", LABELS[0])], 415),
        ([("files", ("x.png", png(0)[:40])), field("labels", LABELS[0])], 422),
        ([("archive", ("x.zip", b"no zip"))], 422),
        (support() * 200, 413),
    ],
)
def test_a_form_that_cannot_be_right_is_told(client: httpx.Client, address: str, parts: Parts, status: int) -> None:
    response = client.post(address, files=parts)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(("query", "status"), [("version=0", 422), ("version=9", 404), ("version=x", 422)])
def test_a_wrong_version_is_told(client: httpx.Client, address: str, query: str, status: int) -> None:
    assert client.post(f"{address}?{query}", files=queries(0)).status_code == status


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [(b"x", "text/plain", 415), (b'{"files": 1}', "application/json", 422), (b"{", "application/json", 400)],
)
def test_a_body_that_is_no_query_set_is_told(
    client: httpx.Client, address: str, content: bytes, media_type: str, status: int
) -> None:
    response = client.post(address, content=content, headers={"Content-Type": media_type})
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")


def test_a_query_set_of_the_wrong_type_is_told_which_one_is_right(client: httpx.Client, address: str) -> None:
    problem = client.post(address, data={"labels": "top left"}).json()
    assert "send multipart/form-data with 'files' and 'labels', or no body" in problem["detail"]


def test_a_task_that_cannot_answer_cannot_be_evaluated(client: httpx.Client) -> None:
    empty = client.post("/v1/tasks", json={"name": "empty"}).json()["id"]
    assert client.post(f"/v1/tasks/{empty}/evaluate", files=queries(0)).status_code == 409
    assert client.post("/v1/tasks/0194c9b2-e6c7-7a0b-8b1e-3f6d5c2a9e10/evaluate").status_code == 404
