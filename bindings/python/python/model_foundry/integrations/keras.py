"""A callback for Keras 3, with any of its backends.

    model.fit(..., callbacks=[ModelFoundryCallback("tiny-lm", "runs/tiny-lm")])
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from keras.callbacks import Callback

from model_foundry.integrations._log import metrics_logger
from model_foundry.logging_components import MetricsLogger


class ModelFoundryCallback(Callback):  # type: ignore[misc]
    """Logs what ``fit`` reports to metrics.jsonl.

    Every ``every_n_batches`` batches (0 for never) it logs the batch's metrics; the step is the number of
    batches in all epochs so far. After each epoch it logs a summary, with the validation metrics.

    The file is in ``output_dir``, by default in a new run: ``runs/<experiment_name>``, then ``-2``, and so on. ``durability`` is that of
    :class:`~model_foundry.MetricsLogger`. A ``logger`` is used instead of a new one, and is left open. Raises
    what :class:`~model_foundry.MetricsLogger` raises.
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
        self._arguments = (logger, experiment_name, output_dir, durability)
        #: Number of batches from one record to the next; 0 for no records of batches.
        self.every_n_batches = every_n_batches
        #: The metrics logger; None until training begins.
        self.metrics: MetricsLogger | None = logger
        self._epoch = 0
        self._step = 0

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Open the run folder."""
        if self.metrics is None:
            self.metrics = metrics_logger(*self._arguments)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Note the epoch of the batches that follow."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log the batch's metrics, if it is its turn."""
        self._step += 1
        every = self.every_n_batches
        if self.metrics is not None and logs and every and self._step % every == 0:
            self.metrics.log_step(self._step, self._epoch, dict(logs))

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log the epoch's summary, with the validation metrics."""
        if self.metrics is not None and logs:
            self.metrics.log_epoch_summary(epoch, dict(logs))

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Write what is buffered, and close the logger unless it was passed in."""
        if self.metrics is not None:
            self.metrics.flush()
            if self._arguments[0] is None:
                self.metrics.close()
                self.metrics = None
