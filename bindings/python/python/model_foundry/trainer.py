"""A trainer that owns the loggers."""

from __future__ import annotations

import importlib.util
import logging
import os
import random
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from model_foundry._runs import open_run
from model_foundry.config import ExperimentConfig
from model_foundry.logging_components import (
    ErrorTracker,
    MetricsLogger,
    PerformanceLogger,
    StructuredLogger,
    WandBLogger,
)

StepFunction = Callable[[int], "Mapping[str, Any] | None"]


class Trainer:
    """Runs a step function and logs what it returns.

    Everything is written under ``base_dir / training.output_dir`` (default: ``runs/<experiment_name>``).
    ``config`` is an :class:`~model_foundry.config.ExperimentConfig`, or a dict that makes one.

    Raises ``pydantic.ValidationError`` for a configuration that breaks the rules, ``OSError`` if the folder
    cannot be made or written.

    >>> import tempfile
    >>> settings = {"log_metrics_every_n_steps": 1, "log_to_wandb": False}
    >>> config = {"experiment_name": "tiny-lm", "logging": settings}
    >>> with Trainer(config, tempfile.mkdtemp()) as trainer:
    ...     trainer.train(lambda step: {"loss": 1.0 / step}, steps=3)
    ...     [entry["metrics"]["loss"] for entry in trainer.metrics.get_metrics_history()][:2]
    [1.0, 0.5]
    """

    def __init__(
        self,
        config: ExperimentConfig | Mapping[str, Any],
        base_dir: str | os.PathLike[str] = ".",
    ) -> None:
        if not isinstance(config, ExperimentConfig):
            config = ExperimentConfig.model_validate(dict(config))
        self.config = config
        name = config.experiment_name
        output_dir = getattr(config.training, "output_dir", None) or Path("runs") / name
        #: Where everything is written.
        self.output_dir = Path(base_dir) / output_dir
        sections = config.model_dump(mode="json")
        settings = sections.pop("logging")
        forwards = settings["log_to_wandb"] and importlib.util.find_spec("wandb") is not None
        project = os.environ.get("WANDB_PROJECT", "model-foundry")
        self.wandb = WandBLogger(project, name, sections, enabled=forwards)
        if self.wandb.enabled:
            # Their package keeps the run: a copy of our own beside it would be a second one.
            settings["log_to_wandb"] = False
        self._run = open_run(self.output_dir, name, settings, sections)
        #: The structured logger, which also writes main.log.
        self.logger = StructuredLogger._of_run(f"model_foundry.{name}", self._run)
        if not self.logger.logger.handlers:
            # The console is the run's: without a handler the logging module would say warnings there again.
            self.logger.logger.addHandler(logging.NullHandler())
        self.metrics = MetricsLogger._of_run(name, self.output_dir, self._run)
        self.performance = PerformanceLogger(self.logger)
        self.errors = ErrorTracker._of_run(
            self.logger, self.output_dir, config.logging.max_errors_to_track, self._run
        )
        #: The step that was trained last; 0 before the first.
        self.step = 0

    def train(self, step_fn: StepFunction, steps: int | None = None) -> None:
        """Call ``step_fn(step)`` for each step, from the one after :attr:`step` on.

        ``steps`` says how many; by default ``training.max_steps``. What a call returns, a mapping of
        metrics or None, is logged at the configured intervals: at ``log_metrics_every_n_steps`` the
        numbers, at ``log_detailed_metrics_every_n_steps`` also those under a key "detailed", a mapping;
        memory at ``log_memory_every_n_steps``; under ``profile_performance`` each step is timed. With
        ``training.steps_per_epoch`` the epoch is counted, and each ends with a summary of its last step.

        An exception is kept in errors.jsonl and goes on; the attempt has then failed. Raises ``ValueError``
        where nothing says how many steps.

        >>> import tempfile
        >>> config = {"experiment_name": "tiny-lm", "logging": {"log_to_wandb": False}}
        >>> with Trainer(config, tempfile.mkdtemp()) as trainer:
        ...     trainer.train(lambda step: {"loss": 1.0 / step}, steps=20)
        ...     trainer.step, trainer.metrics.compute_statistics("loss")["count"]
        (20, 2)
        """
        steps = steps if steps is not None else getattr(self.config.training, "max_steps", None)
        if steps is None:
            raise ValueError("how many steps is not said: give steps, or training.max_steps")
        per_epoch = int(getattr(self.config.training, "steps_per_epoch", 0) or 0)
        self._seed()
        first, last = self.step + 1, self.step + int(steps)
        self.logger.info("training began", first_step=first, last_step=last)
        began = time.monotonic()
        try:
            for step in range(first, last + 1):
                self._train_step(step_fn, step, per_epoch)
        except BaseException as error:
            self._failed(error, step)
            raise
        self.logger.info("training ended", step=last, seconds=time.monotonic() - began)

    def checkpoint(self, save: Callable[[Path], Any], name: str | None = None) -> Path:
        """Call ``save(path)`` to write a checkpoint, and log its size and how long it took.

        The path is ``checkpoints/<name>`` in the output folder; by default the step names it. What
        ``save`` raises is kept in errors.jsonl, and goes on.

        >>> import tempfile
        >>> config = {"experiment_name": "tiny-lm", "logging": {"log_to_wandb": False}}
        >>> with Trainer(config, tempfile.mkdtemp()) as trainer:
        ...     trainer.checkpoint(lambda path: path.write_bytes(b"weights")).name
        'step-0.ckpt'
        """
        path = self.output_dir / "checkpoints" / (name or f"step-{self.step}.ckpt")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.logger.info("saving checkpoint", step=self.step, path=str(path))
        try:
            with self.performance.time_block("checkpoint") as timed:
                save(path)
        except Exception as error:
            self._failed(error, self.step)
            raise
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        size = sum(file.stat().st_size for file in files)
        self.logger.info(
            "saved checkpoint",
            step=self.step,
            path=str(path),
            size_mb=size / 1e6,
            seconds=timed.seconds,
        )
        return path

    def close(self) -> None:
        """End the run: what is buffered is written, and run.json says how it ended.

        What was logged can still be read; records go to the standard logger alone.

        >>> import json, tempfile
        >>> config = {"experiment_name": "tiny-lm", "logging": {"log_to_wandb": False}}
        >>> trainer = Trainer(config, tempfile.mkdtemp())
        >>> trainer.close()
        >>> json.loads((trainer.output_dir / "run.json").read_text())["attempts"][0]["status"]
        'completed'
        """
        self.wandb.finish()
        self._run.flush()
        if self.performance.timers:
            self.performance.export_timing_report(self.output_dir / "timing_report.json")
        self.metrics.close()
        self.logger._run = self.performance._run = None
        self._run.close()

    def __enter__(self) -> Trainer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._run.mark_failed()
        self.close()

    def _train_step(self, step_fn: StepFunction, step: int, per_epoch: int) -> None:
        settings = self.config.logging
        if settings.profile_performance:
            with self.performance.time_block("step"):
                metrics = step_fn(step)
        else:
            metrics = step_fn(step)
        self.step = step
        metrics = dict(metrics or {})
        detailed = metrics.pop("detailed", None) or {}
        epoch = (step - 1) / per_epoch if per_epoch else 0
        if metrics and step % settings.log_metrics_every_n_steps == 0:
            self.metrics.log_step(step, epoch, metrics)
            self.wandb.log_metrics(step, metrics)
        if detailed and step % settings.log_detailed_metrics_every_n_steps == 0:
            self.metrics.log_step(step, epoch, detailed)
            self.wandb.log_metrics(step, detailed)
        if step % settings.log_memory_every_n_steps == 0:
            self.performance.log_memory_usage(step)
        if per_epoch and metrics and step % per_epoch == 0:
            self.metrics.log_epoch_summary(step // per_epoch - 1, metrics)
            fields = {**metrics, "step": step, "epoch": step // per_epoch - 1}
            self.logger._log(logging.INFO, "epoch ended", fields)

    def _failed(self, error: BaseException, step: int) -> None:
        self._run.mark_failed()
        if isinstance(error, Exception):
            self.errors.log_error(error, {"step": step})

    def _seed(self) -> None:
        seed = self.config.random_seed
        if seed is None or self.step:
            return
        random.seed(seed)
        # Of what the training has imported; the rest is not ours to load.
        numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
        if numpy is not None:
            numpy.random.seed(seed % 2**32)
        if torch is not None:
            torch.manual_seed(seed)
