"""A trainer that owns the loggers of a run."""

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

from model_foundry._exceptions import report
from model_foundry._runs import end_run, open_run, start_run
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
    """Runs a step function and logs the metrics that it returns.

    ``config`` is an :class:`~model_foundry.config.ExperimentConfig`, or a mapping that makes one. All files
    are written to ``base_dir / training.output_dir`` (default: a new folder in ``base_dir / "runs"``, named after
    the experiment).

    Under ``log_to_wandb`` the ``wandb`` package receives the metrics too, in the project named by the variable
    ``WANDB_PROJECT`` (default: "model-foundry"), offline unless ``WANDB_MODE`` says otherwise: ``wandb sync``
    uploads the run. If that package is missing or cannot start, the component writes an offline run. Where
    ``log_to_wandb`` is not given, it is on if the package is installed or a ``WANDB_`` variable is set.

    Each start is a run of its own: without ``training.output_dir``, the next one is in
    ``<experiment_name>-2``, and so on. ``resume`` continues an earlier run: True the newest of the experiment, a
    string that run (a folder's name, a path, or an id). The ranks of one job share a run, and a job that its
    scheduler restarts resumes it.

    Raises ``pydantic.ValidationError`` for an invalid configuration, ``OSError`` if the folder cannot be made
    or written, ``ValueError`` if there is no such run to resume.

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
        *,
        resume: bool | str = False,
    ) -> None:
        if not isinstance(config, ExperimentConfig):
            config = ExperimentConfig.model_validate(dict(config))
        self.config = config
        name = config.experiment_name
        output_dir = getattr(config.training, "output_dir", None)
        sections = config.model_dump(mode="json")
        settings = sections.pop("logging")
        if "log_to_wandb" not in config.logging.model_fields_set and not _uses_wandb():
            settings["log_to_wandb"] = False
        forwards = settings["log_to_wandb"] and importlib.util.find_spec("wandb") is not None
        project = os.environ.get("WANDB_PROJECT", "model-foundry")
        #: The Weights & Biases logger. It does nothing if the ``wandb`` package is missing or not wanted.
        # Offline unless WANDB_MODE says otherwise: a training must not wait for a network or for an answer.
        mode = os.environ.get("WANDB_MODE") or "offline"
        self.wandb = WandBLogger(project, name, sections, enabled=forwards, mode=mode)
        if self.wandb.enabled:
            # The wandb package writes the run; the component would write it a second time.
            settings["log_to_wandb"] = False
        if output_dir is not None:
            folder = Path(base_dir) / output_dir
            self._run = open_run(folder, name, settings, sections, console=True)
        else:
            runs_dir = Path(base_dir) / "runs"
            self._run = start_run(runs_dir, name, settings, sections, resume, console=True)
        #: The structured logger. It also writes main.log.
        self.logger = StructuredLogger._of_run(f"model_foundry.{name}", self._run)
        if not self.logger.logger.handlers:
            # The run writes to the console. Without a handler, the logging module would print warnings again.
            self.logger.logger.addHandler(logging.NullHandler())
        #: The metrics logger.
        self.metrics = MetricsLogger._of_run(name, self._run)
        #: The performance logger.
        self.performance = PerformanceLogger(self.logger)
        #: The error tracker.
        self.errors = ErrorTracker._of_run(
            self.logger, config.logging.max_errors_to_track, self._run
        )
        #: The last step that was trained; 0 before the first.
        self.step = 0

    def __repr__(self) -> str:
        return f"Trainer({self.config.experiment_name!r}, step {self.step}, {str(self.output_dir)!r})"

    @property
    def output_dir(self) -> Path:
        """The run folder: where it is now, if it was moved or renamed."""
        return self.metrics.output_dir

    def train(self, step_fn: StepFunction, steps: int | None = None) -> None:
        """Train ``steps`` steps: call ``step_fn(step)`` for each, from the step after :attr:`step`.

        ``steps`` is an integer, 0 or more; by default it is ``training.max_steps``. ``step_fn`` returns a
        mapping of metrics, or None. The mapping is logged every ``log_metrics_every_n_steps`` steps. Its key
        "detailed" may hold a mapping of further metrics, which is logged every
        ``log_detailed_metrics_every_n_steps`` steps. Memory is sampled every ``log_memory_every_n_steps``
        steps. Under ``profile_performance`` each step is timed, as "step".

        With ``training.steps_per_epoch`` each record has the epoch as a fraction, starting at 0, and each
        epoch ends with a summary: the metrics of its last step. Without it every record has epoch 0.

        An exception of ``step_fn`` is recorded in errors.jsonl, marks the attempt as failed, and is raised.
        Raises ``ValueError`` if neither ``steps`` nor ``training.max_steps`` is given.

        >>> import tempfile
        >>> config = {"experiment_name": "tiny-lm", "logging": {"log_to_wandb": False}}
        >>> with Trainer(config, tempfile.mkdtemp()) as trainer:
        ...     trainer.train(lambda step: {"loss": 1.0 / step}, steps=20)
        ...     trainer.step, trainer.metrics.compute_statistics("loss")["count"]
        (20, 2)
        """
        steps = steps if steps is not None else getattr(self.config.training, "max_steps", None)
        if steps is None:
            raise ValueError("the number of steps is missing: pass `steps`, or set `training.max_steps`")
        per_epoch = int(getattr(self.config.training, "steps_per_epoch", 0) or 0)
        self._seed()
        first, last = self.step + 1, self.step + int(steps)
        self.logger.info("training began", first_step=first, last_step=last)
        began = time.monotonic()
        try:
            for step in range(first, last + 1):
                self._train_step(step_fn, step, per_epoch)
        except BaseException as error:
            self._record_failure(error, step)
            raise
        self.logger.info("training ended", step=last, seconds=time.monotonic() - began)

    def checkpoint(self, save: Callable[[Path], Any], name: str | None = None) -> Path:
        """Call ``save(path)`` to write a checkpoint, and log its size in MB (10^6 bytes) and its duration.

        ``save`` writes a file or a folder at ``path``, which is ``checkpoints/<name>`` in the run folder. The
        default name is ``step-<step>.ckpt``. Returns the path. An exception of ``save`` is recorded in
        errors.jsonl, marks the attempt as failed, and is raised. Raises ``OSError`` if the checkpoint folder
        cannot be made.

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
            self._record_failure(error, self.step)
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
        """End the run: write what is buffered and timing_report.json, and record in run.json how it ended.

        The metrics can still be read afterwards. Later records of :attr:`logger` go to the standard logger
        only.

        >>> import json, tempfile
        >>> config = {"experiment_name": "tiny-lm", "logging": {"log_to_wandb": False}}
        >>> trainer = Trainer(config, tempfile.mkdtemp())
        >>> trainer.close()
        >>> json.loads((trainer.output_dir / "run.json").read_text())["attempts"][0]["status"]
        'completed'
        """
        self._close(None)

    def _close(self, error: BaseException | None) -> None:
        self.wandb.finish()
        self._run.flush()
        if self.performance.timers:
            try:
                self.performance.export_timing_report(self.output_dir / "timing_report.json")
            except Exception as problem:  # nothing that was logged may stop a training
                report("timing_report.json was not written", problem)
        self.metrics._close()
        self.logger._run = self.performance._own = None
        end_run(self._run, error)
        self._run.close()

    def __enter__(self) -> Trainer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close(error)

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
            self.logger._log(logging.INFO, "epoch ended", (), fields)

    def _record_failure(self, error: BaseException, step: int) -> None:
        if not isinstance(error, (SystemExit, KeyboardInterrupt, GeneratorExit)):
            self._run.mark_failed()
        if isinstance(error, Exception):
            self.errors.log_error(error, {"step": step})

    def _seed(self) -> None:
        seed = self.config.random_seed
        if seed is None or self.step:
            return
        random.seed(seed)
        # Seed the libraries that the training has imported, and import no others.
        numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
        if numpy is not None:
            numpy.random.seed(seed % 2**32)
        if torch is not None:
            torch.manual_seed(seed)


def _uses_wandb() -> bool:
    """Whether Weights & Biases is in use here."""
    variables = any(name.startswith("WANDB_") and value for name, value in os.environ.items())
    return variables or importlib.util.find_spec("wandb") is not None
