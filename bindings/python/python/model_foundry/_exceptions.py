"""Exceptions as text, whatever their own code does, and the guard of the logging calls."""

from __future__ import annotations

import traceback
import warnings
from types import TracebackType


def described(error: BaseException, trace: TracebackType | None = None) -> tuple[str, str, str]:
    """An exception's type, message and traceback with all causes. ``trace`` is a traceback other than its own."""
    kind = type(error).__name__
    try:
        message = str(error)
    except Exception:
        message = "<its message cannot be shown>"
    try:
        if trace is None:
            text = "".join(traceback.format_exception(error))
        else:
            text = "".join(traceback.format_exception(type(error), error, trace))
    except Exception:  # its notes, or those of a cause, cannot be read
        frames = "".join(traceback.format_tb(trace or error.__traceback__))
        text = f"Traceback (most recent call last):\n{frames}{kind}: {message}\n"
    return kind, message, text


def as_text(value: object) -> str:
    """A value's text, whatever its own code does."""
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__} object>"


def report(problem: str, error: Exception | None = None) -> None:
    """Warn of something that could not be logged as it was given. It never raises.

    Python prints a warning once for each line of the program that causes it.
    """
    if error is not None:
        kind, message, _ = described(error)
        problem = f"{problem}: {kind}: {message}"
    try:
        warnings.warn(problem, stacklevel=4)
    except Exception:  # a filter makes warnings errors, which must not stop a training
        pass
