"""What the callbacks share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model_foundry import _native
from model_foundry._exceptions import report
from model_foundry._runs import start_run, unfolded
from model_foundry.logging_components import MetricsLogger


class CallbackLog:
    """The metrics logger of a callback: one that it was given, or the one of a run that it begins itself."""

    def __init__(
        self,
        logger: MetricsLogger | None,
        experiment_name: str,
        output_dir: str | os.PathLike[str] | None,
        durability: str,
    ) -> None:
        self._given = logger
        self._experiment_name = experiment_name
        self._output_dir = output_dir
        self._durability = durability
        #: The logger; None until it is needed.
        self.metrics = logger

    def open(self, *, new: bool = False, sections: Mapping[str, Any] | None = None) -> MetricsLogger:
        """The logger, for a training that begins: the one that is open, another attempt, or with ``new`` another run.

        ``sections`` of the configuration are recorded.
        """
        run = None if self.metrics is None else self.metrics._run
        if self._given is None and (self.metrics is None or run is None or run.ended or new):
            self.end()
            folder = self._output_dir
            if self.metrics is not None:
                folder = self.metrics.output_dir
                # What holds the run would keep the attempt that has ended alive.
                self.metrics._close()
            if folder is not None and not new:
                self.metrics = MetricsLogger(
                    self._experiment_name, folder, durability=self._durability
                )
            else:
                settings = {"durability": self._durability, "log_to_wandb": False}
                runs = "runs" if folder is None else Path(folder).parent
                started = start_run(runs, self._experiment_name, settings)
                self.metrics = MetricsLogger._of_run(self._experiment_name, started)
        metrics = self.metrics
        assert metrics is not None
        if sections:
            try:
                run = metrics._run
                if run is not None:
                    run.configure(_native.to_json(unfolded(dict(sections))))
            except Exception as error:  # nothing that is logged may stop a training
                report("run.json was not changed", error)
        return metrics

    def end(self) -> None:
        """Write what is buffered, and end the attempt of a logger that was not given.

        What is logged later, such as an evaluation, belongs to this attempt too.
        """
        if self.metrics is None:
            return
        self.metrics.flush()
        run = self.metrics._run
        if self._given is None and run is not None and not run.ended:
            run.end()


def without(metrics: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The metrics except ``names``, which are fields of the line itself."""
    return {name: value for name, value in metrics.items() if name not in names}
