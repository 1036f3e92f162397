"""The errors of a training run, in errors.jsonl."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model_foundry import _native
from model_foundry._exceptions import described, report
from model_foundry._runs import open_run
from model_foundry.logging_components.structured import StructuredLogger


class ErrorTracker:
    """Records errors in ``<output_dir>/errors.jsonl`` and counts them by type.

    The file holds all errors, and memory the newest ``max_errors`` (1 to 4294967295). Each error is on the
    disk when :meth:`log_error` returns, and is also logged to ``logger`` and to main.log at ERROR. The counts include errors
    that were in the file before.

    Raises ``OSError`` if the folder cannot be made or written, ``ValueError`` if ``max_errors`` is out of
    range.

    >>> import logging, tempfile
    >>> tracker = ErrorTracker(logging.getLogger("train.quiet"), tempfile.mkdtemp())
    >>> tracker.logger.disabled = True
    >>> try:
    ...     1 / 0
    ... except ZeroDivisionError as error:
    ...     tracker.log_error(error, {"step": 7})
    >>> tracker.get_error_summary()
    {'ZeroDivisionError': 1}
    >>> tracker.get_recent_errors(1)[0]["context"]
    {'step': 7}
    """

    def __init__(
        self,
        logger: StructuredLogger | logging.Logger,
        output_dir: str | os.PathLike[str],
        max_errors: int = 1000,
    ) -> None:
        self.logger = logger
        self.max_errors = max_errors
        name = logger.context.get("experiment") if isinstance(logger, StructuredLogger) else None
        config: dict[str, Any] = {"durability": "immediate", "log_to_wandb": False}
        if max_errors != 1000:
            config["max_errors_to_track"] = max_errors
        # None in a copy that was made after the run's end.
        self._run: _native.Run | None = open_run(output_dir, None if name is None else str(name), config)
        self._folder = Path(os.path.realpath(output_dir))

    @property
    def output_dir(self) -> Path:
        """The run folder: where it is now, if it was moved or renamed."""
        try:
            if self._run is not None:
                self._folder = self._run.folder
        except ValueError:  # the run has ended
            pass
        return self._folder

    @property
    def errors_file(self) -> Path:
        """The file that is appended to."""
        return self.output_dir / "errors.jsonl"

    @classmethod
    def _of_run(
        cls, logger: StructuredLogger, max_errors: int, run: _native.Run
    ) -> ErrorTracker:
        """The error tracker of an open run."""
        tracker = cls.__new__(cls)
        tracker.logger = logger
        tracker.max_errors = max_errors
        tracker._run = run
        tracker._folder = run.folder
        return tracker

    def log_error(
        self, exception: BaseException | str, context: Mapping[str, Any] | None = None
    ) -> None:
        """Record an exception: its type, its message, its traceback with all causes, and ``context``.

        The record is on the disk when this returns. An exception whose ``str`` fails is recorded with a
        placeholder as its message, and a text as an error of the type "Error". It never raises: after the end of
        the run it warns, and records nothing.

        >>> import logging, tempfile
        >>> tracker = ErrorTracker(logging.getLogger("train.quiet"), tempfile.mkdtemp())
        >>> tracker.logger.disabled = True
        >>> tracker.log_error(RuntimeError("CUDA out of memory"), {"step": 12})
        >>> "CUDA out of memory" in tracker.errors_file.read_text()
        True
        """
        try:
            if isinstance(exception, BaseException):
                kind, message, text = described(exception)
            else:
                kind, message, text = "Error", exception, ""
            context = {} if context is None else context
            if self._run is None:
                return report("an error was not logged: the run has ended")
            _native.log_error(self._run, kind, message, text, context)
            fields = context if isinstance(context, Mapping) else {"context": context}
            named = {str(name): value for name, value in fields.items()}
            named = {"error_type": kind, "error_message": message, **named}
            if isinstance(self.logger, StructuredLogger):
                self.logger._log(logging.ERROR, f"{kind}: {message}", (), named)
            else:
                self._run.log(self.logger.name, logging.ERROR, f"{kind}: {message}", {}, named)
                self.logger.error("%s: %s", kind, message)
        except Exception as error:  # nothing that is logged may stop a training
            report("an error was not logged", error)

    def __repr__(self) -> str:
        return f"ErrorTracker({str(self.output_dir)!r})"

    def get_error_summary(self) -> dict[str, int]:
        """The number of errors of each type, the most frequent type first.

        >>> import logging, tempfile
        >>> ErrorTracker(logging.getLogger("train.quiet"), tempfile.mkdtemp()).get_error_summary()
        {}
        """
        return {} if self._run is None else dict(_native.error_summary(self._run))

    def get_recent_errors(self, n: int = 10) -> list[dict[str, Any]]:
        """The ``n`` newest errors in memory, newest first; none if ``n`` is 0 or less.

        Each is a dict of ``timestamp`` (RFC 3339, UTC), ``error_type``, ``error_message``, ``traceback`` and
        ``context``.

        >>> import logging, tempfile
        >>> tracker = ErrorTracker(logging.getLogger("train.quiet"), tempfile.mkdtemp())
        >>> tracker.logger.disabled = True
        >>> for step in range(3):
        ...     tracker.log_error(ValueError(f"bad batch {step}"))
        >>> [error["error_message"] for error in tracker.get_recent_errors(2)]
        ['bad batch 2', 'bad batch 1']
        """
        if self._run is None:
            return []
        recent = _native.recent_errors(self._run, max(0, n))
        for entry in recent:
            entry["context"] = json.loads(entry["context"])
        return recent

    def reset_counters(self) -> None:
        """Clear the counts. The file and the errors in memory stay as they are.

        >>> import logging, tempfile
        >>> tracker = ErrorTracker(logging.getLogger("train.quiet"), tempfile.mkdtemp())
        >>> tracker.log_error(ValueError("bad batch"))
        >>> tracker.reset_counters()
        >>> tracker.get_error_summary(), len(tracker.get_recent_errors())
        ({}, 1)
        """
        if self._run is not None:
            _native.reset_error_counts(self._run)
