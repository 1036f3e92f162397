"""The specification of the performance logger."""

from __future__ import annotations

import json
import logging
import statistics
import sys
import time
import types
from pathlib import Path

import pytest

from model_foundry import _native
from model_foundry.logging_components import PerformanceLogger, StructuredLogger


@pytest.fixture
def performance(caplog: pytest.LogCaptureFixture) -> PerformanceLogger:
    caplog.set_level(logging.DEBUG, logger="test.performance")
    return PerformanceLogger(StructuredLogger("test.performance", "tiny-lm"))


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [json.loads(record.getMessage())["message"] for record in caplog.records]


def test_time_block_measures_duration(performance: PerformanceLogger) -> None:
    with performance.time_block("sleep"):
        time.sleep(0.02)

    (seconds,) = performance.timers["sleep"]
    assert 0.02 <= seconds < 2


def test_time_block_logs_duration(
    performance: PerformanceLogger, caplog: pytest.LogCaptureFixture
) -> None:
    with performance.time_block("sleep") as timed:
        pass
    with performance.time_block("loud", log_level=logging.WARNING):
        pass

    assert messages(caplog)[0] == f"sleep completed in {timed.seconds:.4f}s"
    assert [record.levelno for record in caplog.records] == [logging.DEBUG, logging.WARNING]


def test_time_block_tracks_multiple_calls(performance: PerformanceLogger) -> None:
    for _ in range(5):
        with performance.time_block("it"):
            pass
    assert len(performance.timers["it"]) == 5


def test_time_block_handles_exceptions(
    performance: PerformanceLogger, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(KeyError, match="gone"), performance.time_block("failing"):
        raise KeyError("gone")

    assert len(performance.timers["failing"]) == 1
    assert messages(caplog)[0].startswith("failing failed after ")


def test_get_timing_statistics(performance: PerformanceLogger) -> None:
    samples = [0.1, 0.2, 0.3, 0.4]
    for seconds in samples:
        performance.record("it", seconds)

    result = performance.get_timing_statistics("it")
    assert set(result) == {"count", "mean", "min", "max", "std"}
    assert (result["count"], result["min"], result["max"]) == (4, 0.1, 0.4)
    assert result["mean"] == pytest.approx(0.25, rel=1e-12)
    assert result["std"] == pytest.approx(statistics.stdev(samples), rel=1e-12)
    assert set(performance.get_timing_statistics("unknown").values()) == {0}


def test_get_timing_statistics_single_sample(performance: PerformanceLogger) -> None:
    performance.record("once", 0.5)
    result = performance.get_timing_statistics("once")
    assert result == {"count": 1, "mean": 0.5, "min": 0.5, "max": 0.5, "std": 0.0}


def test_changed_timers_count(performance: PerformanceLogger, tmp_path: Path) -> None:
    performance.record("it", 1.0)
    performance.timers["it"].append(3.0)
    performance.timers["own"] = [2.0]

    assert performance.get_timing_statistics("it")["mean"] == 2.0
    performance.export_timing_report(tmp_path / "report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["it"]["count"], report["own"]["mean"]) == (2, 2.0)


def test_log_memory_usage_cpu(
    performance: PerformanceLogger, caplog: pytest.LogCaptureFixture
) -> None:
    figures = performance.log_memory_usage()

    assert 0 < figures["process_resident"] < figures["machine_total"]
    assert figures["machine_used"] <= figures["machine_total"]
    assert messages(caplog)[0].startswith("Memory - Process: ")
    context = json.loads(caplog.records[0].getMessage())["context"]
    assert context["process_resident"] == figures["process_resident"]


@pytest.mark.frameworks
@pytest.mark.gpu
def test_log_memory_usage_gpu(
    performance: PerformanceLogger, caplog: pytest.LogCaptureFixture
) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("PyTorch finds no GPU")
    tensor = torch.zeros(1 << 28, dtype=torch.uint8, device="cuda")

    figures = performance.log_memory_usage()

    gpu = next(gpu for gpu in figures["gpus"] if "torch_allocated" in gpu)
    assert gpu["torch_allocated"] == torch.cuda.memory_allocated(0) >= tensor.numel()
    assert gpu["torch_reserved"] == torch.cuda.memory_reserved(0)
    logged = [text for text in messages(caplog) if text.startswith("GPU memory - Allocated: ")]
    assert logged and "GB, Reserved: " in logged[0]


def test_pytorch_s_allocator_reports_allocated_and_reserved_memory(
    performance: PerformanceLogger,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = types.SimpleNamespace(
        is_initialized=lambda: True,
        device_count=lambda: 2,
        get_device_properties=lambda index: types.SimpleNamespace(uuid=f"{index}", name="Stand-in"),
        memory_allocated=lambda index: (index + 1) << 30,
        memory_reserved=lambda index: (index + 2) << 30,
    )
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))

    figures = performance.log_memory_usage(step=7)

    assert [gpu["torch_allocated"] for gpu in figures["gpus"]] == [1 << 30, 2 << 30]
    logged = [text for text in messages(caplog) if text.startswith("GPU memory")]
    assert logged == [
        "GPU memory - Allocated: 1.07GB, Reserved: 2.15GB (GPU 0: Stand-in)",
        "GPU memory - Allocated: 2.15GB, Reserved: 3.22GB (GPU 1: Stand-in)",
    ]
    assert json.loads(caplog.records[0].getMessage())["context"]["step"] == 7

    def lost(index: int) -> int:
        raise RuntimeError("device lost")

    cuda.memory_allocated = lost
    assert "device lost" in performance.log_memory_usage()["torch_unavailable"]


def test_reset_timers(performance: PerformanceLogger) -> None:
    performance.record("it", 1.0)
    performance.reset_timers()
    assert performance.timers == {}
    assert performance.get_timing_statistics("it")["count"] == 0


def test_export_timing_report(performance: PerformanceLogger, tmp_path: Path) -> None:
    for seconds in (0.5, 1.5):
        performance.record("forward", seconds)
    performance.record("backward", 4.0)

    performance.export_timing_report(tmp_path / "made" / "report.json")

    report = json.loads((tmp_path / "made" / "report.json").read_text())
    assert list(report) == ["backward", "forward"], "the largest total first"
    forward = report["forward"]
    assert (forward["count"], forward["mean"], forward["total"]) == (2, 1.0, 2.0)
    assert [file.name for file in (tmp_path / "made").iterdir()] == ["report.json"]


def test_a_report_that_cannot_be_written_leaves_the_old_one(
    performance: PerformanceLogger, tmp_path: Path
) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    performance.timers["broken"] = [float("nan")]
    with pytest.raises(ValueError, match='the duration of "broken" must be a non-negative number of seconds'):
        performance.export_timing_report(path)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


def test_nested_time_blocks(performance: PerformanceLogger) -> None:
    with performance.time_block("outer"), performance.time_block("inner"):
        time.sleep(0.005)
    assert performance.timers["outer"][0] > performance.timers["inner"][0]


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_an_invalid_duration_raises(performance: PerformanceLogger, seconds: float) -> None:
    with pytest.raises(ValueError, match="must be a non-negative number of seconds"):
        performance.record("it", seconds)
    assert performance.timers == {}


def test_it_logs_to_a_standard_logger_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="plain")
    performance = PerformanceLogger(logging.getLogger("plain"))
    with performance.time_block("100%s"):
        pass
    assert caplog.records[0].getMessage().startswith("100%s completed in 0.")


def test_the_component_writes_the_messages() -> None:
    assert _native.finished("it", 0.05, False) == "it completed in 0.0500s"
