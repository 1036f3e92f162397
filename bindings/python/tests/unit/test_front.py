"""The front door: init, log, config, summary, alert, finish."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, Records

import model_foundry

SCRIPTS = Path(__file__).parent.parent / "scripts"


@pytest.fixture(autouse=True)
def in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    yield
    model_foundry.finish()


def manifest(folder: Path | str) -> dict[str, Any]:
    return dict(json.loads((Path(folder) / "run.json").read_text("utf-8")))


def test_a_run_is_begun_logged_to_and_finished(tmp_path: Path, records: Records) -> None:
    run = model_foundry.init("tiny-lm", config={"lr": 3e-4})
    for step in range(3):
        run.log({"loss": 1.0 / (step + 1)})
    run.log({"loss": 0.1}, step=10)
    run.log({"loss": 0.05})
    run.summary["best"] = 0.05
    run.finish()

    folder = tmp_path / "runs" / "tiny-lm"
    entries = records(folder / "metrics.jsonl")
    assert [entry["step"] for entry in entries] == [0, 1, 2, 10, 11]
    (attempt,) = manifest(folder)["attempts"]
    assert attempt["status"] == "completed"
    assert attempt["parameters"] == {"lr": 3e-4} == manifest(folder)["parameters"]
    assert attempt["results"] == {"best": 0.05}


def test_each_start_is_a_run_and_resume_counts_on(tmp_path: Path, records: Records) -> None:
    for resume in (None, None, True):
        with model_foundry.init("tiny-lm", resume=resume) as run:
            run.log({"loss": 1.0})
            run.log({"loss": 0.5})
    runs = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert runs == ["tiny-lm", "tiny-lm-2"]
    entries = records(tmp_path / "runs" / "tiny-lm-2" / "metrics.jsonl")
    assert [(entry.get("attempt", 1), entry["step"]) for entry in entries] == [
        (1, 0),
        (1, 1),
        (2, 2),
        (2, 3),
    ]


def test_starts_with_one_id_are_attempts_at_one_run(tmp_path: Path) -> None:
    for _ in range(2):
        with model_foundry.init("tiny-lm", id="mine", resume="allow") as run:
            assert run.id == "mine"
    assert [path.name for path in (tmp_path / "runs").glob("[!.]*")] == ["tiny-lm"]
    assert len(manifest("runs/tiny-lm")["attempts"]) == 2


def test_a_run_that_must_exist_and_does_not_raises() -> None:
    with pytest.raises(ValueError, match="there is no run"):
        model_foundry.init("tiny-lm", resume="nothing")


def test_the_functions_of_the_package_are_those_of_the_open_run(tmp_path: Path) -> None:
    assert model_foundry.run is None
    with pytest.warns(UserWarning, match=r"log\(\) logs nothing: no run is open, call init\(\) first"):
        model_foundry.log({"loss": 1.0})
    run = model_foundry.init("tiny-lm")
    assert model_foundry.run is run
    model_foundry.log({"loss": 0.5})
    model_foundry.config.lr = 3e-4
    model_foundry.config["layers"] = 2
    model_foundry.config.update(argparse.Namespace(dim=8))
    model_foundry.summary["best"] = 0.5
    assert run.config.as_dict() == {"lr": 3e-4, "layers": 2, "dim": 8} == dict(model_foundry.config)
    assert run.summary.as_dict() == {"loss": 0.5, "best": 0.5}
    model_foundry.finish()
    assert model_foundry.run is None
    assert manifest(tmp_path / "runs" / "tiny-lm")["parameters"]["layers"] == 2
    # The module is still a module.
    assert model_foundry.config.LoggingConfig().max_log_files == 10


def test_secrets_of_the_parameters_are_masked() -> None:
    with model_foundry.init("tiny-lm", {"hf": {"api_key": "hunter2"}, "token": "hf_abcdefghijkl"}):
        pass
    assert "hunter2" not in Path("runs/tiny-lm/run.json").read_text()
    assert manifest("runs/tiny-lm")["parameters"]["token"] == "***"


def test_an_alert_is_a_record_and_a_line_on_the_terminal(
    records: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    with model_foundry.init("tiny-lm") as run:
        run.alert("loss is NaN", text="at step 10", level="ERROR")
    (alert,) = [line for line in records(Path("runs/tiny-lm/main.log")) if "alert" in line["context"]]
    assert (alert["level"], alert["message"]) == ("ERROR", "loss is NaN: at step 10")
    assert "model_foundry: ERROR: loss is NaN: at step 10\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("it"), "failed"), (SystemExit(3), "failed"), (KeyboardInterrupt(), "interrupted")],
)
def test_with_ends_as_its_block_does(error: BaseException, status: str) -> None:
    with pytest.raises(type(error)), model_foundry.init("tiny-lm"):
        raise error
    assert manifest("runs/tiny-lm")["attempts"][0]["status"] == status
    assert Path("runs/tiny-lm/errors.jsonl").exists() == isinstance(error, Exception)


def test_finish_with_an_exit_code_is_a_failure_and_later_calls_warn() -> None:
    run = model_foundry.init("tiny-lm")
    run.finish(exit_code=2)
    assert manifest("runs/tiny-lm")["attempts"][0]["status"] == "failed"
    with pytest.warns(UserWarning, match="the run has finished"):
        run.log({"loss": 1.0})
    run.finish()


def test_a_second_init_finishes_the_run_before() -> None:
    first = model_foundry.init("tiny-lm")
    assert model_foundry.init("tiny-lm", reinit="return_previous") is first
    second = model_foundry.init("tiny-lm")
    assert manifest("runs/tiny-lm")["attempts"][0]["status"] == "completed"
    assert second.folder == Path("runs/tiny-lm-2").resolve()


def test_a_disabled_run_writes_nothing(tmp_path: Path) -> None:
    run = model_foundry.init("tiny-lm", {"lr": 1}, mode="disabled")
    run.log({"loss": 1.0})
    run.summary["best"] = 1.0
    run.alert("it")
    assert (run.config.lr, run.summary["loss"], run.folder) == (1, 1.0, None)
    run.finish()
    assert list(tmp_path.iterdir()) == []


def test_nothing_that_is_logged_raises(records: Records) -> None:
    run = model_foundry.init("tiny-lm")
    with pytest.warns(UserWarning):
        run.log({"loss": 1.0}, step="soon")
        run.log({"loss": 1.0}, step=-1)
        run.log([1, 2])
        run.log(3, {"loss": 0.5})
        run.log({"loss": 1.0}, epoch=float("inf"))
        run.config.update("text")
    entries = records(Path("runs/tiny-lm/metrics.jsonl"))
    assert [entry["step"] for entry in entries] == [0, 1, 2, 3, 4]
    assert entries[2]["metrics"] == {"metrics": [1, 2]}
    assert entries[3]["metrics"] == {"loss": 0.5}


def test_the_folder_may_be_left_and_moved(tmp_path: Path, records: Records) -> None:
    run = model_foundry.init("tiny-lm", dir="there")
    (tmp_path / "elsewhere").mkdir()
    os.chdir(tmp_path / "elsewhere")
    run.log({"loss": 1.0})
    (tmp_path / "there" / "tiny-lm").rename(tmp_path / "moved")
    run.log({"loss": 0.5})
    run.logger.info("moved")
    assert run.folder == tmp_path / "moved"
    assert len(run.history()) == 2
    run.finish()
    assert len(records(tmp_path / "moved" / "metrics.jsonl")) == 2
    assert manifest(tmp_path / "moved")["attempts"][0]["status"] == "completed"
    assert not (tmp_path / "there" / "tiny-lm").exists()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_forked_process_finds_the_folder_that_was_moved(tmp_path: Path, records: Records) -> None:
    run = model_foundry.init("tiny-lm")
    run.log({"loss": 1.0})
    Path("runs/tiny-lm").rename("moved")
    child = os.fork()
    if child == 0:
        run.log({"loss": 0.5})
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert len(records(tmp_path / "moved" / "metrics.jsonl")) == 2
    assert not Path("runs/tiny-lm").exists()


def test_what_is_resumed_is_never_another_run() -> None:
    def begin(**arguments: Any) -> str:
        with model_foundry.init("tiny-lm", **arguments) as run:
            return run.dir

    first = begin(id="mine")
    assert begin(resume="allow", id=None) != first, "without an id it is a new run"
    assert begin(resume="allow", id="mine") == first
    assert begin(resume="must", id="mine") == first
    with pytest.raises(ValueError, match="there is no run with the id 'other'"):
        begin(resume="must", id="other")
    with pytest.raises(ValueError, match="there is a run with the id 'mine' already"):
        begin(resume="never", id="mine")
    named = begin(name="seed-1")
    assert begin(resume="allow", name="seed-1") == named
    assert begin(resume="allow", name="seed-2") != named


def test_a_resumed_run_has_its_parameters_and_results() -> None:
    with model_foundry.init("tiny-lm", {"lr": 3e-4}) as run:
        run.summary["best"] = 0.5
    with model_foundry.init("tiny-lm", {"epochs": 2}, resume=True) as run:
        assert run.config == {"lr": 3e-4, "epochs": 2}
        assert run.summary.get("best") == 0.5
    assert manifest("runs/tiny-lm")["parameters"] == {"lr": 3e-4, "epochs": 2}


def test_a_run_beside_the_open_one_leaves_it_alone(records: Records) -> None:
    outer = model_foundry.init("outer")
    inner = model_foundry.init("inner", reinit="create_new")
    inner.log({"loss": 1.0})
    inner.finish()
    assert model_foundry.run is outer
    model_foundry.log({"loss": 0.5})
    assert len(records(Path("runs/outer/metrics.jsonl"))) == 1


def test_the_parameters_may_be_anything() -> None:
    class Parameters:
        def __init__(self) -> None:
            self.lr = 3e-4
            self.act = len

    cyclic: dict[str, Any] = {"lr": 3e-4}
    cyclic["self"] = cyclic
    for given in (Parameters(), argparse.Namespace(lr=3e-4, kind=Parameters), cyclic):
        with model_foundry.init("tiny-lm", given) as run:
            assert run.config.lr == 3e-4
            folder = run.dir
        assert manifest(folder)["parameters"]["lr"] == 3e-4
    with model_foundry.init("tiny-lm", argparse.Namespace(betas=(0.9, 0.99), out=Path("x"))) as run:
        assert (run.config.betas, run.config.out) == ((0.9, 0.99), Path("x"))
        del run.config.out


def test_a_summary_keeps_no_tensors() -> None:
    import numpy

    with model_foundry.init("tiny-lm") as run:
        run.log({"loss": numpy.float32(0.5), "weights": numpy.zeros(10), "note": "x"})
        assert run.summary.as_dict() == {"loss": 0.5, "note": "x"}
        assert type(run.summary["loss"]) is float


def test_threads_count_their_steps_together(records: Records) -> None:
    import threading

    with model_foundry.init("tiny-lm") as run:
        threads = [
            threading.Thread(target=lambda: [run.log(it) for it in [{"loss": 1.0}] * 200])  # type: ignore[func-returns-value]
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    steps = [entry["step"] for entry in records(Path("runs/tiny-lm/metrics.jsonl"))]
    assert sorted(steps) == list(range(800))


def test_tables_and_histograms_never_raise(records: Records) -> None:
    import numpy

    histogram = model_foundry.Histogram(numpy.arange(128.0), num_bins=2)
    assert (histogram.counts, histogram.bins) == ([64, 64], [0.0, 63.5, 127.0])
    assert model_foundry.Histogram([1, 1, 3], num_bins=2).counts == [2, 1]
    assert model_foundry.Table(columns=numpy.array(["a"]), data=[1, 2]).data == [[1], [2]]
    assert model_foundry.Table(data={"a": [1], "b": [2]}).columns == ["a", "b"]
    with pytest.warns(UserWarning, match="a histogram was not recorded"):
        assert model_foundry.Histogram(["a"]).counts == []


def test_a_run_ends_whatever_was_timed() -> None:
    run = model_foundry.init("tiny-lm")
    run.performance.timers["forward"] = [float("nan")]
    with pytest.warns(UserWarning, match="timing_report.json was not written"):
        run.finish()
    assert manifest("runs/tiny-lm")["attempts"][0]["status"] == "completed"


@pytest.mark.parametrize("name", ["a/b", ".hidden", "two\nlines", "x" * 300, "\ud800"])
def test_any_name_makes_a_folder(name: str) -> None:
    with model_foundry.init(name) as run:
        assert run.folder is not None and run.folder.is_dir()


def test_the_configuration_of_a_finished_run_stays_its_own() -> None:
    import copy

    model_foundry.init("tiny-lm", {"lr": 1, "json": 2})
    first: Any = model_foundry.config
    assert (first.json, copy.deepcopy(first).lr) == (2, 1)
    model_foundry.finish()
    model_foundry.init("tiny-lm", {"lr": 5})
    second: Any = model_foundry.config
    assert (first.lr, second.lr) == (1, 5)


@pytest.mark.parametrize("tracker", ["wandb", "trackio"])
def test_a_script_of_another_tracker_runs_with_another_import(
    tracker: str, tmp_path: Path, records: Records
) -> None:
    text = (SCRIPTS / f"of_{tracker}.py").read_text()
    path = tmp_path / "script.py"
    path.write_text(text.replace(f"import {tracker}", f"import model_foundry as {tracker}"))

    ran = subprocess.run(
        [sys.executable, path], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE
    )

    assert ran.returncode == 0, ran.stderr
    first, second = (tmp_path / "runs" / name for name in ("tiny-lm", "tiny-lm-2"))
    entries = records(first / "metrics.jsonl")
    run = manifest(first)
    assert run["attempts"][0]["status"] == "completed"
    if tracker == "wandb":
        assert [entry["step"] for entry in entries] == [0, 1, 2, 3, 3, 4, 5, 6, 7, 7]
        assert entries[1]["metrics"] == {"train/loss": 1.0, "lr": 3e-4}
        assert entries[1]["epoch"] == pytest.approx(1 / 3)
        assert entries[3]["metrics"]["predictions"]["data"] == [[1, 2]]
        assert sum(entries[4]["metrics"]["weights"]["counts"]) == 3
        assert run["parameters"] == {"lr": 3e-4, "epochs": 2, "seed": 7, "model": {"dim": 8}}
        assert set(run["attempts"][0]["results"]) == {"best_val_loss", "final"}
        assert run["configuration"]["run"]["tags"] == ["first", "small"]
        assert [entry["step"] for entry in records(second / "metrics.jsonl")] == [0, 10, 20]
    else:
        assert [entry["step"] for entry in entries] == [0, 1, 2, 10]
        assert entries[0]["metrics"]["val/acc"] == 0.5
        assert run["configuration"]["run"]["name"] == "seed-0"
        assert manifest(second)["parameters"]["seed"] == 1
    messages = [line["message"] for line in records(first / "main.log")]
    assert any(message.startswith(("High loss", "Loss")) for message in messages), messages
