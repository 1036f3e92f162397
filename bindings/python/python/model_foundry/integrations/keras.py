"""A callback for Keras 3, on any of its back ends.

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
    """Logs what ``fit`` reports to metrics.jsonl: each epoch's summary, and every ``every_n_batches``
    batches (0 for none) the batch's metrics, its step counted over all epochs.

    ``logger`` is a :class:`~model_foundry.MetricsLogger` to use instead of one of its own; the callback
    then leaves it open. Raises as that does.
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
        self._given = (logger, experiment_name, output_dir, durability)
        self.every_n_batches = every_n_batches
        self.metrics: MetricsLogger | None = logger
        self._epoch = 0
        self._step = 0

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Open the run folder."""
        if self.metrics is None:
            self.metrics = metrics_logger(*self._given)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Know the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log a batch."""
        self._step += 1
        every = self.every_n_batches
        if self.metrics is not None and logs and every and self._step % every == 0:
            self.metrics.log_step(self._step, self._epoch, dict(logs))

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log an epoch's summary, validation included."""
        if self.metrics is not None and logs:
            self.metrics.log_epoch_summary(epoch, dict(logs))

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Write what is buffered, and close what was opened here."""
        if self.metrics is not None:
            self.metrics.flush()
            if self._given[0] is None:
                self.metrics.close()
                self.metrics = None
