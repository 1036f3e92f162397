"""The specification of the metrics logger."""

from __future__ import annotations

import collections
import decimal
import enum
import math
import subprocess
import sys
import threading
import types
from pathlib import Path
from typing import Any

import numpy
import pytest
from conftest import Records

from model_foundry.logging_components import MetricsLogger


@pytest.fixture
def metrics(tmp_path: Path) -> MetricsLogger:
    return MetricsLogger("tiny-lm", tmp_path / "run")


def test_creates_metrics_file(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there" / "yet"

    metrics = MetricsLogger("tiny-lm", str(folder))
    metrics.log_step(0, 0, {"loss": 1.0})

    assert metrics.experiment_name == "tiny-lm"
    assert metrics.output_dir == folder
    assert metrics.metrics_file == folder / "metrics.jsonl"
    assert metrics.metrics_file.is_file()


def test_log_step_writes_jsonl(metrics: MetricsLogger, records: Records) -> None:
    metrics.log_step(100, 2, {"loss": 2.5, "lr": 3e-4})

    (entry,) = records(metrics.metrics_file)
    assert entry["step"] == 100
    assert entry["epoch"] == 2
    assert entry["metrics"] == {"loss": 2.5, "lr": 3e-4}
    assert entry["timestamp"].endswith("Z")
    read = subprocess.run(["cat", metrics.metrics_file], capture_output=True, check=True)
    assert read.stdout.count(b"\n") == 1, "another process can read it at once"


def test_log_step_appends_to_file(tmp_path: Path, records: Records) -> None:
    folder = tmp_path / "run"
    for first in (0, 3):
        with MetricsLogger("tiny-lm", folder) as metrics:
            for step in range(first, first + 3):
                metrics.log_step(step, 0, {"loss": step / 2})

    entries = records(folder / "metrics.jsonl")
    assert [entry["step"] for entry in entries] == list(range(6))
    assert [entry.get("attempt") for entry in entries] == [None] * 3 + [2] * 3


def test_log_epoch_summary(metrics: MetricsLogger, records: Records) -> None:
    metrics.log_epoch_summary(3, {"val_loss": 2.25, "samples": 1000})

    (entry,) = records(metrics.metrics_file)
    assert entry["epoch"] == 3
    assert entry["summary"] == {"val_loss": 2.25, "samples": 1000}
    assert "step" not in entry


def test_get_metrics_history(metrics: MetricsLogger) -> None:
    assert metrics.get_metrics_history() == []
    metrics.log_step(5, 0, {"loss": 1.0})
    metrics.log_epoch_summary(0, {"loss": 1.0})
    metrics.log_step(1, 1, {"loss": 2.0})

    history = metrics.get_metrics_history()
    assert [entry.get("step") for entry in history] == [5, None, 1]


def test_get_metrics_for_steps(metrics: MetricsLogger) -> None:
    for step in range(10):
        metrics.log_step(step, 0, {"loss": float(step)})
    metrics.log_epoch_summary(0, {"loss": 4.5})

    entries = metrics.get_metrics_for_steps(3, 6)
    assert [entry["step"] for entry in entries] == [3, 4, 5, 6]


def test_compute_statistics(metrics: MetricsLogger) -> None:
    values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]
    for step, value in enumerate(values):
        metrics.log_step(step, 0, {"loss": value})
    metrics.log_step(8, 0, {"loss": None})
    metrics.log_step(9, 0, {"loss": "text"})
    metrics.log_step(10, 0, {"loss": math.nan})

    result = metrics.compute_statistics("loss")
    assert set(result) == {"count", "mean", "min", "max", "std"}
    assert (result["count"], result["mean"], result["min"], result["max"]) == (8, 5.0, 2.0, 9.0)
    assert result["std"] == pytest.approx(numpy.std(values, ddof=1), rel=1e-12)
    assert metrics.compute_statistics("unknown")["count"] == 0


def test_log_gradient_norm(metrics: MetricsLogger) -> None:
    for step, norm in enumerate([0.1, 1.7976931348623157e308, 5e-324]):
        metrics.log_step(step, 0, {"grad_norm": norm})
    norms = [entry["metrics"]["grad_norm"] for entry in metrics.get_metrics_history()]
    assert norms == [0.1, 1.7976931348623157e308, 5e-324]


def test_log_learning_rate_schedule(metrics: MetricsLogger) -> None:
    schedule = [3e-4 * (1 + math.cos(math.pi * step / 10)) / 2 for step in range(10)]
    for step, rate in enumerate(schedule):
        metrics.log_step(step, step / 10, {"learning_rate": rate})
    history = metrics.get_metrics_history()
    assert [entry["metrics"]["learning_rate"] for entry in history] == schedule
    assert [entry["epoch"] for entry in history] == [step / 10 for step in range(10)]


def test_log_throughput_metrics(metrics: MetricsLogger) -> None:
    metrics.log_step(1, 0, {"tokens": 8500, "tokens_per_second": 8500.0, "seen": 2**53 + 1})
    read = metrics.get_metrics_history()[0]["metrics"]
    assert read == {"tokens": 8500, "tokens_per_second": 8500.0, "seen": 2**53 + 1}
    assert [type(value) for value in read.values()] == [int, float, int]
    assert '"tokens":8500,"tokens_per_second":8500.0' in metrics.metrics_file.read_text()


def test_handles_nan_inf_values(metrics: MetricsLogger, records: Records) -> None:
    metrics.log_step(1, 0, {"loss": math.nan, "up": math.inf, "down": -math.inf, "lr": 0.5})

    (entry,) = records(metrics.metrics_file)
    assert entry["metrics"] == {"loss": None, "up": None, "down": None, "lr": 0.5}
    assert entry["non_finite"] == {"loss": "NaN", "up": "inf", "down": "-inf"}


def test_concurrent_writes_safe(metrics: MetricsLogger, records: Records) -> None:
    def log(thread: int) -> None:
        for step in range(10):
            metrics.log_step(thread * 10 + step, 0, {f"loss_{thread}": step / 7, "step": step})

    threads = [threading.Thread(target=log, args=(thread,)) for thread in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(entry["step"] for entry in records(metrics.metrics_file)) == list(range(50))


class Color(enum.IntEnum):
    RED = 3


class Loud(dict[str, Any]):
    """A dict that overrides ``items``."""

    def items(self) -> Any:
        return [(name.upper(), value) for name, value in super().items()]


def logged(metrics: MetricsLogger, given: Any) -> dict[str, Any]:
    """Log a step's metrics, and read them back."""
    metrics.log_step(1, 0, given)
    read: dict[str, Any] = metrics.get_metrics_history()[-1]["metrics"]
    return read


def test_numpy_scalars_are_numbers(metrics: MetricsLogger) -> None:
    read = logged(
        metrics,
        {
            "f16": numpy.float16(0.5),
            "f32": numpy.float32(0.5),
            "f64": numpy.float64(0.1),
            "i32": numpy.int32(-7),
            "u64": numpy.uint64(2**63),
            "b": numpy.bool_(True),
            "zero_d": numpy.array(2.5),
            "one": numpy.array([3]),
            "several": numpy.array([1, 2]),
            "nan": numpy.float32("nan"),
        },
    )
    assert read == {
        "f16": 0.5,
        "f32": 0.5,
        "f64": 0.1,
        "i32": -7,
        "u64": 2**63,
        "b": True,
        "zero_d": 2.5,
        "one": 3,
        "several": [1, 2],
        "nan": None,
    }
    assert read["b"] is True


def test_a_step_may_be_a_numpy_integer(metrics: MetricsLogger) -> None:
    for step in numpy.arange(3):
        metrics.log_step(step, numpy.float32(0.5), {"loss": numpy.float32(step / 4)})
    history = metrics.get_metrics_history()
    assert [(entry["step"], entry["epoch"]) for entry in history] == [(0, 0.5), (1, 0.5), (2, 0.5)]
    assert metrics.compute_statistics("loss")["count"] == 3


def test_a_value_whose_code_changes_the_dict_does_not_mix_up_names(metrics: MetricsLogger) -> None:
    class Meddler:
        dtype = "float64"

        def item(self) -> float:
            given.clear()
            given.update(later=1.0, last=2.0)
            return 0.5

    given: dict[str, Any] = {}
    for before in ({"meddler": Meddler(), "loss": 0.25}, {"meddler": Meddler(), "word": "x"}):
        given.clear()
        given.update(before)
        metrics.log_step(1, 0, given)
    assert [entry["metrics"] for entry in metrics.get_metrics_history()] == [
        {"meddler": 0.5, "loss": 0.25},
        {"meddler": 0.5, "word": "x"},
    ]


def test_the_largest_steps_are_exact(metrics: MetricsLogger) -> None:
    for step in (2**63 - 1, 2**63, 2**64 - 1):
        metrics.log_step(step, 2**60, {"loss": 0.5})
    steps = [(entry["step"], entry["epoch"]) for entry in metrics.get_metrics_history()]
    assert steps == [(2**63 - 1, 2**60), (2**63, 2**60), (2**64 - 1, 2**60)]


@pytest.mark.frameworks
def test_torch_scalars_are_numbers(metrics: MetricsLogger) -> None:
    import torch

    read = logged(
        metrics,
        {
            "loss": torch.tensor(0.5, requires_grad=True),
            "count": torch.tensor(3),
            "flag": torch.tensor(True),
            "half": torch.tensor([0.5], dtype=torch.bfloat16),
        },
    )
    assert read == {"loss": 0.5, "count": 3, "flag": True, "half": 0.5}
    assert read["flag"] is True


def test_values_keep_their_types(metrics: MetricsLogger) -> None:
    read = logged(
        metrics,
        {
            "true": True,
            "none": None,
            "text": "x",
            "zero": 0,
            "minus_zero": -0.0,
            "big": 10**25,
            "enum": Color.RED,
            "list": [1, 2.0],
            "decimal": decimal.Decimal("0.1"),
        },
    )
    assert read == {
        "true": True,
        "none": None,
        "text": "x",
        "zero": 0,
        "minus_zero": 0.0,
        "big": 10**25,
        "enum": 3,
        "list": [1, 2.0],
        "decimal": "0.1",
    }
    assert read["true"] is True
    assert math.copysign(1, read["minus_zero"]) == -1


def test_the_kind_of_a_metric_may_change(metrics: MetricsLogger) -> None:
    for value in (1, 1.0, True, 1, 1.0):
        metrics.log_step(1, 0, {"x": value})
    values = [entry["metrics"]["x"] for entry in metrics.get_metrics_history()]
    assert [type(value) for value in values] == [int, float, bool, int, float]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (types.MappingProxyType({"a": 1.5}), {"a": 1.5}),
        (collections.OrderedDict(a=1.5, b=2), {"a": 1.5, "b": 2}),
        (collections.UserDict(a=1.5), {"a": 1.5}),
        (collections.ChainMap({"a": 1.5}, {"b": 2.0}), {"b": 2.0, "a": 1.5}),
        (Loud(a=1.5), {"A": 1.5}),
        ({3: 1.5, None: 2}, {"3": 1.5, "None": 2}),
        ({}, {}),
    ],
)
def test_subclasses_and_proxies_of_dicts_work(
    metrics: MetricsLogger, given: Any, expected: dict[str, Any]
) -> None:
    assert logged(metrics, given) == expected


def test_equal_names_are_the_same_metric_whatever_the_objects(metrics: MetricsLogger) -> None:
    for step in range(40):
        metrics.log_step(step, 0, {"".join(["lo", "ss"]): float(step), f"{'lr'}": 0.5})
    assert metrics.compute_statistics("loss")["count"] == 40


def test_each_step_may_have_new_names(metrics: MetricsLogger) -> None:
    for step in range(200):
        metrics.log_step(step, 0, {f"metric_{step}": float(step)})
    assert len(metrics.get_metrics_history()) == 200
    assert metrics.compute_statistics("metric_150")["mean"] == 150.0


def test_a_step_may_have_many_metrics(metrics: MetricsLogger) -> None:
    given = {f"layer_{number}": number / 8 for number in range(100)}
    assert logged(metrics, given) == given


@pytest.mark.parametrize("step", [-1, 1.5, "three", None])
def test_an_invalid_step_raises(metrics: MetricsLogger, step: Any) -> None:
    with pytest.raises(ValueError, match="`step` must be a non-negative integer, got"):
        metrics.log_step(step, 0, {"loss": 1.0})


def test_an_unknown_durability_raises(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="durability.*must be one of buffered, immediate, synced"):
        MetricsLogger("tiny-lm", tmp_path, durability="often")


@pytest.mark.parametrize("durability", ["buffered", "immediate", "synced"])
def test_close_writes_everything_and_reading_still_works(
    tmp_path: Path, durability: str, records: Records
) -> None:
    with MetricsLogger("tiny-lm", tmp_path, durability=durability) as metrics:
        for step in range(1000):
            metrics.log_step(step, 0, {"loss": 1.0 / (step + 1)})

    assert len(records(metrics.metrics_file)) == 1000
    assert len(metrics.get_metrics_history()) == 1000
    assert metrics.compute_statistics("loss")["count"] == 1000
    with pytest.raises(ValueError, match="the metrics logger is closed: open another"):
        metrics.log_step(1000, 0, {"loss": 0.0})
    with pytest.raises(ValueError, match="the metrics logger is closed: open another"):
        metrics.log_step(1000, 0, {"note": "by name"})


def test_buffered_steps_are_read_back_at_once(tmp_path: Path) -> None:
    metrics = MetricsLogger("tiny-lm", tmp_path, durability="buffered")
    metrics.log_step(1, 0, {"loss": 2.0})
    assert metrics.compute_statistics("loss")["count"] == 1
    assert len(metrics.get_metrics_history()) == 1


def test_loggers_of_one_folder_share_its_run(tmp_path: Path) -> None:
    one, other = MetricsLogger("tiny-lm", tmp_path), MetricsLogger("tiny-lm", tmp_path)
    assert one._run is other._run
    one.close()
    other.log_step(1, 0, {"loss": 1.0})
    assert other.compute_statistics("loss")["count"] == 1


def test_another_experiment_in_the_folder_warns(tmp_path: Path) -> None:
    MetricsLogger("one", tmp_path).log_step(1, 0, {"loss": 1.0})
    with pytest.warns(UserWarning, match="the run folder of experiment 'one'"):
        MetricsLogger("other", tmp_path).log_step(2, 0, {"loss": 1.0})


def test_the_end_of_the_process_writes_what_is_buffered(tmp_path: Path, records: Records) -> None:
    text = (
        "import sys; from model_foundry import MetricsLogger\n"
        "metrics = MetricsLogger('tiny-lm', sys.argv[1], durability='buffered')\n"
        "for step in range(100): metrics.log_step(step, 0, {'loss': 1.0})\n"
    )
    subprocess.run([sys.executable, "-c", text, tmp_path], check=True, timeout=60)
    assert len(records(tmp_path / "metrics.jsonl")) == 100
