"""A logger for Lightning's ``Trainer`` and for Fabric.

    trainer = lightning.Trainer(logger=ModelFoundryLogger("tiny-lm", "runs"))
    fabric = lightning.Fabric(loggers=ModelFoundryLogger("tiny-lm", "runs"))
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

try:
    from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
    from lightning.pytorch.utilities import rank_zero_only
except ModuleNotFoundError:
    from pytorch_lightning.loggers.logger import Logger, rank_zero_experiment
    from pytorch_lightning.utilities import rank_zero_only

from model_foundry import _native
from model_foundry._runs import end_run, open_run, start_run, unfolded
from model_foundry.integrations._log import without
from model_foundry.logging_components import MetricsLogger


class ModelFoundryLogger(Logger):  # type: ignore[misc]
    """Logs what Lightning reports to ``<save_dir>/<name>/metrics.jsonl``, on rank 0 only.

    Each start is a run of its own: the next one is in ``<name>-2``, and so on. ``resume`` continues an earlier
    one: True the newest of this name, a string that run (a folder's name, a path, or an id).

    ``durability`` is that of :class:`~model_foundry.MetricsLogger`. The run folder is opened at the first use,
    which raises what :class:`~model_foundry.MetricsLogger` raises.
    """

    def __init__(
        self,
        name: str = "lightning",
        save_dir: str | os.PathLike[str] = "runs",
        *,
        durability: str = "immediate",
        resume: bool | str = False,
    ) -> None:
        super().__init__()
        self._folder: Path | None = None
        self._resume = resume
        self._name = name
        self._save_dir = Path(save_dir)
        self._durability = durability
        self._parameters: dict[str, Any] = {}
        self._metrics: MetricsLogger | None = None

    @property
    def name(self) -> str:
        """The name of the run's folder, in which Lightning puts checkpoints."""
        self._open()
        return self._name if self._folder is None else self._folder.name

    @property
    def version(self) -> int | str | None:
        """Nothing: each run has a folder of its own, and its attempts share it."""
        return ""

    @property
    def save_dir(self) -> str | None:
        """The folder that holds the run folder."""
        return str(self._save_dir)

    @property
    def log_dir(self) -> str | None:
        """The run folder; the folder of runs before the first record."""
        return str(self._save_dir if self._folder is None else self._folder)

    @property
    @rank_zero_experiment  # type: ignore[untyped-decorator, unused-ignore]
    def experiment(self) -> MetricsLogger:
        """The metrics logger."""
        return self._opened()

    @rank_zero_only  # type: ignore[untyped-decorator, unused-ignore]
    def _open(self) -> None:
        """Open the run folder, on rank 0."""
        if self._folder is None:
            self._opened()

    def _opened(self) -> MetricsLogger:
        if self._metrics is None:
            settings = {"durability": self._durability, "log_to_wandb": False}
            sections = {"model": self._parameters} if self._parameters else None
            if self._folder is None:
                run = start_run(self._save_dir, self._name, settings, sections, self._resume)
                self._folder = run.folder
            else:
                # A second `fit` is another attempt at the same run.
                run = open_run(self._folder, self._name, settings, sections)
            self._metrics = MetricsLogger._of_run(self._name, run)
        return self._metrics

    @rank_zero_only  # type: ignore[untyped-decorator, unused-ignore]
    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        """Record the hyperparameters in run.json, also after the first metric."""
        self._parameters.update(unfolded(params) or {})
        run = None if self._metrics is None else self._metrics._run
        if run is not None:
            run.configure(_native.to_json({"model": self._parameters}))

    @rank_zero_only  # type: ignore[untyped-decorator, unused-ignore]
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log a step's metrics. A test of a finished run, in a process of its own, is at its last step."""
        metrics_of_step = without(metrics, "epoch")
        logger = self.experiment
        if not step and logger._run is not None and metrics_of_step:
            is_test = all(name.startswith("test") for name in metrics_of_step)
            step = logger._run.last_step() if is_test else step
        logger.log_step(step or 0, metrics.get("epoch"), metrics_of_step)

    @rank_zero_only  # type: ignore[untyped-decorator, unused-ignore]
    def save(self) -> None:
        """Write what is buffered."""
        if self._metrics is not None:
            self._metrics.flush()

    @rank_zero_only  # type: ignore[untyped-decorator, unused-ignore]
    def finalize(self, status: str) -> None:
        """End the run; a ``status`` other than "success" marks the attempt as failed."""
        if self._metrics is not None:
            run = self._metrics._run
            error = sys.exc_info()[1]
            self._metrics._close()
            self._metrics = None
            if run is not None:
                if status != "success":
                    run.mark_failed()
                end_run(run, error)
