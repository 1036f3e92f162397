"""Structured records for the standard logging module."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Mapping
from typing import Any

from model_foundry import _native


class StructuredLogger:
    """Logs records with a message and a context, each as one line of JSON.

    The lines go to the standard logger ``name``, so its handlers, filters and levels apply. A record below the
    logger's level costs one comparison. A value that JSON cannot represent is logged as its text, without an
    exception.

    ``experiment_config`` is the experiment's name, or an object or a mapping with an ``experiment_name``. The
    base context is ``experiment``, ``git_hash`` (the short commit, or "unknown") and ``device`` ("cuda:0
    <name>", or "cpu").

    >>> import json, logging
    >>> logger = StructuredLogger("train.doc", {"experiment_name": "tiny-lm"})
    >>> class Show(logging.Handler):
    ...     def emit(self, record):
    ...         line = json.loads(record.getMessage())
    ...         print(record.levelname, line["message"], line["context"]["loss"])
    >>> logger.logger.addHandler(Show())
    >>> logger.warning("the loss jumped", loss=7.5, step=10)
    WARNING the loss jumped 7.5
    """

    def __init__(self, name: str, experiment_config: Any = None) -> None:
        self.name = name
        self.logger = logging.getLogger(name)
        self._run: _native.Run | None = None
        git_hash, device = _native.surroundings()
        #: The base context: a plain dict that may be changed. Each record has its current contents.
        self.context: dict[str, Any] = {
            "experiment": _experiment_name(experiment_config),
            "git_hash": git_hash,
            "device": device,
        }

    @classmethod
    def _of_run(cls, name: str, run: _native.Run) -> StructuredLogger:
        """A logger whose records also go to a run's main.log."""
        logger = cls.__new__(cls)
        logger.name = name
        logger.logger = logging.getLogger(name)
        logger._run = run
        logger.context = dict(run.base_context())
        if run.rank is not None:
            logger.context["rank"] = run.rank
        return logger

    def log_structured(self, level: int | str, message: str, **context: Any) -> None:
        """Log a record. ``level`` is a number of the logging module, or a level's name in any case.

        A field of ``context`` overrides the base context's, in this record. ``exc_info`` (True for the
        exception that is being handled, or an exception) adds ``exception_type``, ``exception_message`` and
        ``traceback``. Raises ``ValueError`` for an unknown level name.

        >>> StructuredLogger("train.doc2", "tiny-lm").log_structured(logging.DEBUG, "step", step=1, loss=0.5)
        """
        self._log(level, message, context)

    def debug(self, message: str, **context: Any) -> None:
        """Log at DEBUG (10); ``context`` as in :meth:`log_structured`.

        >>> StructuredLogger("train.doc_debug", "tiny-lm").debug("finished a step", loss=2.5)
        """
        self._log(logging.DEBUG, message, context)

    def info(self, message: str, **context: Any) -> None:
        """Log at INFO (20); ``context`` as in :meth:`log_structured`.

        >>> StructuredLogger("train.doc_info", "tiny-lm").info("finished a step", epoch=3)
        """
        self._log(logging.INFO, message, context)

    def warning(self, message: str, **context: Any) -> None:
        """Log at WARNING (30); ``context`` as in :meth:`log_structured`.

        >>> StructuredLogger("train.doc_warning", "tiny-lm").warning("the gradient is large", grad_norm=1e6)
        """
        self._log(logging.WARNING, message, context)

    def error(self, message: str, **context: Any) -> None:
        """Log at ERROR (40); ``context`` as in :meth:`log_structured`.

        >>> StructuredLogger("train.doc_error", "tiny-lm").error("a worker failed", rank=2)
        """
        self._log(logging.ERROR, message, context)

    def critical(self, message: str, **context: Any) -> None:
        """Log at CRITICAL (50); ``context`` as in :meth:`log_structured`.

        >>> StructuredLogger("train.doc_critical", "tiny-lm").critical("the disk is full", free_mb=0)
        """
        self._log(logging.CRITICAL, message, context)

    def exception(self, message: str, **context: Any) -> None:
        """Log at ERROR (40), with the exception that is being handled.

        >>> logger = StructuredLogger("train.doc5", "tiny-lm")
        >>> logger.logger.disabled = True
        >>> try:
        ...     1 / 0
        ... except ZeroDivisionError:
        ...     logger.exception("a batch failed", step=3)
        """
        context.setdefault("exc_info", True)
        self._log(logging.ERROR, message, context)

    def update_context(self, **context: Any) -> None:
        """Add fields to the base context, or change them. Later records have them.

        >>> logger = StructuredLogger("train.doc3", "tiny-lm")
        >>> logger.update_context(epoch=2)
        >>> logger.context["epoch"]
        2
        """
        self.context.update(context)

    def clear_context_field(self, name: str) -> None:
        """Remove a field from the base context, if it is there.

        >>> logger = StructuredLogger("train.doc4", "tiny-lm")
        >>> logger.clear_context_field("device")
        >>> sorted(logger.context)
        ['experiment', 'git_hash']
        """
        self.context.pop(name, None)

    def _log(self, level: int | str, message: str, context: dict[str, Any]) -> None:
        number = level if isinstance(level, int) else _level_number(level)
        enabled = self.logger.isEnabledFor(number)
        if not enabled and self._run is None:
            return
        if "exc_info" in context:
            context = _with_exception(context)
        message = str(message)
        if self._run is not None:
            self._run.log(self.name, number, message, self.context, context)
        if enabled:
            # 3, so that %(filename)s and %(lineno)d are those of the call to info() and the like.
            self.logger.log(number, _native.format(message, self.context, context), stacklevel=3)


def _level_number(name: str) -> int:
    number = logging.getLevelName(name.upper())
    if not isinstance(number, int):
        raise ValueError(f"unknown level {name!r}: use DEBUG, INFO, WARNING, ERROR or CRITICAL")
    return number


def _with_exception(context: dict[str, Any]) -> dict[str, Any]:
    context = dict(context)
    given = context.pop("exc_info")
    error = given if isinstance(given, BaseException) else sys.exc_info()[1] if given else None
    if error is None:
        return context
    return {
        "exception_type": type(error).__name__,
        "exception_message": str(error),
        "traceback": "".join(traceback.format_exception(error)),
        **context,
    }


def _experiment_name(config: Any) -> str:
    if isinstance(config, str):
        return config
    if isinstance(config, Mapping):
        return str(config.get("experiment_name", "unknown"))
    return str(getattr(config, "experiment_name", "unknown"))
