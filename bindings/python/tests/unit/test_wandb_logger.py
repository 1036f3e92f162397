"""The Weights & Biases logger, with a stand-in for the wandb package."""

from __future__ import annotations

import sys
import types
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from model_foundry.logging_components import WandBLogger


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Any:
    package = mock.MagicMock(spec_set=["init", "Artifact", "Table", "Image", "Histogram", "AlertLevel"])
    monkeypatch.setitem(sys.modules, "wandb", package)
    return package


def test_forwards_to_the_package(wandb: Any, tmp_path: Path) -> None:
    logger = WandBLogger("project", "name", {"lr": 0.1}, entity="team", tags=("a", "b"))
    run = wandb.init.return_value
    wandb.init.assert_called_once_with(
        project="project", name="name", config={"lr": 0.1}, entity="team", tags=["a", "b"]
    )

    logger.log_metrics(3, {"loss": 0.5})
    run.log.assert_called_with({"loss": 0.5}, step=3)
    logger.log_system_metrics({"cpu": 0.25}, step=4)
    run.log.assert_called_with({"system/cpu": 0.25}, step=4)
    logger.watch_model("model", log_freq=7)
    run.watch.assert_called_once_with("model", log="gradients", log_freq=7)
    file = tmp_path / "weights.bin"
    file.write_bytes(b"x")
    logger.log_artifact(file, "weights")
    wandb.Artifact.return_value.add_file.assert_called_once_with(str(file))
    logger.log_artifact(tmp_path, "folder", type="dataset")
    wandb.Artifact.return_value.add_dir.assert_called_once_with(str(tmp_path))
    logger.log_table("table", ["a"], [(1,)])
    wandb.Table.assert_called_once_with(columns=["a"], data=[[1]])
    logger.log_image("image", "x.png", caption="it")
    wandb.Image.assert_called_once_with("x.png", caption="it")
    logger.log_histogram("weights", [1, 2])
    wandb.Histogram.assert_called_once_with([1, 2])
    logger.alert("title", "text", level="warn")
    run.alert.assert_called_once_with(title="title", text="text", level=wandb.AlertLevel.WARN)
    logger.summary({"best": 0.1})
    run.summary.update.assert_called_once_with({"best": 0.1})
    run.url = "https://wandb.example/x"
    assert logger.get_run_url() == "https://wandb.example/x"

    logger.finish(0)
    run.finish.assert_called_once_with(exit_code=0)
    before = run.log.call_count
    logger.log_metrics(4, {"loss": 0.5})
    assert run.log.call_count == before


def everything(logger: WandBLogger) -> None:
    logger.log_metrics(1, {"loss": 1.0})
    logger.log_system_metrics({"cpu": 1.0})
    logger.watch_model(object())
    logger.log_artifact("/nonexistent", "x")
    logger.log_table("t", ["a"], [[1]])
    logger.log_image("i", "x.png")
    logger.log_histogram("h", [1.0])
    logger.alert("t", "x", level="no such level")
    logger.summary({"x": 1})
    assert logger.get_run_url() is None
    logger.finish()


def test_without_the_package_it_warns_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.warns(UserWarning, match="the wandb package is not installed") as caught:
        everything(WandBLogger("project"))
    assert len(caught) == 1


def test_a_failing_package_warns_once(wandb: Any) -> None:
    run = wandb.init.return_value = types.SimpleNamespace()  # has none of the methods that are called
    with pytest.warns(UserWarning, match="training continues without it") as caught:
        everything(WandBLogger("project"))
    assert len(caught) == 1
    assert vars(run) == {}


def test_a_package_that_cannot_start_warns_once(wandb: Any) -> None:
    wandb.init.side_effect = RuntimeError("no network")
    with pytest.warns(UserWarning, match="RuntimeError: no network") as caught:
        everything(WandBLogger("project"))
    assert len(caught) == 1


def test_turned_off_it_does_not_warn(wandb: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        everything(WandBLogger("project", enabled=False))
    wandb.init.assert_not_called()
