"""What a Trainer logs, over a small real training run."""

from __future__ import annotations

import json
import logging
import math
import sys
import types
from pathlib import Path
from typing import Any

import numpy
import pytest
from conftest import Records, Script

from model_foundry.config import ExperimentConfig
from model_foundry.trainer import Trainer


class Classifier:
    """Logistic regression on |x|², which classifies points as inside or outside the unit circle."""

    def __init__(self, learning_rate: float = 0.5) -> None:
        self.random = numpy.random.default_rng(1)
        self.learning_rate = learning_rate
        self.weights = numpy.zeros(2)
        self.x = numpy.empty((0, 2))

    def process_data(self, trainer: Trainer, points: int = 256) -> None:
        trainer.logger.info("processing data", source="generated", points=points)
        with trainer.performance.time_block("process_data") as timed:
            self.x = self.random.uniform(-1.5, 1.5, size=(points, 2))
            trainer.logger.debug("drew points", first=self.x[0].tolist())
        inside = int(((self.x**2).sum(axis=1) < 1).sum())
        trainer.logger.info("processed data", points=points, inside=inside, seconds=timed.seconds)

    def __call__(self, step: int) -> dict[str, Any]:
        radius = (self.x**2).sum(axis=1)
        features = numpy.stack([radius, numpy.ones_like(radius)], axis=1)
        labels = (radius < 1).astype(float)
        odds = numpy.clip(features @ self.weights, -500, 500)
        probability = 1 / (1 + numpy.exp(-odds))
        chosen = numpy.clip(numpy.where(labels == 1, probability, 1 - probability), 1e-12, 1)
        loss = -numpy.log(chosen).mean()
        gradient = features.T @ (probability - labels) / len(labels)
        self.weights -= self.learning_rate * gradient
        if not math.isfinite(self.weights.sum()):
            raise ArithmeticError(f"the weights are not finite at step {step}")
        return {
            "loss": loss,
            "accuracy": ((probability > 0.5) == labels).mean(),
            "detailed": {"grad_norm": numpy.linalg.norm(gradient), "lr": self.learning_rate},
        }


def make(tmp_path: Path, model: Classifier | None = None, **settings: Any) -> tuple[Trainer, Classifier]:
    """A trainer without a Weights & Biases log, and a model that has its data."""
    config = {
        "experiment_name": "tiny",
        "training": {"output_dir": "out", "steps_per_epoch": 8},
        "logging": {"log_to_wandb": False, **settings},
    }
    trainer = Trainer(config, tmp_path)
    model = model or Classifier()
    model.process_data(trainer)
    return trainer, model


EACH_STEP: dict[str, Any] = {
    "log_metrics_every_n_steps": 1,
    "log_detailed_metrics_every_n_steps": 1,
    "log_memory_every_n_steps": 1,
}


def test_trainer_uses_structured_logging(tmp_path: Path, records: Records) -> None:
    trainer, model = make(tmp_path)
    trainer.train(model, steps=16)

    log = records(tmp_path / "out" / "main.log")
    messages = [record["message"] for record in log]
    for message in ("processing data", "processed data", "training began", "training ended"):
        assert message in messages
    epochs = [record["context"] for record in log if record["message"] == "epoch ended"]
    assert [(epoch["step"], epoch["epoch"]) for epoch in epochs] == [(8, 0), (16, 1)]
    for record in log:
        assert record["logger"] == "model_foundry.tiny"
        assert {"experiment", "git_hash", "device"} <= set(record["context"])


def test_its_records_reach_the_standard_logger_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    trainer, _ = make(tmp_path)
    trainer.logger.update_context(phase="warmup")
    trainer.logger.info("hello", step=1)
    line = json.loads(caplog.records[-1].getMessage())
    assert line["message"] == "hello"
    assert (line["context"]["phase"], line["context"]["step"]) == ("warmup", 1)


def test_training_loop_logs_metrics(tmp_path: Path) -> None:
    trainer, model = make(
        tmp_path, log_metrics_every_n_steps=1, log_detailed_metrics_every_n_steps=1000
    )
    trainer.train(model, steps=10)

    entries = trainer.metrics.get_metrics_for_steps(0, 100)
    assert [entry["step"] for entry in entries] == list(range(1, 11))
    assert all(entry["metrics"]["loss"] > 0 for entry in entries)
    assert trainer.metrics.metrics_file == tmp_path / "out" / "metrics.jsonl"


def test_the_trainer_learns(tmp_path: Path) -> None:
    trainer, model = make(tmp_path)
    trainer.train(model, steps=400)
    loss = trainer.metrics.compute_statistics("loss")
    assert loss["count"] == 40, "every tenth step by default"
    assert loss["min"] < loss["max"] / 2


def test_metrics_follow_the_configured_intervals(tmp_path: Path, records: Records) -> None:
    trainer, model = make(
        tmp_path,
        log_metrics_every_n_steps=5,
        log_detailed_metrics_every_n_steps=20,
        log_memory_every_n_steps=50,
    )
    trainer.train(model, steps=100)

    entries = trainer.metrics.get_metrics_for_steps(0, 1000)

    def steps_with(name: str) -> list[int]:
        return [entry["step"] for entry in entries if name in entry["metrics"]]

    assert steps_with("loss") == list(range(5, 101, 5))
    assert steps_with("grad_norm") == [20, 40, 60, 80, 100]
    lines = records(tmp_path / "out" / "performance.jsonl")
    assert [line["step"] for line in lines if "step" in line] == [50, 100]


@pytest.mark.parametrize(
    ("console", "file"), [("WARNING", "INFO"), ("DEBUG", "ERROR"), ("INFO", "DEBUG")]
)
def test_console_and_file_levels_filter(
    tmp_path: Path,
    records: Records,
    capfd: pytest.CaptureFixture[str],
    console: str,
    file: str,
) -> None:
    trainer, _ = make(tmp_path, console_level=console, file_level=file)
    trainer.logger.warning("a warning")
    trainer.logger.error("an error")

    levels = ["DEBUG", "INFO", "WARNING", "ERROR"]
    shown = capfd.readouterr().err
    written = {record["level"] for record in records(tmp_path / "out" / "main.log")}
    assert written == set(levels[levels.index(file) :])
    for level in levels:
        expected = levels.index(level) >= levels.index(console)
        assert (f" {level} model_foundry.tiny: " in shown) == expected, (level, shown)


def test_errors_logged_to_error_file(tmp_path: Path, records: Records) -> None:
    trainer, model = make(tmp_path, Classifier(learning_rate=math.inf))
    with pytest.raises(FileExistsError):
        (tmp_path / "out" / "checkpoints").write_text("a file in place of the folder")
        trainer.checkpoint(lambda path: path.write_bytes(b""))
    (tmp_path / "out" / "checkpoints").unlink()

    def refuse(path: Path) -> None:
        raise OSError("disk full") from ValueError("the cause")

    with pytest.raises(OSError, match="disk full"):
        trainer.checkpoint(refuse)
    with pytest.raises(ArithmeticError), trainer:
        trainer.train(model, steps=10)

    errors = records(tmp_path / "out" / "errors.jsonl")
    assert [error["error_type"] for error in errors] == ["OSError", "ArithmeticError"]
    assert "ValueError: the cause" in errors[0]["traceback"]
    assert errors[1]["context"] == {"step": 1}
    assert "in __call__" in errors[1]["traceback"]
    levels = [record["level"] for record in records(tmp_path / "out" / "main.log")]
    assert levels.count("ERROR") == 2
    manifest = json.loads((tmp_path / "out" / "run.json").read_text())
    assert manifest["attempts"][-1]["status"] == "failed"


def test_checkpoint_logging(tmp_path: Path, records: Records) -> None:
    trainer, model = make(tmp_path)
    trainer.train(model, steps=8)

    path = trainer.checkpoint(lambda path: path.write_bytes(b"x" * 1_500_000))

    assert path == tmp_path / "out" / "checkpoints" / "step-8.ckpt"
    log = {record["message"]: record["context"] for record in records(tmp_path / "out" / "main.log")}
    assert (log["saving checkpoint"]["step"], log["saving checkpoint"]["path"]) == (8, str(path))
    saved = log["saved checkpoint"]
    assert (saved["step"], saved["size_mb"]) == (8, 1.5)
    assert [saved["seconds"]] == trainer.performance.timers["checkpoint"]
    assert f"checkpoint completed in {saved['seconds']:.4f}s" in log


def test_data_processing_logging(tmp_path: Path, records: Records) -> None:
    trainer, _ = make(tmp_path)
    log = {record["message"]: record for record in records(tmp_path / "out" / "main.log")}
    assert log["processing data"]["context"]["source"] == "generated"
    processed = log["processed data"]["context"]
    assert processed["points"] == 256
    assert [processed["seconds"]] == trainer.performance.timers["process_data"]
    assert log["drew points"]["level"] == "DEBUG"


class FakeRun:
    """A stand-in for a run of the wandb package."""

    url = "https://wandb.example/run"

    def __init__(self) -> None:
        self.logged: list[tuple[Any, dict[str, Any]]] = []
        self.summary: dict[str, Any] = {}
        self.ended: list[int | None] = []

    def log(self, metrics: dict[str, Any], step: int | None = None) -> None:
        self.logged.append((step, metrics))

    def finish(self, exit_code: int | None = None) -> None:
        self.ended.append(exit_code)


def test_wandb_integration_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    # Without the wandb package, the component writes an offline run.
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    config = {"experiment_name": "tiny", "training": {"output_dir": "own"}, "logging": {"log_to_wandb": True}}
    with Trainer(config, tmp_path) as trainer:
        trainer.train(lambda step: {"loss": 1.0 / step}, steps=20)
    (log,) = (tmp_path / "own").glob("wandb/offline-run-*/run-*.wandb")
    assert log.read_bytes()[:4] == b":W&B"

    # With the package, the metrics go to it, and the component writes no second run.
    run = FakeRun()
    package = types.ModuleType("wandb")
    package.init = lambda **_: run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", package)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: package)
    with Trainer({"experiment_name": "tiny", "training": {"output_dir": "theirs"}}, tmp_path) as trainer:
        trainer.train(lambda step: {"loss": 1.0 / step}, steps=20)
    assert run.logged == [(10, {"loss": 0.1}), (20, {"loss": 0.05})]
    assert run.ended == [None]
    assert not (tmp_path / "theirs" / "wandb").exists()

    # If the package cannot start, the component writes an offline run.
    def refuse(**_: Any) -> None:
        raise RuntimeError("no API key")

    package.init = refuse  # type: ignore[attr-defined]
    with pytest.warns(UserWarning, match="RuntimeError: no API key"):
        trainer = Trainer({"experiment_name": "tiny", "training": {"output_dir": "ours"}}, tmp_path)
    with trainer:
        trainer.train(lambda step: {"loss": 1.0 / step}, steps=20)
    assert len(list((tmp_path / "ours").glob("wandb/offline-run-*/run-*.wandb"))) == 1


def test_log_files_rotate_by_size(tmp_path: Path, records: Records) -> None:
    trainer, _ = make(tmp_path, max_log_size_mb=1, max_log_files=10, console_level="CRITICAL")
    for number in range(300):
        trainer.logger.info("filler", number=number, text="x" * 10_000)

    files = sorted((tmp_path / "out").glob("main.log*"))
    assert len(files) == 3
    numbers = [
        record["context"]["number"]
        for file in files
        for record in records(file)
        if record["message"] == "filler"
    ]
    assert sorted(numbers) == list(range(300))
    assert all(file.stat().st_size < 1.1 * 2**20 for file in files)


def test_log_files_pruned_to_max(tmp_path: Path, records: Records) -> None:
    trainer, _ = make(tmp_path, max_log_size_mb=1, max_log_files=2, console_level="CRITICAL")
    for number in range(500):
        trainer.logger.info("filler", number=number, text="x" * 10_000)

    assert sorted(file.name for file in (tmp_path / "out").glob("main.log*")) == [
        "main.log",
        "main.log.1",
    ]
    assert records(tmp_path / "out" / "main.log")[-1]["context"]["number"] == 499


def test_resume_appends_and_keeps_statistics(tmp_path: Path) -> None:
    trainer, model = make(tmp_path, **EACH_STEP)
    with trainer:
        trainer.train(model, steps=10)
        before = trainer.metrics.compute_statistics("loss")

    trainer, _ = make(tmp_path, model, **EACH_STEP)
    trainer.step = 10
    assert trainer.metrics.compute_statistics("loss") == before
    trainer.train(model, steps=5)

    assert trainer.metrics.compute_statistics("loss")["count"] == 15
    steps = {entry["step"] for entry in trainer.metrics.get_metrics_for_steps(0, 100)}
    assert steps == set(range(1, 16))


@pytest.mark.parametrize("durability", ["buffered", "immediate", "synced"])
def test_end_to_end_with_everything_enabled(
    tmp_path: Path, records: Records, durability: str
) -> None:
    trainer, model = make(
        tmp_path, **EACH_STEP, durability=durability, profile_performance=True, console_level="CRITICAL"
    )
    with trainer:
        trainer.train(model, steps=50)
        trainer.checkpoint(lambda path: path.write_text("weights"))
        trainer.errors.log_error(OSError("lost a worker"), {"worker": 3})
        trainer.logger.update_context(phase="test")
        trainer.logger.critical("the loader failed")
        live = trainer.metrics.compute_statistics("loss")

    out = tmp_path / "out"
    for name in ("run.json", "main.log", "metrics.jsonl", "errors.jsonl", "performance.jsonl"):
        assert (out / name).is_file()
    manifest = json.loads((out / "run.json").read_text())
    assert manifest["configuration"]["logging"]["durability"] == durability
    assert manifest["configuration"]["training"]["steps_per_epoch"] == 8
    (attempt,) = manifest["attempts"]
    assert attempt["status"] == "completed"
    assert attempt["component_failures"] == attempt["storage_failures"] == 0
    losses = [
        entry["metrics"]["loss"]
        for entry in records(out / "metrics.jsonl")
        if "loss" in entry.get("metrics", {})
    ]
    assert live["count"] == len(losses) == 50
    assert live["mean"] == pytest.approx(sum(losses) / 50)
    report = json.loads((out / "timing_report.json").read_text())
    assert report["step"]["count"] == 50 and report["checkpoint"]["count"] == 1
    assert [error["error_type"] for error in records(out / "errors.jsonl")] == ["OSError"]
    last = records(out / "main.log")[-1]
    assert (last["level"], last["context"]["phase"]) == ("CRITICAL", "test")


def test_a_closed_trainer_can_be_read(tmp_path: Path) -> None:
    trainer, model = make(tmp_path, **EACH_STEP)
    with trainer:
        trainer.train(model, steps=3)

    trainer.logger.info("to the standard logger only")
    with trainer.performance.time_block("later"):
        pass
    assert trainer.metrics.compute_statistics("loss")["count"] == 3
    assert len(trainer.metrics.get_metrics_history()) == 6
    with pytest.raises(ValueError, match="the metrics logger is closed: open another"):
        trainer.metrics.log_step(4, 0, {"loss": 1.0})
    with pytest.warns(UserWarning, match="not logged: ValueError: the run has ended: open another"):
        trainer.errors.log_error(ValueError("it"))
    manifest = json.loads((tmp_path / "out" / "run.json").read_text())
    assert [attempt["status"] for attempt in manifest["attempts"]] == ["completed"]


def test_metrics_may_have_any_name(tmp_path: Path, records: Records) -> None:
    names = ["step", "epoch", "message", "level", "self", "exc_info"]
    trainer, _ = make(tmp_path, **EACH_STEP)
    trainer.train(lambda step: dict.fromkeys(names, 1.0), steps=8)
    assert set(trainer.metrics.get_metrics_history()[0]["metrics"]) == set(names)
    log = records(tmp_path / "out" / "main.log")
    assert any(record["message"] == "epoch ended" for record in log)


def test_steps_come_from_the_configuration(tmp_path: Path) -> None:
    config = ExperimentConfig.model_validate(
        {"experiment_name": "tiny", "training": {"max_steps": 4}, "logging": {"log_to_wandb": False}}
    )
    seen: list[int] = []
    trainer = Trainer(config, tmp_path)
    trainer.train(lambda step: seen.append(step))
    assert seen == [1, 2, 3, 4]
    assert trainer.output_dir == tmp_path / "runs" / "tiny"
    config.training.max_steps = None  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="the number of steps is missing"):
        trainer.train(lambda step: None)


def test_a_seed_makes_runs_the_same(tmp_path: Path) -> None:
    drawn = []
    for _ in range(2):
        config = {"experiment_name": "tiny", "random_seed": 7, "logging": {"log_to_wandb": False}}
        with Trainer(config, tmp_path) as trainer:
            trainer.train(lambda step: drawn.append(numpy.random.random()), steps=2)
    assert drawn[:2] == drawn[2:]


def test_an_interrupted_program_is_an_interrupted_attempt(script: Script, tmp_path: Path) -> None:
    script(
        """
import sys
from model_foundry.trainer import Trainer
trainer = Trainer({"experiment_name": "tiny", "training": {"output_dir": sys.argv[1]}})
def step(n):
    if n == 3: raise KeyboardInterrupt
trainer.train(step, steps=5)
""",
        check=False,
    )
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    assert manifest["attempts"][-1]["status"] == "interrupted"
