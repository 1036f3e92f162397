"""The specification of the structured logger."""

from __future__ import annotations

import collections
import json
import logging
import types
from pathlib import Path
from typing import Any

import pytest

from model_foundry.logging_components import StructuredLogger

CONFIG = types.SimpleNamespace(experiment_name="tiny-lm")


def line(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """The latest record's line, parsed."""
    record: dict[str, Any] = json.loads(caplog.records[-1].getMessage())
    return record


@pytest.fixture
def logger(caplog: pytest.LogCaptureFixture) -> StructuredLogger:
    caplog.set_level(logging.DEBUG, logger="test.structured")
    return StructuredLogger("test.structured", CONFIG)


def test_creates_logger_with_base_context(logger: StructuredLogger) -> None:
    assert logger.context["experiment"] == "tiny-lm"
    assert set(logger.context) == {"experiment", "git_hash", "device"}
    assert logger.context["device"] == "cpu" or logger.context["device"].startswith("cuda:0 ")
    assert logger.logger is logging.getLogger("test.structured")


@pytest.mark.parametrize("name", ["train", "train.loop", "a.b.c", "with space"])
def test_logger_name_matches_input(name: str) -> None:
    assert StructuredLogger(name, CONFIG).logger.name == name


def test_base_context_immutable_across_instances() -> None:
    one, other = StructuredLogger("one", CONFIG), StructuredLogger("other", CONFIG)

    one.update_context(epoch=1)
    one.context["device"] = "tpu"

    assert "epoch" not in other.context
    assert other.context["device"] != "tpu"


def test_log_structured_creates_json_output(
    logger: StructuredLogger, caplog: pytest.LogCaptureFixture
) -> None:
    logger.log_structured(logging.INFO, "progress", step=10, note="ä\n\"")

    record = line(caplog)
    assert record["message"] == "progress"
    assert record["context"] == {**logger.context, "step": 10, "note": "ä\n\""}
    assert "\n" not in caplog.records[-1].getMessage()


def test_output_format_has_all_base_fields(
    logger: StructuredLogger, caplog: pytest.LogCaptureFixture
) -> None:
    logger.info("hello")

    record = line(caplog)
    assert set(record) == {"message", "context"}
    assert {"experiment", "git_hash", "device"} <= set(record["context"])


def test_debug_level_logs_at_debug(logger: StructuredLogger, caplog: pytest.LogCaptureFixture) -> None:
    logger.debug("it")
    assert (caplog.records[-1].levelno, caplog.records[-1].levelno) == (10, logging.DEBUG)


def test_info_level_logs_at_info(logger: StructuredLogger, caplog: pytest.LogCaptureFixture) -> None:
    logger.info("it")
    assert caplog.records[-1].levelno == 20


def test_warning_level_logs_at_warning(
    logger: StructuredLogger, caplog: pytest.LogCaptureFixture
) -> None:
    logger.warning("it")
    assert caplog.records[-1].levelno == 30


def test_error_level_logs_at_error(logger: StructuredLogger, caplog: pytest.LogCaptureFixture) -> None:
    logger.error("it")
    assert caplog.records[-1].levelno == 40


def test_critical_level_logs_at_critical(
    logger: StructuredLogger, caplog: pytest.LogCaptureFixture
) -> None:
    logger.critical("it")
    assert caplog.records[-1].levelno == 50


def test_context_merges_with_base_context(
    logger: StructuredLogger, caplog: pytest.LogCaptureFixture
) -> None:
    logger.info("progress", step=10, loss=0.25, epoch=1.5, done=False, none=None, tags=["a", 1])

    context = line(caplog)["context"]
    assert context["experiment"] == "tiny-lm"
    assert context["step"] == 10 and isinstance(context["step"], int)
    assert context["loss"] == 0.25
    assert context["epoch"] == 1.5
    assert context["done"] is False
    assert context["none"] is None
    assert context["tags"] == ["a", 1]


def test_custom_context_overrides_base_context(
    logger: StructuredLogger, caplog: pytest.LogCaptureFixture
) -> None:
    logger.info("here", device="tpu:0")
    assert line(caplog)["context"]["device"] == "tpu:0"

    logger.info("again")
    assert line(caplog)["context"]["device"] == logger.context["device"] != "tpu:0"


def test_update_base_context(logger: StructuredLogger, caplog: pytest.LogCaptureFixture) -> None:
    logger.update_context(phase="warmup", rank=3)
    logger.context["direct"] = "into the dict"

    for message in ("one", "two"):
        logger.info(message)
        context = line(caplog)["context"]
        assert (context["phase"], context["rank"]) == ("warmup", 3)
        assert context["direct"] == "into the dict"


def test_clear_context_field(logger: StructuredLogger, caplog: pytest.LogCaptureFixture) -> None:
    logger.update_context(phase="warmup", rank=3)

    logger.clear_context_field("phase")
    logger.clear_context_field("never there")

    logger.info("it")
    context = line(caplog)["context"]
    assert "phase" not in context
    assert context["rank"] == 3


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def test_handles_non_serializable_context(
    logger: StructuredLogger, caplog: pytest.LogCaptureFixture
) -> None:
    cycle: list[Any] = [1]
    cycle += [cycle, cycle]

    logger.info(
        "odd",
        path=Path("/tmp/x"),
        of_a_set={1},
        unprintable=Unprintable(),
        nested={"deep": [Path("y"), float("nan"), {3: object}]},
        surrogate="\ud800",
        huge=10**30,
        cycle=cycle,
        proxy=types.MappingProxyType({"a": 1}),
        counter=collections.Counter("aab"),
    )

    context = line(caplog)["context"]
    assert context["path"] == "/tmp/x"
    assert context["of_a_set"] == [1]
    assert context["unprintable"] == "<Unprintable object>"
    assert context["nested"]["deep"][:2] == ["y", "NaN"]
    assert context["nested"]["deep"][2] == {"3": "<class 'object'>"}
    assert context["huge"] == 10**30
    assert context["cycle"][0] == 1 and "[...]" in context["cycle"][1]
    assert context["proxy"] == {"a": 1}
    assert context["counter"] == {"a": 2, "b": 1}


def test_log_exception_with_traceback(
    logger: StructuredLogger, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> None:
        raise ValueError("bad batch")

    try:
        fails()
    except ValueError:
        logger.exception("it failed", step=3)

    context = line(caplog)["context"]
    assert caplog.records[-1].levelno == logging.ERROR
    assert context["exception_type"] == "ValueError"
    assert context["exception_message"] == "bad batch"
    assert "in fails" in context["traceback"]
    assert context["step"] == 3


def test_a_level_below_the_logger_s_costs_no_formatting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, logger="test.quiet")
    logger = StructuredLogger("test.quiet", CONFIG)

    class Watched:
        formatted = False

        def __str__(self) -> str:
            Watched.formatted = True
            return "it"

    logger.info("below the level", value=Watched())
    assert not Watched.formatted
    assert not caplog.records


def test_a_record_has_the_caller_s_line(
    logger: StructuredLogger, caplog: pytest.LogCaptureFixture
) -> None:
    logger.info("from here")
    assert caplog.records[-1].funcName == "test_a_record_has_the_caller_s_line"
    logger.log_structured("WARNING", "and here")
    assert caplog.records[-1].funcName == "test_a_record_has_the_caller_s_line"
    assert caplog.records[-1].levelno == logging.WARNING


def test_percent_signs_are_text(logger: StructuredLogger, caplog: pytest.LogCaptureFixture) -> None:
    logger.info("100 %s %d", rate="5%")
    assert line(caplog)["message"] == "100 %s %d"


def test_an_unknown_level_raises(logger: StructuredLogger) -> None:
    with pytest.raises(ValueError, match="unknown level 'LOUD': use DEBUG, INFO"):
        logger.log_structured("LOUD", "it")
