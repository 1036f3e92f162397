"""Each start is a run of its own, each end is recorded as it was, and each value as what it is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

HEAD = """
import dataclasses, os, sys, time
from model_foundry import MetricsLogger
from model_foundry.trainer import Trainer
"""


def run_of(folder: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return manifest


def python(folder: Path, program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder, as a user does."""
    path = folder / "program.py"
    path.write_text(HEAD + program)
    return subprocess.run(
        [sys.executable, str(path)],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


TRAIN = """
with Trainer({"experiment_name": "tiny", "logging": {"log_to_wandb": False}}) as trainer:
    trainer.train(lambda step: {"loss": 1.0 / step}, steps=10)
"""


def test_two_starts_of_a_trainer_are_two_runs(tmp_path: Path) -> None:
    for _ in range(2):
        assert python(tmp_path, TRAIN).returncode == 0
    for name in ("tiny", "tiny-2"):
        assert len(run_of(tmp_path / "runs" / name)["attempts"]) == 1
    resumed = TRAIN.replace("}}) as", "}}, resume=True) as")
    assert python(tmp_path, resumed).returncode == 0
    assert len(run_of(tmp_path / "runs" / "tiny-2")["attempts"]) == 2


@pytest.mark.parametrize(
    ("end", "code", "status"),
    [
        ("", 0, "completed"),
        ("sys.exit(0)", 0, "completed"),
        ("sys.exit()", 0, "completed"),
        ("sys.exit(3)", 3, "failed"),
        ("sys.exit('a message')", 1, "failed"),
        ("raise ValueError", 1, "failed"),
        ("raise KeyboardInterrupt", 130, "interrupted"),
    ],
)
@pytest.mark.parametrize("inside", [True, False])
def test_how_it_ended_is_recorded(
    tmp_path: Path, end: str, code: int, status: str, inside: bool
) -> None:
    if inside:
        program = f"with MetricsLogger('tiny', 'run') as metrics:\n    metrics.log_step(1, 0, {{'a': 1}})\n    {end or 'pass'}"
    else:
        program = f"metrics = MetricsLogger('tiny', 'run')\nmetrics.log_step(1, 0, {{'a': 1}})\n{end}"
    returned = python(tmp_path, program).returncode
    assert returned in (code, -signal.SIGINT if code == 130 else code)
    (attempt,) = run_of(tmp_path / "run")["attempts"]
    assert attempt["status"] == status
    if status == "interrupted":
        assert attempt["signal"] == "SIGINT"


def test_a_generator_that_is_left_early_completes(tmp_path: Path) -> None:
    program = """
def losses():
    with MetricsLogger("tiny", "run") as metrics:
        for step in range(100):
            metrics.log_step(step, 0, {"loss": 1.0})
            yield step
for step in losses():
    if step == 3:
        break
"""
    assert python(tmp_path, program).returncode == 0
    (attempt,) = run_of(tmp_path / "run")["attempts"]
    assert attempt["status"] == "completed"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_an_exception_in_a_worker_fails_its_attempt(tmp_path: Path, method: str) -> None:
    program = f"""
import multiprocessing
def work():
    metrics = MetricsLogger("tiny", "run")
    metrics.log_step(1, 0, {{"loss": 1.0}})
    raise ValueError("in the worker")
if __name__ == "__main__":
    worker = multiprocessing.get_context({method!r}).Process(target=work)
    worker.start()
    worker.join()
    print(worker.exitcode)
"""
    assert python(tmp_path, program).stdout.strip() == "1"
    (attempt,) = run_of(tmp_path / "run")["attempts"]
    assert attempt["status"] == "failed"


@pytest.mark.parametrize("durability", ["immediate", "buffered"])
@pytest.mark.parametrize(
    ("environment", "status"),
    [({}, "interrupted"), ({"SLURM_JOB_ID": "42"}, "preempted")],
)
def test_sigterm_is_recorded(
    tmp_path: Path, durability: str, environment: dict[str, str], status: str
) -> None:
    path = tmp_path / "program.py"
    path.write_text(
        HEAD
        + f"metrics = MetricsLogger('tiny', 'run', durability={durability!r})\n"
        + "metrics.log_step(1, 0, {'loss': 1.0})\nprint('ready', flush=True)\ntime.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(path)],
        cwd=tmp_path,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.terminate()
    assert process.wait(30) == -signal.SIGTERM
    (attempt,) = run_of(tmp_path / "run")["attempts"]
    assert (attempt["status"], attempt["signal"]) == (status, "SIGTERM")
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 1


def test_ctrl_c_interrupts_a_call_that_waits(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(
        HEAD
        + "import queue\nmetrics = MetricsLogger('tiny', 'run', durability='buffered')\n"
        + "metrics.log_step(1, 0, {'loss': 1.0})\nprint('ready', flush=True)\nqueue.Queue().get()\n"
    )
    process = subprocess.Popen([sys.executable, str(path)], cwd=tmp_path, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    process.wait(30)
    (attempt,) = run_of(tmp_path / "run")["attempts"]
    assert attempt["status"] == "interrupted"


def test_a_cell_that_is_run_again_is_another_attempt(tmp_path: Path) -> None:
    held = []
    for _ in range(3):
        metrics = MetricsLoggerOf(tmp_path)
        held.append(metrics._run)
        for step in range(5):
            metrics.log_step(step, 0, {"loss": 1.0})
        metrics.close()
    attempts = run_of(tmp_path / "run")["attempts"]
    assert [attempt["status"] for attempt in attempts] == ["completed"] * 3


def MetricsLoggerOf(tmp_path: Path) -> Any:
    from model_foundry import MetricsLogger

    return MetricsLogger("tiny", tmp_path / "run")


def test_steps_that_go_back_are_warned_about_once(tmp_path: Path) -> None:
    with MetricsLoggerOf(tmp_path) as metrics:
        for _ in range(3):
            for step in range(20):
                metrics.log_step(step, 0, {"loss": 1.0})
    log = (tmp_path / "run" / "main.log").read_text().splitlines()
    warnings = [line for line in log if "was logged after step" in line]
    assert len(warnings) == 1


def test_values_are_recorded_as_what_they_are(tmp_path: Path) -> None:
    import collections

    import numpy

    with pytest.warns(UserWarning, match="20000 elements"), MetricsLoggerOf(tmp_path) as metrics:
        metrics.log_step(
            1.0,
            0,
            {
                "train": {"loss": 0.5, "parts": {"a": 1}},
                "array": numpy.arange(3),
                "matrix": numpy.eye(2),
                "set": {1},
                "deque": collections.deque([1, 2]),
                "range": range(3),
                "big": 10**30,
                "masked": numpy.ma.masked,
                "of_masked": numpy.ma.array([1, 2], mask=[False, True]),
                "long": numpy.longdouble("1.5"),
                "long_array": numpy.ones(2, dtype=numpy.longdouble),
                "keys": [{1: "a", "1": "b"}],
                "many": numpy.zeros((200, 100)),
                "bytes": b"ab",
            },
        )
        metrics.log_step("2", 0, {"loss": 0.25})
    first, second = metrics.get_metrics_history()
    assert (first["step"], second["step"]) == (1, 2)
    values = first["metrics"]
    assert len(values.pop("many")) == 10_000
    assert values == {
        "train/loss": 0.5,
        "train/parts/a": 1,
        "array": [0, 1, 2],
        "matrix": [[1.0, 0.0], [0.0, 1.0]],
        "set": [1],
        "deque": [1, 2],
        "range": [0, 1, 2],
        "big": 10**30,
        "masked": None,
        "of_masked": [1, None],
        "long": 1.5,
        "long_array": [1.0, 1.0],
        "keys": [{"1": "a", "1 (str)": "b"}],
        "bytes": "b'ab'",
    }


def test_configurations_are_unfolded(tmp_path: Path) -> None:
    import argparse
    import dataclasses

    from model_foundry._runs import unfolded

    @dataclasses.dataclass
    class Optimizer:
        lr: float
        betas: tuple[float, float]

    namespace = argparse.Namespace(steps=10, optimizer=Optimizer(0.1, (0.9, 0.99)))
    assert unfolded({"training": namespace}) == {
        "training": {"steps": 10, "optimizer": {"lr": 0.1, "betas": [0.9, 0.99]}}
    }


def test_a_large_seed_keeps_its_digits(tmp_path: Path) -> None:
    seed = 2**127 + 1
    with MetricsLoggerOf(tmp_path) as metrics:
        metrics.configure(training={"seed": seed, "seeds": [2**64 - 1, -(2**63) - 1], "amp": True})
    assert run_of(tmp_path / "run")["configuration"]["training"] == {
        "seed": str(seed),
        "seeds": [2**64 - 1, str(-(2**63) - 1)],
        "amp": True,
    }


def test_configuration_can_be_added_after_opening(tmp_path: Path) -> None:
    with MetricsLoggerOf(tmp_path) as metrics:
        metrics.log_step(1, 0, {"loss": 1.0})
        metrics.configure(model={"layers": 2}, training={"lr": 0.1})
        metrics.configure(model={"width": 64})
    run = run_of(tmp_path / "run")
    assert run["configuration"]["model"] == {"layers": 2, "width": 64}
    assert run["attempts"][0]["configuration"]["training"] == {"lr": 0.1}
    assert run["attempts"][0]["versions"]["python"]
