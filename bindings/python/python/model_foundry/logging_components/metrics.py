"""Training metrics in metrics.jsonl."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from model_foundry import _native
from model_foundry._runs import open_run


class MetricsLogger(_native.Metrics):
    """Logs training metrics to ``<output_dir>/metrics.jsonl``, one line of JSON a step.

    The folder is made if it is missing, and an existing file is continued. Any number of threads and
    processes may log to it. By default each step is in the file when :meth:`log_step` returns, and
    ``kill -9`` does not lose it; ``durability="synced"`` waits for the disk, ``"buffered"`` returns at once
    and has at most 200 ms at stake.

    Values may be numbers of Python, numpy, torch or jax, truth values, text, lists and dicts. NaN and the
    infinities read as null in ``metrics``, and stand by name in ``non_finite`` beside it. A disk that
    fails ends no training: what could not be kept is said once and counted in run.json.

    Raises ``OSError`` if the folder cannot be made or written, ``ValueError`` for another durability.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> with MetricsLogger("tiny-lm", folder) as metrics:
    ...     metrics.log_step(1, epoch=0, metrics={"loss": 2.5, "tokens": 8500})
    ...     metrics.log_epoch_summary(0, {"val_loss": 2.4})
    ...     [entry["metrics"] for entry in metrics.get_metrics_for_steps(1, 1)]
    [{'loss': 2.5, 'tokens': 8500}]
    """

    def __init__(
        self,
        experiment_name: str,
        output_dir: str | os.PathLike[str],
        *,
        durability: str = "immediate",
    ) -> None:
        #: The experiment's name.
        self.experiment_name = experiment_name
        #: The run folder.
        self.output_dir = Path(output_dir)
        #: The file that is appended to.
        self.metrics_file = self.output_dir / "metrics.jsonl"
        # A copy for Weights & Biases is a Trainer's to ask for.
        logging = {"durability": durability, "log_to_wandb": False}
        self._open(open_run(self.output_dir, str(experiment_name), logging))

    @classmethod
    def _of_run(cls, name: str, folder: Path, run: _native.Run) -> MetricsLogger:
        """The metrics logger of an open run."""
        logger = cls.__new__(cls)
        logger.experiment_name = name
        logger.output_dir = folder
        logger.metrics_file = folder / "metrics.jsonl"
        logger._open(run)
        return logger

    def get_metrics_history(self) -> list[dict[str, Any]]:
        """Every entry, in file order: steps and epoch summaries. Damaged lines are left out.

        Raises ``OSError`` if the file cannot be read.

        >>> import tempfile
        >>> metrics = MetricsLogger("tiny-lm", tempfile.mkdtemp())
        >>> metrics.log_step(7, 0.5, {"loss": float("nan")})
        >>> entry = metrics.get_metrics_history()[0]
        >>> entry["step"], entry["epoch"], entry["metrics"], entry["non_finite"]
        (7, 0.5, {'loss': None}, {'loss': 'NaN'})
        """
        return self._read(None)

    def get_metrics_for_steps(self, start: int, end: int) -> list[dict[str, Any]]:
        """The entries of the steps from ``start`` to ``end``, both included; 0 or more.

        Of a step that was logged again after a restart it is the latest. Raises ``OSError`` if the file
        cannot be read.

        >>> import tempfile
        >>> metrics = MetricsLogger("tiny-lm", tempfile.mkdtemp())
        >>> for step in range(10):
        ...     metrics.log_step(step, 0, {"loss": 1.0})
        >>> [entry["step"] for entry in metrics.get_metrics_for_steps(3, 5)]
        [3, 4, 5]
        """
        return self._read((start, end))

    def compute_statistics(self, name: str) -> dict[str, float]:
        """``count``, ``mean``, ``min``, ``max`` and ``std`` (n − 1) of one metric.

        Only finite numbers count. They are kept while logging: nothing is read again. A metric that was
        never logged has count 0.

        >>> import tempfile
        >>> metrics = MetricsLogger("tiny-lm", tempfile.mkdtemp())
        >>> for step, loss in enumerate([3.0, 2.0, 1.0]):
        ...     metrics.log_step(step, 0, {"loss": loss})
        >>> metrics.compute_statistics("loss")
        {'count': 3, 'mean': 2.0, 'min': 1.0, 'max': 3.0, 'std': 1.0}
        """
        if self._run is None:
            found = _native.read_statistics(self.output_dir, name)
        else:
            found = self._statistics(name)
        return dict(zip(("count", "mean", "min", "max", "std"), found, strict=True))

    def flush(self) -> None:
        """Write what ``durability="buffered"`` holds back.

        >>> import tempfile
        >>> metrics = MetricsLogger("tiny-lm", tempfile.mkdtemp(), durability="buffered")
        >>> metrics.log_step(1, 0, {"loss": 1.0})
        >>> metrics.flush()
        >>> len(metrics.metrics_file.read_text().splitlines())
        1
        """
        if self._run is not None:
            self._run.flush()

    def close(self) -> None:
        """Write what is buffered and let go of the run folder. Reading still works afterwards.

        The run ends when the last logger that shares the folder is closed. Logging raises ``ValueError``
        from then on.

        >>> import tempfile
        >>> metrics = MetricsLogger("tiny-lm", tempfile.mkdtemp())
        >>> metrics.close()
        >>> metrics.log_step(1, 0, {"loss": 1.0})
        Traceback (most recent call last):
        ...
        ValueError: the metrics logger is closed: open another
        """
        self.flush()
        self._close()

    def __enter__(self) -> MetricsLogger:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None and self._run is not None:
            self._run.mark_failed()
        self.close()

    def _read(self, steps: tuple[int, int] | None) -> list[dict[str, Any]]:
        self.flush()
        if not self.metrics_file.parent.exists():
            return []
        entries: list[dict[str, Any]] = []
        for block in _native.history(self.output_dir, steps):
            entries += json.loads("[" + block.rstrip("\n").replace("\n", ",") + "]")
        return entries


# doctest finds no examples in native methods by itself.
__test__ = {
    "log_step": MetricsLogger.log_step.__doc__,
    "log_epoch_summary": MetricsLogger.log_epoch_summary.__doc__,
}
