"""A callback for Keras 3, with any of its backends.

    model.fit(..., callbacks=[ModelFoundryCallback("tiny-lm", "runs/tiny-lm")])
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from keras.callbacks import Callback

from model_foundry.integrations._log import CallbackLog
from model_foundry.logging_components import MetricsLogger


class ModelFoundryCallback(Callback):  # type: ignore[misc]
    """Logs what ``fit`` and ``evaluate`` report to metrics.jsonl.

    The step is the optimizer's, so that a training that is resumed, also by ``BackupAndRestore``, goes on where it
    was. Every ``every_n_batches`` steps (0 for never) the batch's metrics are logged. After each epoch the metrics of
    its validation are logged at their step, and all metrics as the epoch's summary. An ``evaluate`` by itself logs
    its metrics at the current step, as ``eval_<name>``.

    The file is in ``output_dir``, by default in a new run: ``runs/<experiment_name>``, then ``-2``, and so on.
    ``durability`` is that of :class:`~model_foundry.MetricsLogger`. A ``logger`` is used instead of a new one, and is
    left open. Raises what :class:`~model_foundry.MetricsLogger` raises.
    """

    def __init__(
        self,
        experiment_name: str = "keras",
        output_dir: str | os.PathLike[str] | None = None,
        *,
        every_n_batches: int = 1,
        logger: MetricsLogger | None = None,
        durability: str = "immediate",
    ) -> None:
        super().__init__()
        self._log = CallbackLog(logger, experiment_name, output_dir, durability)
        #: Number of batches from one record to the next; 0 for no records of batches.
        self.every_n_batches = every_n_batches
        self._fits = False
        self._epoch = 0
        self._step = 0
        # The steps of the optimizer before the epoch's first batch; None before it is known.
        self._before: int | None = None

    @property
    def metrics(self) -> MetricsLogger | None:
        """The metrics logger; None until a training begins."""
        return self._log.metrics

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Open the run folder."""
        self._fits = True
        self._log.open(sections={"training": _settings(self.model, self.params)})

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Note the epoch of the batches that follow."""
        self._epoch = epoch
        self._before = None

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Note where the epoch begins."""
        if self._before is None:
            # While an epoch is trained, some backends hold the optimizer's state back.
            taken = _batches_taken(self.model)
            self._before = (self._step if taken is None else taken) - batch

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log the batch's metrics, if it is its turn."""
        taken = (self._before or 0) + batch + 1
        self._step = max(1, taken // _batches_of_a_step(self.model))
        every = self.every_n_batches
        if self.metrics is not None and logs and every and self._step % every == 0:
            self.metrics.log_step(self._step, self._epoch, dict(logs))

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log the validation's metrics at their step, and the epoch's summary."""
        if self.metrics is not None and logs:
            validation = {name: value for name, value in logs.items() if name.startswith("val_")}
            if validation:
                self.metrics.log_step(self._step, epoch, validation)
            self.metrics.log_epoch_summary(epoch, dict(logs))

    def on_test_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Log an evaluation that is no part of a training."""
        if self._fits or not logs:
            return
        taken = _batches_taken(self.model)
        step = self._step if taken is None else taken // _batches_of_a_step(self.model)
        metrics = self.metrics or self._log.open()
        metrics.log_step(step, None, {f"eval_{name}": value for name, value in logs.items()})

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Write what is buffered, and end the attempt unless the logger was passed in."""
        self._fits = False
        self._log.end()


def _batches_taken(model: Any) -> int | None:
    """How many batches the optimizer has taken; None without one."""
    optimizer = getattr(model, "optimizer", None)
    counter = getattr(optimizer, "_iterations", None)
    if counter is None:
        counter = getattr(optimizer, "iterations", None)
    try:
        return None if counter is None else int(counter.numpy() if hasattr(counter, "numpy") else counter)
    except Exception:  # an optimizer of another kind
        return None


def _batches_of_a_step(model: Any) -> int:
    """How many batches make a step of the optimizer."""
    optimizer = getattr(model, "optimizer", None)
    return int(getattr(optimizer, "gradient_accumulation_steps", None) or 1)


def _settings(model: Any, params: Mapping[str, Any] | None) -> dict[str, Any]:
    """What is known of a training: that of ``fit`` and of the optimizer."""
    optimizer = getattr(model, "optimizer", None)
    try:
        config = dict(optimizer.get_config()) if optimizer is not None else {}
    except Exception:  # an optimizer of another kind
        config = {}
    return {**dict(params or {}), "optimizer": config} if config else dict(params or {})
