"""The callbacks, called by the real frameworks.

The tests marked ``frameworks`` import PyTorch, Lightning and Transformers, and fail where one of them is
missing. pytest deselects them unless it is run with ``-m frameworks``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
from conftest import Records

from model_foundry import MetricsLogger

# Keras reads its backend when it is imported.
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_PLATFORMS", "cpu")


def keras_model() -> Any:
    pytest.importorskip("jax", reason="JAX is not installed")
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.layers.Dense(4, activation="tanh"), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse", metrics=["mae"])
    return model


def data() -> tuple[Any, Any]:
    x = numpy.random.default_rng(1).normal(size=(64, 3))
    return x, x.sum(axis=1, keepdims=True)


def test_keras_fit_is_logged(tmp_path: Path, records: Records) -> None:
    model = keras_model()
    from model_foundry.integrations.keras import ModelFoundryCallback

    x, y = data()
    callback = ModelFoundryCallback("keras-test", tmp_path / "run", every_n_batches=2)
    history = model.fit(
        x, y, batch_size=8, epochs=2, validation_data=(x, y), callbacks=[callback], verbose=0
    )

    entries = records(tmp_path / "run" / "metrics.jsonl")
    steps = [entry for entry in entries if "loss" in entry.get("metrics", {})]
    assert [entry["step"] for entry in steps] == [2, 4, 6, 8, 10, 12, 14, 16]
    validations = [entry for entry in entries if "val_loss" in entry.get("metrics", {})]
    assert [entry["step"] for entry in validations] == [8, 16]
    assert {entry["epoch"] for entry in steps} == {0, 1}
    assert all(set(entry["metrics"]) == {"loss", "mae"} for entry in steps)
    summaries = [entry["summary"] for entry in entries if "summary" in entry]
    assert [summary["val_loss"] for summary in summaries] == history.history["val_loss"]
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    assert manifest["attempts"][-1]["status"] == "completed"
    training = manifest["configuration"]["training"]
    assert training["epochs"] == 2
    assert training["optimizer"]["learning_rate"] == pytest.approx(0.01)


def test_keras_steps_are_those_of_the_optimizer(tmp_path: Path, records: Records) -> None:
    model = keras_model()
    import keras

    from model_foundry.integrations.keras import ModelFoundryCallback

    x, y = data()

    class Interrupt(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 2:
                raise RuntimeError("interrupted")

    def fit(*others: Any) -> None:
        callbacks = [
            keras.callbacks.BackupAndRestore(tmp_path / "backup"),
            ModelFoundryCallback("keras-test", tmp_path / "run"),
            *others,
        ]
        model.fit(x, y, batch_size=16, epochs=4, callbacks=callbacks, verbose=0)

    with pytest.raises(RuntimeError, match="interrupted"):
        fit(Interrupt())
    # A new process would have a new model.
    model = keras_model()
    fit()
    again = ModelFoundryCallback("keras-test", tmp_path / "run")
    model.evaluate(x, y, callbacks=[again], verbose=0)

    entries = records(tmp_path / "run" / "metrics.jsonl")
    steps = [entry["step"] for entry in entries if "loss" in entry.get("metrics", {})]
    assert steps == list(range(1, 17))
    (evaluation,) = [entry for entry in entries if "eval_loss" in entry.get("metrics", {})]
    assert evaluation["step"] == 16


def test_a_second_fit_is_a_second_attempt(tmp_path: Path) -> None:
    model = keras_model()
    from model_foundry.integrations.keras import ModelFoundryCallback

    x, y = data()
    callback = ModelFoundryCallback("keras-test", tmp_path / "run")
    for _ in range(2):
        model.fit(x, y, batch_size=32, epochs=1, callbacks=[callback], verbose=0)
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    assert [attempt["status"] for attempt in manifest["attempts"]] == ["completed"] * 2


def test_a_callback_of_keras_can_be_copied(tmp_path: Path, records: Records) -> None:
    import copy
    import pickle

    model = keras_model()
    from model_foundry.integrations.keras import ModelFoundryCallback

    x, y = data()
    callback = ModelFoundryCallback("keras-test", tmp_path / "run")
    for duplicate in (pickle.loads(pickle.dumps(callback)), copy.deepcopy(callback)):
        model.fit(x, y, batch_size=32, epochs=1, callbacks=[duplicate], verbose=0)
    assert [entry["step"] for entry in records(tmp_path / "run" / "metrics.jsonl") if "step" in entry] == [
        1,
        2,
        3,
        4,
    ]


def test_keras_uses_the_logger_that_it_is_given(tmp_path: Path) -> None:
    model = keras_model()
    from model_foundry.integrations.keras import ModelFoundryCallback

    x, y = data()
    with MetricsLogger("keras-test", tmp_path, durability="buffered") as metrics:
        callback = ModelFoundryCallback(logger=metrics)
        model.fit(x, y, batch_size=32, epochs=1, callbacks=[callback], verbose=0)
        assert metrics.compute_statistics("loss")["count"] == 2


def transformers_trainer(tmp_path: Path, *callbacks: Any, **arguments: Any) -> Any:
    import torch
    import transformers

    class Tiny(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(3, 1)

        def forward(self, x: Any, labels: Any = None) -> dict[str, Any]:
            y = self.linear(x)
            return {"loss": ((y - labels) ** 2).mean(), "logits": y}

    x, y = data()
    rows = [
        {"x": torch.tensor(a, dtype=torch.float32), "labels": torch.tensor(b, dtype=torch.float32)}
        for a, b in zip(x, y, strict=True)
    ]
    given = transformers.TrainingArguments(
        output_dir=str(tmp_path / "out"),
        max_steps=6,
        per_device_train_batch_size=8,
        logging_steps=2,
        report_to=[],
        use_cpu=not torch.cuda.is_available(),
        remove_unused_columns=False,
        save_strategy="no",
        hub_token="hf_secretsecret",
        **arguments,
    )
    return transformers.Trainer(
        model_init=lambda _=None: Tiny(),
        args=given,
        train_dataset=rows,
        eval_dataset=rows,
        callbacks=list(callbacks),
    )


@pytest.mark.frameworks
def test_transformers_trainer_is_logged(tmp_path: Path, records: Records) -> None:
    from model_foundry.integrations.transformers import ModelFoundryCallback

    trainer = transformers_trainer(tmp_path, ModelFoundryCallback("hf-test", tmp_path / "run"))
    trainer.evaluate()
    trainer.train()
    trainer.evaluate()
    trainer.predict(trainer.eval_dataset)

    entries = records(tmp_path / "run" / "metrics.jsonl")
    losses = [entry for entry in entries if "loss" in entry.get("metrics", {})]
    assert [entry["step"] for entry in losses] == [2, 4, 6]
    assert all(entry["epoch"] is not None for entry in losses)
    evaluations = [entry for entry in entries if "eval_loss" in entry.get("metrics", {})]
    assert [entry["step"] for entry in evaluations] == [0, 6]
    (prediction,) = [entry for entry in entries if "test_loss" in entry.get("metrics", {})]
    assert prediction["step"] == 6
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    (attempt,) = manifest["attempts"]
    assert attempt["status"] == "completed"
    training = manifest["configuration"]["training"]
    assert (training["max_steps"], training["warmup_steps"]) == (6, 0)
    assert "secret" not in json.dumps(manifest)


@pytest.mark.frameworks
def test_each_trial_of_a_search_is_a_run(
    tmp_path: Path, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    from model_foundry.integrations.transformers import ModelFoundryCallback

    monkeypatch.chdir(tmp_path)
    trainer = transformers_trainer(tmp_path, ModelFoundryCallback("hf-search"))
    rates = [0.1, 0.01]
    trainer.hyperparameter_search(
        hp_space=lambda trial: {"learning_rate": trial.suggest_categorical("learning_rate", rates)},
        backend="optuna",
        n_trials=2,
        compute_objective=lambda metrics: metrics["eval_loss"],
    )

    runs = sorted(path.name for path in (tmp_path / "runs").glob("[!.]*"))
    assert runs == ["hf-search", "hf-search-2"]
    for run in runs:
        manifest = json.loads((tmp_path / "runs" / run / "run.json").read_text())
        trial = manifest["configuration"]["trial"]
        assert trial["learning_rate"] in rates
        assert manifest["configuration"]["training"]["learning_rate"] == trial["learning_rate"]
        assert manifest["attempts"][0]["status"] == "completed"
        assert len(records(tmp_path / "runs" / run / "metrics.jsonl")) >= 3


@pytest.mark.frameworks
def test_fabric_and_accelerate_log(tmp_path: Path, records: Records) -> None:
    import accelerate
    import lightning

    from model_foundry.integrations.accelerate import ModelFoundryTracker
    from model_foundry.integrations.lightning import ModelFoundryLogger

    logger = ModelFoundryLogger("fabric-test", tmp_path)
    fabric = lightning.Fabric(accelerator="cpu", loggers=logger)
    for step in range(3):
        fabric.log_dict({"loss": 1.0 / (step + 1)}, step=step)
    logger.finalize("success")
    entries = records(tmp_path / "fabric-test" / "metrics.jsonl")
    assert [entry["step"] for entry in entries] == [0, 1, 2]

    accelerator = accelerate.Accelerator(
        cpu=True, log_with=ModelFoundryTracker("accelerate-test", dir=tmp_path)
    )
    accelerator.init_trackers("project", config={"lr": 3e-4})
    accelerator.log({"loss": 0.5}, step=7)
    accelerator.end_training()
    (entry,) = records(tmp_path / "accelerate-test" / "metrics.jsonl")
    assert entry["step"] == 7
    manifest = json.loads((tmp_path / "accelerate-test" / "run.json").read_text())
    assert manifest["parameters"] == {"lr": 3e-4}
    assert manifest["attempts"][0]["status"] == "completed"


@pytest.mark.frameworks
def test_lightning_trainer_is_logged(tmp_path: Path, records: Records) -> None:
    import lightning
    import torch

    from model_foundry.integrations.lightning import ModelFoundryLogger

    class Tiny(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(3, 1)
            self.save_hyperparameters({"lr": 0.1})

        def training_step(self, batch: Any, _: int) -> Any:
            x, y = batch
            loss = ((self.linear(x) - y) ** 2).mean()
            self.log("loss", loss)
            return loss

        def test_step(self, batch: Any, _: int) -> None:
            x, y = batch
            self.log("test_loss", ((self.linear(x) - y) ** 2).mean())

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    x, y = (torch.tensor(part, dtype=torch.float32) for part in data())
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=8)
    def trainer(logger: Any) -> Any:
        return lightning.Trainer(
            max_epochs=2,
            logger=logger,
            log_every_n_steps=1,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            accelerator="cpu",
        )

    trainer(ModelFoundryLogger("pl-test", tmp_path)).fit(Tiny(), loader)
    # As another process does it, which knows nothing of the steps.
    trainer(ModelFoundryLogger("pl-test", tmp_path, resume=True)).test(Tiny(), loader, verbose=False)

    entries = records(tmp_path / "pl-test" / "metrics.jsonl")
    losses = [entry["step"] for entry in entries if "loss" in entry["metrics"]]
    assert losses == list(range(16))
    (test,) = [entry for entry in entries if "test_loss" in entry["metrics"]]
    assert (test["step"], test["attempt"]) == (15, 2)
    manifest = json.loads((tmp_path / "pl-test" / "run.json").read_text())
    assert manifest["attempts"][-1]["status"] == "completed"
    assert manifest["configuration"]["model"] == {"lr": 0.1}

    second = lightning.Trainer(
        max_epochs=1,
        logger=ModelFoundryLogger("pl-test", tmp_path),
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )
    second.fit(Tiny(), loader)
    folder = Path(second.checkpoint_callback.best_model_path).parent
    assert folder == tmp_path / "pl-test-2" / "checkpoints"


@pytest.mark.frameworks
def test_workers_of_a_dataloader_log(tmp_path: Path, records: Records) -> None:
    import torch

    metrics = MetricsLogger("loader-test", tmp_path)

    class Items(torch.utils.data.Dataset):  # type: ignore[misc]
        def __len__(self) -> int:
            return 64

        def __getitem__(self, at: int) -> int:
            metrics.log_step(at, 0, {"loaded": at})
            return at

    for batch in torch.utils.data.DataLoader(Items(), batch_size=8, num_workers=3):
        metrics.log_step(1000, 0, {"sum": batch.sum()})

    entries = records(metrics.metrics_file)
    assert sorted(entry["step"] for entry in entries) == [*range(64), *[1000] * 8]
    assert sum(entry["metrics"].get("sum", 0) for entry in entries) == sum(range(64))
    metrics.close()
    manifest = json.loads((tmp_path / "run.json").read_text())
    assert [attempt["status"] for attempt in manifest["attempts"]] == ["completed"]


def test_the_package_imports_no_framework() -> None:
    text = (
        "import sys, model_foundry, model_foundry.trainer, model_foundry.integrations\n"
        "frameworks = {'torch', 'keras', 'jax', 'transformers', 'lightning', 'wandb', 'numpy'}\n"
        "print(sorted(frameworks & set(sys.modules)))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.strip() == "[]"
