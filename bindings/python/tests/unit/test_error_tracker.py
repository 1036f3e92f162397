"""The specification of the error tracker."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from conftest import Records

from model_foundry.logging_components import ErrorTracker, MetricsLogger, StructuredLogger


@pytest.fixture
def tracker(tmp_path: Path) -> ErrorTracker:
    return ErrorTracker(StructuredLogger("test.errors", "tiny-lm"), tmp_path / "run")


def log(tracker: ErrorTracker, error: Exception, **context: object) -> None:
    """Raise an error, and log it where it is caught."""
    try:
        raise error
    except Exception as raised:
        tracker.log_error(raised, context)


def test_log_error_writes_to_file(
    tracker: ErrorTracker, records: Records, caplog: pytest.LogCaptureFixture
) -> None:
    log(tracker, ValueError("bad batch"), step=3, path=Path("/data"))

    (entry,) = records(tracker.errors_file)
    assert entry["error_type"] == "ValueError"
    assert entry["error_message"] == "bad batch"
    assert entry["context"] == {"step": 3, "path": "/data"}
    assert entry["timestamp"].endswith("Z")
    assert caplog.records[-1].levelno == logging.ERROR
    line = json.loads(caplog.records[-1].getMessage())
    assert line["message"] == "ValueError: bad batch"
    assert (line["context"]["error_type"], line["context"]["step"]) == ("ValueError", 3)


def test_log_error_increments_counter(tracker: ErrorTracker) -> None:
    log(tracker, ValueError("one"))
    log(tracker, ValueError("two"))
    log(tracker, KeyError("three"))
    assert tracker.get_error_summary() == {"ValueError": 2, "KeyError": 1}


def test_log_error_includes_traceback(tracker: ErrorTracker, records: Records) -> None:
    def inner() -> None:
        raise OSError("no disk")

    def outer() -> None:
        try:
            inner()
        except OSError as error:
            raise RuntimeError("no checkpoint") from error

    try:
        outer()
    except RuntimeError as error:
        tracker.log_error(error)

    traceback = records(tracker.errors_file)[0]["traceback"]
    for part in ("in outer", "in inner", "OSError: no disk", "RuntimeError: no checkpoint"):
        assert part in traceback
    assert "direct cause" in traceback


def test_get_error_summary(tracker: ErrorTracker) -> None:
    assert tracker.get_error_summary() == {}
    for error in (KeyError("a"), ValueError("b"), ValueError("c")):
        log(tracker, error)
    assert list(tracker.get_error_summary().items()) == [("ValueError", 2), ("KeyError", 1)]


def test_log_error_with_no_context(tracker: ErrorTracker, records: Records) -> None:
    tracker.log_error(ValueError("never raised"))
    assert records(tracker.errors_file)[0]["context"] == {}


def test_reset_error_counts(tracker: ErrorTracker, records: Records) -> None:
    log(tracker, ValueError("one"))
    tracker.reset_counters()
    assert tracker.get_error_summary() == {}
    assert len(records(tracker.errors_file)) == 1


def test_max_errors_limit(tmp_path: Path, records: Records) -> None:
    tracker = ErrorTracker(logging.getLogger("test.errors"), tmp_path, max_errors=10)
    for number in range(15):
        log(tracker, ValueError(str(number)))

    assert tracker.get_error_summary() == {"ValueError": 15}
    assert len(records(tracker.errors_file)) == 15
    assert len(tracker.get_recent_errors(100)) == 10


def test_get_recent_errors(tracker: ErrorTracker) -> None:
    for number in range(5):
        log(tracker, ValueError(str(number)), number=number)

    recent = tracker.get_recent_errors(3)
    assert [entry["error_message"] for entry in recent] == ["4", "3", "2"]
    assert recent[0]["context"] == {"number": 4}
    assert {"timestamp", "error_type", "traceback"} <= set(recent[0])
    assert tracker.get_recent_errors(0) == []


def test_an_error_whose_message_fails_is_recorded(tracker: ErrorTracker, records: Records) -> None:
    class Silent(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    log(tracker, Silent())
    assert records(tracker.errors_file)[0]["error_type"] == "Silent"


def test_a_context_may_use_any_name(
    tracker: ErrorTracker, records: Records, caplog: pytest.LogCaptureFixture
) -> None:
    tracker.log_error(ValueError("it"), {"message": 1, "level": 2, "self": 3, "exc_info": "x"})
    assert records(tracker.errors_file)[0]["context"]["message"] == 1
    assert json.loads(caplog.records[-1].getMessage())["context"]["level"] == 2


def test_a_tracker_and_a_metrics_logger_share_the_folder_s_run(tmp_path: Path) -> None:
    metrics = MetricsLogger("tiny-lm", tmp_path)
    tracker = ErrorTracker(logging.getLogger("test.errors"), tmp_path)
    assert tracker._run is metrics._run


def test_an_invalid_limit_raises(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="max_errors_to_track = 0: must be a positive integer"):
        ErrorTracker(logging.getLogger("test.errors"), tmp_path, max_errors=0)
