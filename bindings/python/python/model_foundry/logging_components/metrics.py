"""Training metrics in metrics.jsonl."""

from __future__ import annotations

import difflib
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from model_foundry import _native
from model_foundry._exceptions import report
from model_foundry._runs import end_run, open_run, unfolded


class MetricsLogger(_native.Metrics):
    """Logs training metrics to ``<output_dir>/metrics.jsonl``, one JSON line per step.

    The folder is made if it is missing, and an existing file is continued. Any number of threads and
    processes may log to it. ``durability`` says what :meth:`log_step` waits for:

    - "immediate" (the default): the line is in the file, and ``kill -9`` does not lose it;
    - "synced": the line is on the disk, and a power cut does not lose it;
    - "buffered": nothing; the line is in the file at most 200 ms later.

    A value is a number (a Python number, or a scalar of NumPy, PyTorch or JAX), a bool, a string or None. A
    mapping is logged as metrics named ``outer/inner``. A list, a tuple, a set, a range, an array, a tensor or a
    Series becomes an array of at most 10,000 elements. Anything else is logged as its text. NaN and the infinities are null in ``metrics``, and the
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
        # Only a Trainer has the setting for a Weights & Biases log.
        logging = {"durability": durability, "log_to_wandb": False}
        self._open(open_run(output_dir, str(experiment_name), logging))

    @classmethod
    def _of_run(cls, name: str, run: _native.Run) -> MetricsLogger:
        """The metrics logger of an open run."""
        logger = cls.__new__(cls)
        logger.experiment_name = name
        logger._open(run)
        return logger

    @property
    def output_dir(self) -> Path:
        """The run folder: where it is now, if it was moved or renamed."""
        folder = self._folder
        if folder is None:
            raise ValueError("the metrics logger was never opened")
        return folder

    @property
    def metrics_file(self) -> Path:
        """The file that is appended to."""
        return self.output_dir / "metrics.jsonl"

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy joins the run. That of a closed logger is closed.
        run = self._run
        folder = self._folder if run is None or run.ended else None
        return _copied, (self.experiment_name, run, None if folder is None else str(folder))

    def __repr__(self) -> str:
        folder = "closed" if self._folder is None else str(self._folder)
        return f"MetricsLogger({self.experiment_name!r}, {folder!r})"

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

    def compute_statistics(self, name: str) -> dict[str, Any]:
        """``count``, ``mean``, ``min``, ``max`` and ``std`` of a metric, over its finite numbers.

        ``std`` is the sample standard deviation (n − 1); it is 0 for one number. For a metric that has none
        ``count`` is 0 and the others are None, and a warning names the most similar metric, if the name is that of
        none. An open logger updates them at each step, so that this reads the file only once. Raises
        ``OSError`` if the file cannot be read.

        >>> import tempfile
        >>> metrics = MetricsLogger("tiny-lm", tempfile.mkdtemp())
        >>> for step, loss in enumerate([3.0, 2.0, 1.0]):
        ...     metrics.log_step(step, 0, {"loss": loss})
        >>> metrics.compute_statistics("loss")
        {'count': 3, 'mean': 2.0, 'min': 1.0, 'max': 3.0, 'std': 1.0}
        """
        count, *values = self._statistics(name)
        names = ("mean", "min", "max", "std")
        if count == 0:
            known = self._names()
            if name not in known:
                similar = difflib.get_close_matches(name, known, 1)
                hint = f"; did you mean {similar[0]!r}?" if similar else ""
                report(f"no metric named {name!r} was logged{hint}")
            return {"count": 0, **dict.fromkeys(names)}
        return {"count": count, **dict(zip(names, values, strict=True))}

    def configure(self, **sections: Any) -> None:
        """Add sections to the configuration that run.json records, or change them.

        A section is a mapping, a dataclass, an ``argparse.Namespace``, a pydantic model or an OmegaConf
        container. Its members are merged with those that are recorded already. Raises ``OSError`` if run.json
        cannot be written, ``ValueError`` once the logger is closed.

        >>> import json, tempfile
        >>> metrics = MetricsLogger("tiny-lm", tempfile.mkdtemp())
        >>> metrics.configure(training={"lr": 3e-4})
        >>> json.loads((metrics.output_dir / "run.json").read_text())["configuration"]["training"]
        {'lr': 0.0003}
        """
        if self._run is None:
            raise ValueError("the metrics logger is closed: open another")
        self._run.configure(_native.to_json(unfolded(sections)))

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
        """Write what is buffered, and end the attempt. The metrics can still be read afterwards.

        Logging then raises ``ValueError``. Another logger of the folder may go on: its records belong to the
        attempt that was ended.

        >>> import tempfile
        >>> metrics = MetricsLogger("tiny-lm", tempfile.mkdtemp())
        >>> metrics.close()
        >>> metrics.log_step(1, 0, {"loss": 1.0})
        Traceback (most recent call last):
        ...
        ValueError: the metrics logger is closed: open another
        """
        run = self._run
        self.flush()
        self._close()
        if run is not None:
            run.end()

    def __enter__(self) -> MetricsLogger:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        run = self._run
        self.flush()
        self._close()
        if run is not None:
            end_run(run, error)

    def _read(self, steps: tuple[int, int] | None) -> list[dict[str, Any]]:
        self.flush()
        entries: list[dict[str, Any]] = []
        for block in self._history(steps):
            entries += json.loads("[" + block.rstrip("\n").replace("\n", ",") + "]")
        return entries


def _copied(name: str, run: _native.Run | None, folder: str | None) -> MetricsLogger:
    """A copy of a metrics logger, maybe in another process. Without a run it only reads the folder."""
    if run is not None:
        return MetricsLogger._of_run(name, run)
    logger = MetricsLogger.__new__(MetricsLogger)
    logger.experiment_name = name
    if folder is not None:
        logger._read_only(folder)
    return logger


# doctest does not look for examples in native methods.
__test__ = {
    "log_step": MetricsLogger.log_step.__doc__,
    "log_epoch_summary": MetricsLogger.log_epoch_summary.__doc__,
}
