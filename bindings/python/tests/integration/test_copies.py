"""Loggers that are copied: by pickle, deepcopy, and into the processes of multiprocessing, joblib and cloudpickle."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Records, Script

import model_foundry
from model_foundry import ErrorTracker, MetricsLogger, PerformanceLogger, StructuredLogger


def attempts(folder: Path) -> list[dict[str, Any]]:
    return list(json.loads((folder / "run.json").read_text("utf-8"))["attempts"])


@pytest.fixture
def run(tmp_path: Path) -> Iterator[model_foundry.Run]:
    run = model_foundry.init("tiny-lm", {"lr": 3e-4}, dir=tmp_path / "runs", quiet=True)
    yield run
    run.finish()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, copy.copy, lambda it: pickle.loads(pickle.dumps(it))])
def test_a_copy_logs_to_the_same_run(
    duplicate: Any, run: model_foundry.Run, tmp_path: Path, records: Records
) -> None:
    folder = tmp_path / "runs" / "tiny-lm"
    metrics = MetricsLogger("tiny-lm", folder)
    logger = StructuredLogger("test.copies", "tiny-lm")
    logger.logger.addHandler(logging.NullHandler())
    performance, errors = PerformanceLogger(logger), ErrorTracker(logger, folder)

    duplicate(metrics).log_step(1, 0, {"loss": 1.0})
    duplicate(run).log({"loss": 2.0}, step=2)
    duplicate(logger).info("copied")
    duplicate(performance).record("forward", 0.5)
    duplicate(errors).log_error(ValueError("it"))

    assert duplicate(run).config == {"lr": 3e-4}
    assert [entry["step"] for entry in records(folder / "metrics.jsonl")] == [1, 2]
    assert "copied" in [line["message"] for line in records(folder / "main.log")]
    assert records(folder / "performance.jsonl")[0]["name"] == "forward"
    assert len(records(folder / "errors.jsonl")) == 1
    assert len(attempts(folder)) == 1


def test_a_copy_of_a_closed_logger_reads(tmp_path: Path) -> None:
    metrics = MetricsLogger("tiny-lm", tmp_path)
    metrics.log_step(1, 0, {"loss": 1.0})
    errors = ErrorTracker(logging.getLogger("test.copies"), tmp_path)
    metrics.close()
    duplicate = pickle.loads(pickle.dumps(metrics))
    with pytest.raises(ValueError, match="the metrics logger is closed"):
        duplicate.log_step(1, 0, {})
    assert duplicate.compute_statistics("loss")["count"] == 1
    assert pickle.loads(pickle.dumps(errors)).get_error_summary() == {}
    assert len(attempts(tmp_path)) == 1


def test_a_copy_on_another_machine_makes_no_folder(tmp_path: Path) -> None:
    import shutil

    metrics = MetricsLogger("tiny-lm", tmp_path / "run")
    text = pickle.dumps(metrics)
    metrics.close()
    shutil.rmtree(tmp_path / "run")
    with pytest.warns(UserWarning, match="there is no run folder"):
        pickle.loads(text)
    assert not (tmp_path / "run").exists()


RUNS_OF_WORKERS = """
import multiprocessing, os, sys
import model_foundry

def work(at):
    run = model_foundry.init("tiny-lm", {"at": at}, dir=sys.argv[1], quiet=True)
    run.log({"loss": at})

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[2])
    workers = [context.Process(target=work, args=(at,)) for at in range(2)]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
"""


@pytest.mark.parametrize("kind", ["fork", "forkserver", "spawn"])
def test_the_runs_of_workers_are_completed(kind: str, script: Script, tmp_path: Path) -> None:
    script(RUNS_OF_WORKERS, kind)
    runs = sorted((tmp_path / "run").glob("[!.]*"))
    assert [run.name for run in runs] == ["tiny-lm", "tiny-lm-2"]
    assert [attempts(run)[0]["status"] for run in runs] == ["completed"] * 2


WORKERS = """
import sys
import model_foundry
from model_foundry import MetricsLogger

def work(item):
    run, metrics, at = item
    metrics.log_step(at, 0, {"worker": at})
    run.log({"run": at}, step=at)
    return at

if __name__ == "__main__":
    run = model_foundry.init("tiny-lm", dir=sys.argv[1], quiet=True)
    metrics = MetricsLogger("tiny-lm", run.folder)
    items = [(run, metrics, at) for at in range(8)]
    kind = sys.argv[2]
    if kind == "joblib":
        import joblib
        done = joblib.Parallel(n_jobs=2)(joblib.delayed(work)(item) for item in items)
    elif kind == "cloudpickle":
        import cloudpickle, subprocess
        text = cloudpickle.dumps([(work, item) for item in items])
        code = "import sys, cloudpickle; print([f(i) for f, i in cloudpickle.load(sys.stdin.buffer)])"
        ran = subprocess.run([sys.executable, "-c", code], input=text, check=True, capture_output=True)
        done = eval(ran.stdout)
    else:
        import multiprocessing
        with multiprocessing.get_context(kind).Pool(2) as pool:
            done = pool.map(work, items)
    assert list(done) == list(range(8)), done
    run.finish()
    metrics.close()
"""


@pytest.mark.parametrize("kind", ["spawn", "forkserver", "fork", "joblib", "cloudpickle"])
def test_copies_in_other_processes_are_parts_of_the_attempt(
    kind: str, script: Script, tmp_path: Path, records: Records
) -> None:
    script(WORKERS, kind)

    folder = tmp_path / "run" / "tiny-lm"
    entries = records(folder / "metrics.jsonl")
    assert sorted(entry["step"] for entry in entries) == sorted([*range(8), *range(8)])
    (attempt,) = attempts(folder)
    assert attempt["status"] == "completed"
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["tiny-lm"]
