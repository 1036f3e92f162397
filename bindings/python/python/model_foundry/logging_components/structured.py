"""Structured records for the standard logging module."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

from model_foundry import _native
from model_foundry._exceptions import as_text, described, report
from model_foundry._runs import run_of

# The default of a message that is passed by name.
_BY_NAME: Any = object()


class StructuredLogger:
    """Logs records with a message and a context, each as one line of JSON.

    The lines go to the standard logger ``name``, so its handlers, filters and levels apply, and to main.log of the
    run that is open: that of the same experiment, or else the newest. A value that JSON cannot represent is logged
    as its text. No call raises because of what is logged: a field may have any name, a message any characters.

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

    def log_structured(
        self, level: int | str, message: Any = _BY_NAME, /, *arguments: Any, **context: Any
    ) -> None:
        """Log a record. ``level`` is a number of the logging module, or a level's name in any case.

        With ``arguments`` the message is ``message % arguments``, as in the logging module. A field of ``context``
        overrides the base context's, in this record. ``exc_info`` (True for the exception that is being handled, an
        exception, or a tuple as ``sys.exc_info()`` returns it) adds ``exception_type``, ``exception_message`` and
        ``traceback``. Raises ``ValueError`` for an unknown level name.

        >>> logger = StructuredLogger("train.doc2", "tiny-lm")
        >>> logger.log_structured(logging.DEBUG, "step", step=1, loss=0.5)
        >>> logger.log_structured("debug", "step %d of %d", 1, 10)
        """
        self._log(level, message, arguments, context)

    def debug(self, message: Any = _BY_NAME, /, *arguments: Any, **context: Any) -> None:
        """Log at DEBUG (10); the arguments are those of :meth:`log_structured`.

        >>> StructuredLogger("train.doc_debug", "tiny-lm").debug("finished a step", loss=2.5)
        """
        self._log(logging.DEBUG, message, arguments, context)

    def info(self, message: Any = _BY_NAME, /, *arguments: Any, **context: Any) -> None:
        """Log at INFO (20); the arguments are those of :meth:`log_structured`.

        >>> StructuredLogger("train.doc_info", "tiny-lm").info("finished a step", epoch=3)
        """
        self._log(logging.INFO, message, arguments, context)

    def warning(self, message: Any = _BY_NAME, /, *arguments: Any, **context: Any) -> None:
        """Log at WARNING (30); the arguments are those of :meth:`log_structured`.

        >>> StructuredLogger("train.doc_warning", "tiny-lm").warning("the gradient is large", grad_norm=1e6)
        """
        self._log(logging.WARNING, message, arguments, context)

    def error(self, message: Any = _BY_NAME, /, *arguments: Any, **context: Any) -> None:
        """Log at ERROR (40); the arguments are those of :meth:`log_structured`.

        >>> StructuredLogger("train.doc_error", "tiny-lm").error("a worker failed", rank=2)
        """
        self._log(logging.ERROR, message, arguments, context)

    def critical(self, message: Any = _BY_NAME, /, *arguments: Any, **context: Any) -> None:
        """Log at CRITICAL (50); the arguments are those of :meth:`log_structured`.

        >>> StructuredLogger("train.doc_critical", "tiny-lm").critical("the disk is full", free_mb=0)
        """
        self._log(logging.CRITICAL, message, arguments, context)

    def exception(self, message: Any = _BY_NAME, /, *arguments: Any, **context: Any) -> None:
        """Log at ERROR (40), with the exception that is being handled.

        >>> logger = StructuredLogger("train.doc5", "tiny-lm")
        >>> logger.logger.disabled = True
        >>> try:
        ...     1 / 0
        ... except ZeroDivisionError:
        ...     logger.exception("a batch failed", step=3)
        """
        context.setdefault("exc_info", True)
        self._log(logging.ERROR, message, arguments, context)

    def __repr__(self) -> str:
        return f"StructuredLogger({self.name!r}, {str(self.context.get('experiment', 'unknown'))!r})"

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

    def _log(
        self, level: int | str, message: Any, arguments: tuple[Any, ...], context: dict[str, Any]
    ) -> None:
        number = level if isinstance(level, int) else _level_number(level)
        enabled = self.logger.isEnabledFor(number)
        try:
            run = self._run or run_of(str(self.context.get("experiment")))
            if run is not None and not run.wants(number):
                run = None
            if not enabled and run is None:
                return
            if message is _BY_NAME:
                message = context.pop("message", "")
            text = _formatted(message, arguments)
            if "exc_info" in context:
                context = _with_exception(context)
            if run is not None:
                run.log(self.name, number, text, self.context, context)
            if enabled:
                # 3, so that %(filename)s and %(lineno)d are those of the call to info() and the like.
                self.logger.log(
                    number, _native.format(text, self.context, context), stacklevel=3
                )
        except Exception as error:  # nothing that is logged may stop a training
            report("a record was not logged", error)


def _formatted(message: Any, arguments: tuple[Any, ...]) -> Any:
    """The message with its arguments; beside them if they do not fit."""
    if not arguments:
        return message
    # As the logging module does: a single mapping is for `%(name)s`.
    mapping = arguments[0] if len(arguments) == 1 and isinstance(arguments[0], Mapping) else None
    try:
        return str(message) % (mapping or arguments)
    except Exception:
        return " ".join(as_text(part) for part in (message, *arguments))


def _level_number(name: str) -> int:
    number = logging.getLevelName(name.upper())
    if not isinstance(number, int):
        raise ValueError(f"unknown level {name!r}: use DEBUG, INFO, WARNING, ERROR or CRITICAL")
    return number


def _with_exception(context: dict[str, Any]) -> dict[str, Any]:
    context = dict(context)
    given = context.pop("exc_info")
    trace = None
    if isinstance(given, tuple):
        given, trace = (*given, None, None, None)[1:3]
    elif given and not isinstance(given, BaseException):
        given = sys.exc_info()[1]
    if not isinstance(given, BaseException):
        return context
    kind, message, text = described(given, trace)
    return {"exception_type": kind, "exception_message": message, "traceback": text, **context}


def _experiment_name(config: Any) -> str:
    if isinstance(config, str):
        return config
    if isinstance(config, Mapping):
        return str(config.get("experiment_name", "unknown"))
    return str(getattr(config, "experiment_name", "unknown"))
