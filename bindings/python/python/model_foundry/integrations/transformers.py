"""A callback for Hugging Face's ``Trainer``.

    trainer = transformers.Trainer(..., callbacks=[ModelFoundryCallback("tiny-lm", "runs/tiny-lm")])
"""

from __future__ import annotations

import os
from typing import Any

from transformers import TrainerCallback

from model_foundry._exceptions import report
from model_foundry.integrations._log import CallbackLog, without
from model_foundry.logging_components import MetricsLogger


class ModelFoundryCallback(TrainerCallback):  # type: ignore[misc]
    """Logs what ``Trainer`` reports to metrics.jsonl, in the main process only.

    Evaluations are logged twice: at their step, and as epoch summaries; also those before and after ``train()``.
    ``predict()`` is logged at the current step. run.json gets all ``TrainingArguments``, and the model's
    configuration. Each trial of a hyperparameter search is a run of its own, with its parameters.

    The file is in ``output_dir``, by default in a new run: ``runs/<experiment_name>``, then ``-2``, and so on.
    ``durability`` is that of :class:`~model_foundry.MetricsLogger`. A ``logger`` is used instead of a new one, and is
    left open. Raises what :class:`~model_foundry.MetricsLogger` raises.
    """

    def __init__(
        self,
        experiment_name: str = "transformers",
        output_dir: str | os.PathLike[str] | None = None,
        *,
        logger: MetricsLogger | None = None,
        durability: str = "immediate",
    ) -> None:
        self._log = CallbackLog(logger, experiment_name, output_dir, durability)

    @property
    def metrics(self) -> MetricsLogger | None:
        """The metrics logger; None until something is logged, and in other processes."""
        return self._log.metrics

    def _metrics(self, args: Any, state: Any, model: Any = None) -> MetricsLogger | None:
        """The logger, opened if it is not; None in other processes."""
        if not state.is_world_process_zero:
            return None
        return self.metrics or self._log.open(sections=_sections(args, state, model))

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
    ) -> None:
        """Open the run folder: another attempt for a second training, another run for another trial."""
        if not state.is_world_process_zero:
            return
        new = bool(state.is_hyper_param_search) and self.metrics is not None
        self._log.open(new=new, sections=_sections(args, state, model))

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Any = None, model: Any = None, **_: Any
    ) -> None:
        """Log what the trainer reports."""
        metrics = self._metrics(args, state, model) if logs else None
        if metrics is not None:
            metrics.log_step(state.global_step, state.epoch, without(logs, "epoch", "step"))

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, model: Any = None, **_: Any
    ) -> None:
        """Log an evaluation as an epoch summary."""
        logger = self._metrics(args, state, model) if metrics else None
        if logger is not None:
            logger.log_epoch_summary(state.epoch or 0, without(metrics, "epoch"))

    def on_predict(
        self, args: Any, state: Any, control: Any, metrics: Any = None, model: Any = None, **_: Any
    ) -> None:
        """Log the metrics of a prediction."""
        logger = self._metrics(args, state, model) if metrics else None
        if logger is not None:
            logger.log_step(state.global_step, state.epoch, without(metrics, "epoch"))

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write what is buffered, and end the attempt unless the logger was passed in."""
        self._log.end()


def _sections(args: Any, state: Any, model: Any) -> dict[str, Any]:
    """What run.json records: all arguments, the model's configuration, and the parameters of a trial."""
    sections: dict[str, Any] = {}
    try:
        # Tokens are masked by Transformers itself.
        sections["training"] = args.to_dict()
        config: Any = getattr(model, "config", None)
        if hasattr(config, "to_dict"):
            sections["model"] = config.to_dict()
        if state.trial_params:
            sections["trial"] = dict(state.trial_params)
    except Exception as error:  # nothing that is logged may stop a training
        report("the arguments were not recorded", error)
    return sections
