"""Whatever is logged, no call raises because of it; and no exception that is not about it is swallowed."""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Records, Script
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import model_foundry
from model_foundry import ErrorTracker, MetricsLogger, PerformanceLogger, StructuredLogger

#: What loggers and their converters may ask of a value.
CALLS = (
    "__str__",
    "__repr__",
    "__iter__",
    "__len__",
    "__bool__",
    "__float__",
    "__int__",
    "__index__",
    "__getitem__",
    "__format__",
    "items",
    "keys",
    "item",
    "tolist",
    "numel",
)
ATTRIBUTES = ("dtype", "shape", "mask", "size", "columns", "__class__")


def hostile(
    names: frozenset[str], raised: type[BaseException], works: frozenset[str] = frozenset()
) -> Any:
    """A value whose own code raises: methods when they are called, attributes when they are read.

    ``works`` are attributes that do not raise, so that what is asked of such a value is reached.
    """

    def fails(*_: Any, **__: Any) -> Any:
        raise raised("its own")

    members: dict[str, Any] = {name: fails for name in names if name in CALLS}
    members |= {name: property(fails) for name in names if name in ATTRIBUTES}
    working = {"dtype": "float32", "shape": (), "tolist": lambda self: [1.0]}
    members |= {name: working[name] for name in works - names}
    return type("Hostile", (), members)()


values = st.builds(
    hostile,
    st.frozensets(st.sampled_from(CALLS + ATTRIBUTES), min_size=1),
    st.sampled_from([ValueError, RuntimeError, MemoryError, RecursionError, UnicodeError]),
    st.frozensets(st.sampled_from(["dtype", "shape", "tolist"])),
)
texts = st.text(st.characters(), max_size=20) | st.just("\ud800 lone")
anything = st.recursive(
    values | texts | st.integers() | st.floats() | st.none() | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(value=anything, message=anything, name=texts)
def test_no_logging_call_raises_because_of_what_is_logged(
    tmp_path_factory: pytest.TempPathFactory,
    loggers: Loggers,
    value: Any,
    message: Any,
    name: str,
) -> None:
    metrics, logger, performance, errors, run = loggers
    with warnings.catch_warnings():
        # A warning that is an error must not stop a training either.
        warnings.simplefilter("error")
        metrics.log_step(1, 0, {name: value})
        metrics.log_step(2, {"nested": {name: value}})
        metrics.log_step(3, None, value)
        metrics.log_step(4, value, {"loss": 1.0})
        metrics.log_epoch_summary(1, {name: value})
        logger.info(message, **{name: value})
        logger.warning(message, value, message)
        logger.error(message, exc_info=(ValueError, value, None))
        errors.log_error(message, {name: value})
        errors.log_error(message, value)
        with performance.time_block(message):
            pass
        run.log({name: value})
        run.log(value)
        run.log({"loss": 1.0}, step=value, epoch=value)
        run.config[name] = value
        run.config.update(value)
        run.summary[name] = value
        run.alert(message, value, level=value)
        run.define_metric(name, step_metric=value)


Loggers = tuple[
    MetricsLogger, StructuredLogger, PerformanceLogger, ErrorTracker, model_foundry.Run
]


@pytest.fixture
def loggers(tmp_path: Path) -> Any:
    logger = StructuredLogger("test.hostile", "tiny-lm")
    logger.logger.addHandler(logging.NullHandler())
    logger.logger.propagate = False
    run = model_foundry.init("tiny-lm", dir=tmp_path / "runs", quiet=True)
    metrics = MetricsLogger("tiny-lm", tmp_path / "run")
    yield metrics, logger, PerformanceLogger(logger), ErrorTracker(logger, tmp_path / "run"), run
    run.finish()
    metrics.close()


@pytest.mark.parametrize("name", ["dtype", "item", "__str__", "__iter__", "tolist", "mask", "items"])
@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_of_the_value_passes(
    loggers: Loggers, records: Records, name: str, raised: type[BaseException]
) -> None:
    metrics, logger, _, errors, run = loggers
    works = {"item": {"dtype"}, "mask": {"dtype", "shape"}}.get(name, set())
    value = hostile(frozenset({name}), raised, frozenset(works))
    if name in ("__iter__", "items"):
        # Only a sequence is iterated over, and only a mapping asked for its items.
        members = {member: getattr(type(value), member) for member in (name,)}
        base = list if name == "__iter__" else dict
        value = type("Hostile", (base,), members)([(1, 2)] if base is dict else [1])
        if name == "items":
            value = type("Mapping", (), {"items": members["items"], "__str__": members["items"]})()
            from collections.abc import Mapping

            Mapping.register(type(value))
    calls: list[Callable[[], Any]] = [
        lambda: metrics.log_step(1, 0, {"loss": value}),
        lambda: metrics.log_epoch_summary(1, {"loss": value}),
        lambda: logger.info("x", loss=value),
        lambda: errors.log_error(ValueError("x"), {"loss": value}),
        lambda: run.log({"loss": value}),
    ]
    for call in calls:
        with pytest.raises(raised):
            call()
    metrics.log_step(2, 0, {"loss": 0.5})
    assert records(metrics.metrics_file)[-1]["metrics"] == {"loss": 0.5}


def test_ctrl_c_ends_a_loop_over_slow_values(script: Script) -> None:
    result = script(
        """
import os, signal, sys, threading, time
from model_foundry import MetricsLogger

class Slow:
    dtype = "float32"
    def item(self):
        time.sleep(10)
        return 0.5

metrics = MetricsLogger("tiny-lm", sys.argv[1])
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
while True:
    metrics.log_step(1, 0, {"loss": Slow()})
""",
        check=False,
    )
    assert result.returncode in (-signal.SIGINT, 130, 1)
    assert "KeyboardInterrupt" in result.stderr


def test_a_field_may_have_any_name(loggers: Loggers, records: Records, tmp_path: Path) -> None:
    _, logger, *_ = loggers
    logger.info("one", message="a", self="b", level="c", context="d", name="e", arguments="f")
    logger.warning(message="two")
    logger.log_structured(logging.INFO, "three", level="x", message="y")
    lines = records(tmp_path / "run" / "main.log")[-3:]
    assert [line["message"] for line in lines] == ["one", "two", "three"]
    fields = {"message": "a", "self": "b", "level": "c", "context": "d", "name": "e", "arguments": "f"}
    assert fields.items() <= lines[0]["context"].items()


def test_messages_take_arguments_as_in_the_logging_module(
    loggers: Loggers, records: Records, tmp_path: Path
) -> None:
    _, logger, *_ = loggers
    logger.info("loss %.2f at %d", 0.512, 3)
    logger.info("%(loss)s", {"loss": 1})
    logger.info("100 %", 3)
    logger.info("lone \\ud800".encode().decode("unicode_escape"))
    lines = records(tmp_path / "run" / "main.log")[-4:]
    assert [line["message"] for line in lines] == [
        "loss 0.51 at 3",
        "1",
        "100 % 3",
        "lone \ufffd\ufffd\ufffd",
    ]


def test_exceptions_are_recorded_whatever_they_do(
    loggers: Loggers, records: Records
) -> None:
    _, logger, _, errors, _ = loggers

    class Bad(Exception):
        def __str__(self) -> str:
            raise ValueError

        @property
        def __notes__(self) -> list[str]:  # type: ignore[override]
            raise RuntimeError

    errors.log_error(Bad())
    errors.log_error("the disk is full", {"step": 3})
    try:
        raise KeyError("k")
    except KeyError:
        information = sys.exc_info()
    logger.error("failed", exc_info=information)
    bad, text = records(errors.errors_file)[-2:]
    assert bad["error_type"] == "Bad" and "cannot be shown" in bad["error_message"]
    assert bad["traceback"].startswith("Traceback")
    assert (text["error_type"], text["error_message"]) == ("Error", "the disk is full")


def test_a_large_value_does_not_lose_the_others(metrics: MetricsLogger, records: Records) -> None:
    table = ["x" * 4000] * 5000
    with pytest.warns(UserWarning, match="a value of 20015001 bytes was logged"):
        metrics.log_step(1, 0, {"loss": 0.5, "table": table, "text": "ä" * 2_000_000})
    (entry,) = records(metrics.metrics_file)
    assert entry["metrics"]["loss"] == 0.5
    assert entry["metrics"]["table"] == "<a value of 20015001 bytes>"
    assert entry["metrics"]["text"] == "ä" * 1_048_576


def test_arguments_in_another_order_are_found(metrics: MetricsLogger, records: Records) -> None:
    metrics.log_step(1, {"loss": 1.0})
    metrics.log_step(2, {"loss": 2.0}, 0.5)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="the metrics came before the step"):
        metrics.log_step({"loss": 3.0}, 3)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="the epoch inf is no finite number"):
        metrics.log_step(4, float("inf"), {"loss": 4.0})
    metrics.log_step(5, 0, None)
    metrics.log_step(6)
    metrics.log_step(7, epoch=1, metrics={"loss": 7.0})
    entries = records(metrics.metrics_file)
    assert [(entry["step"], entry.get("epoch"), entry["metrics"].get("loss")) for entry in entries] == [
        (1, None, 1.0),
        (2, 0.5, 2.0),
        (3, None, 3.0),
        (4, None, 4.0),
        (5, 0, None),
        (6, None, None),
        (7, 1, 7.0),
    ]


@pytest.fixture
def metrics(tmp_path: Path) -> MetricsLogger:
    return MetricsLogger("tiny-lm", tmp_path / "run")
