"""Log lines are one line each whatever a client sends; metrics have bounded series."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from service.errors import Unavailable
from service.telemetry import (
    Metrics,
    configure_logging,
    current_request_id,
    log_access,
    log_failure,
    new_request_id,
    reset_request_id,
    set_request_id,
)


@pytest.fixture(autouse=True)
def root_logger_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_plain_request_id_of_the_client_is_kept() -> None:
    assert new_request_id("order-17.a_B") == "order-17.a_B"


@pytest.mark.parametrize("offered", [None, "", "a b", "a\nb", "x" * 65, "größe", "a\n", "<script>"])
def test_any_other_request_id_is_replaced(offered: str | None) -> None:
    fresh = new_request_id(offered)
    assert fresh != offered
    assert new_request_id(fresh) == fresh


def test_the_request_id_is_in_its_context_only() -> None:
    token = set_request_id("abc")
    assert current_request_id() == "abc"
    reset_request_id(token)
    assert current_request_id() == ""


def test_a_text_line_stays_one_line() -> None:
    stream = io.StringIO()
    configure_logging("text", stream=stream)
    logging.getLogger("x").warning("evil\n2026 INFO forged\r\x1b[31m\u2028line")
    assert len(stream.getvalue().splitlines()) == 1
    assert "\\x0a2026 INFO forged" in stream.getvalue()


def test_a_traceback_in_text_is_marked_on_every_line() -> None:
    stream = io.StringIO()
    configure_logging("text", stream=stream)
    logging.getLogger("x").error("broken", exc_info=ValueError("a\nforged line"))
    first, *rest = stream.getvalue().splitlines()
    assert first.endswith("broken")
    assert all(line.startswith("  | ") for line in rest)


def test_a_json_line_is_one_object_with_the_request_id() -> None:
    stream = io.StringIO()
    configure_logging("json", stream=stream)
    token = set_request_id("r1")
    log_access("GET", "/v1/tasks/{task}", status=200, seconds=0.0123)
    reset_request_id(token)
    entry = json.loads(stream.getvalue())
    assert entry["request_id"] == "r1"
    assert (entry["method"], entry["route"], entry["status"], entry["ms"]) == ("GET", "/v1/tasks/{task}", 200, 12.3)


def test_a_method_nobody_knows_makes_no_series_of_its_own() -> None:
    metrics = Metrics()
    metrics.observe_request("BREW", "unmatched", status=405, seconds=0.1)
    text = metrics.render().decode()
    assert 'handful_requests_total{method="other",route="unmatched",status="405"} 1.0' in text
    assert "BREW" not in text


def test_two_apps_in_one_process_count_apart() -> None:
    first, second = Metrics(), Metrics()
    first.predicted_images.inc(3)
    assert "handful_predicted_images_total 3.0" in first.render().decode()
    assert "handful_predicted_images_total 0.0" in second.render().decode()


def test_a_failure_of_ours_is_one_line_and_any_other_has_its_traceback() -> None:
    stream = io.StringIO()
    configure_logging("text", stream=stream)
    log_failure(logging.getLogger("loop"), "a round failed", Unavailable("the database does not answer"))
    log_failure(logging.getLogger("loop"), "a round failed", KeyError("surprise"))
    first, second, *trace = stream.getvalue().splitlines()
    assert first.endswith("WARNING loop a round failed: the database does not answer")
    assert second.endswith("ERROR   loop a round failed")
    assert trace[-1] == "  | KeyError: 'surprise'"
