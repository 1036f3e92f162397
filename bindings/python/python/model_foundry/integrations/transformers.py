"""A callback for Hugging Face's ``Trainer``.

    trainer = transformers.Trainer(..., callbacks=[ModelFoundryCallback("tiny-lm", "runs/tiny-lm")])
"""

from __future__ import annotations

import os
from typing import Any

from transformers import TrainerCallback

from model_foundry.integrations._log import metrics_logger, without
from model_foundry.logging_components import MetricsLogger


class ModelFoundryCallback(TrainerCallback):  # type: ignore[misc]
    """Logs what ``Trainer`` reports to metrics.jsonl, in the main process only.

    Evaluations are logged twice: at their step, and as epoch summaries.

    The file is in ``output_dir``, by default in a new run: ``runs/<experiment_name>``, then ``-2``, and so on. ``durability`` is that of
    :class:`~model_foundry.MetricsLogger`. A ``logger`` is used instead of a new one, and is left open. Raises
    what :class:`~model_foundry.MetricsLogger` raises.
    """

    def __init__(
        self,
        experiment_name: str = "transformers",
        output_dir: str | os.PathLike[str] | None = None,
        *,
        logger: MetricsLogger | None = None,
        durability: str = "immediate",
    ) -> None:
        self._arguments = (logger, experiment_name, output_dir, durability)
        #: The metrics logger; None until training begins, and in other processes.
        self.metrics: MetricsLogger | None = logger

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Open the run folder."""
        if self.metrics is None and state.is_world_process_zero:
            self.metrics = metrics_logger(*self._arguments)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Log what the trainer reports."""
        if self.metrics is not None and state.is_world_process_zero and logs:
            self.metrics.log_step(state.global_step, state.epoch, without(logs, "epoch", "step"))

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any) -> None:
        """Log an evaluation as an epoch summary."""
        if self.metrics is not None and state.is_world_process_zero and metrics:
            self.metrics.log_epoch_summary(state.epoch or 0, without(metrics, "epoch"))

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write what is buffered, and close the logger unless it was passed in."""
        if self.metrics is not None:
            self.metrics.flush()
            if self._arguments[0] is None:
                self.metrics.close()
                self.metrics = None
