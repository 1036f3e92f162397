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
    """Logs training metrics to ``<output_dir>/metrics.jsonl``, one JSON line per step.

    The folder is made if it is missing, and an existing file is continued. Any number of threads and
    processes may log to it. ``durability`` says what :meth:`log_step` waits for:

    - "immediate" (the default): the line is in the file, and ``kill -9`` does not lose it;
    - "synced": the line is on the disk, and a power cut does not lose it;
    - "buffered": nothing; the line is in the file at most 200 ms later.

    A value is a number (a Python number, or a scalar of NumPy, PyTorch or JAX), a bool, a string, None, a list
    or a dict; anything else is logged as its text. NaN and the infinities are null in ``metrics``, and the
    field ``non_finite`` of the same line names them. A failing disk does not stop training: lines that cannot
    be written are reported once on stderr and counted in run.json.

    Raises ``OSError`` if the folder cannot be made or written, ``ValueError`` for an unknown durability.

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
        # Only a Trainer has the setting for a Weights & Biases log.
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
        """All entries, steps and epoch summaries, in file order. Damaged lines are left out.

        An entry is a line of the file as a dict: ``timestamp``, ``epoch``, and ``step`` and ``metrics`` or
        ``summary``; ``attempt`` after a restart, and ``non_finite`` where a number was not finite. Raises
        ``OSError`` if the file cannot be read.

        >>> import tempfile
        >>> metrics = MetricsLogger("tiny-lm", tempfile.mkdtemp())
        >>> metrics.log_step(7, 0.5, {"loss": float("nan")})
        >>> entry = metrics.get_metrics_history()[0]
        >>> entry["step"], entry["epoch"], entry["metrics"], entry["non_finite"]
        (7, 0.5, {'loss': None}, {'loss': 'NaN'})
        """
        return self._read(None)

    def get_metrics_for_steps(self, start: int, end: int) -> list[dict[str, Any]]:
        """The entries of steps ``start`` to ``end``, both included.

        A step that a later attempt repeated has the entries of that attempt only. Raises ``OSError`` if the
        file cannot be read, ``ValueError`` if ``start`` is greater than ``end``, and ``OverflowError`` if one
        of them is negative.

        >>> import tempfile
        >>> metrics = MetricsLogger("tiny-lm", tempfile.mkdtemp())
        >>> for step in range(10):
        ...     metrics.log_step(step, 0, {"loss": 1.0})
        >>> [entry["step"] for entry in metrics.get_metrics_for_steps(3, 5)]
        [3, 4, 5]
        """
        return self._read((start, end))

    def compute_statistics(self, name: str) -> dict[str, float]:
        """``count``, ``mean``, ``min``, ``max`` and ``std`` of a metric, over its finite numbers.

        ``std`` is the sample standard deviation (n − 1); it is 0 for one number. All are 0 for a metric that
        has none. An open logger updates them at each step, so that this reads the file only once. Raises
        ``OSError`` if the file cannot be read.

        >>> import tempfile
        >>> metrics = MetricsLogger("tiny-lm", tempfile.mkdtemp())
        >>> for step, loss in enumerate([3.0, 2.0, 1.0]):
        ...     metrics.log_step(step, 0, {"loss": loss})
        >>> metrics.compute_statistics("loss")
        {'count': 3, 'mean': 2.0, 'min': 1.0, 'max': 3.0, 'std': 1.0}
        """
        if self._run is None:
            values = _native.read_statistics(self.output_dir, name)
        else:
            values = self._statistics(name)
        return dict(zip(("count", "mean", "min", "max", "std"), values, strict=True))

    def flush(self) -> None:
        """Write the lines that are still buffered.

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
        """Write what is buffered and release the run folder. The metrics can still be read afterwards.

        Logging then raises ``ValueError``. The run ends when the last logger that shares it is closed.

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


# doctest does not look for examples in native methods.
__test__ = {
    "log_step": MetricsLogger.log_step.__doc__,
    "log_epoch_summary": MetricsLogger.log_epoch_summary.__doc__,
}
