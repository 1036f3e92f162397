"""The runs that this process has open, and what a fork, a worker's end and the process's end do to them."""

from __future__ import annotations

import atexit
import json
import os
import sys
import threading
import warnings
import weakref
from pathlib import Path
from typing import Any

from model_foundry import _native

# Loggers of one folder and one configuration share one run, so that it has one writer and one set of locks.
_open: weakref.WeakValueDictionary[tuple[str, str], _native.Run] = weakref.WeakValueDictionary()
_opening = threading.Lock()


def open_run(
    folder: str | os.PathLike[str],
    experiment: str | None,
    logging: dict[str, Any],
    sections: dict[str, Any] | None = None,
) -> _native.Run:
    """Open the run of a folder, or return the one that this process has open with the same configuration.

    ``logging`` is the ``logging`` section of the configuration, ``sections`` are the others. Without an
    ``experiment`` the name is the one in the folder's run.json, or else the folder's own name. A name that
    differs from the one in run.json is warned about.

    Raises ``OSError`` if the folder cannot be made or written, ``ValueError`` for an invalid configuration.
    """
    real = os.path.realpath(folder)
    config = _native.to_json({**(sections or {}), "logging": logging})
    with _opening:
        run = _open.get((real, config))
        if run is None or run.ended:
            recorded = _experiment_in(Path(real))
            if recorded is not None and experiment not in (None, recorded):
                warnings.warn(
                    f"{real} is the run folder of experiment {recorded!r}, and {experiment!r} logs to it too: "
                    "use one folder per experiment",
                    stacklevel=3,
                )
            name = recorded or experiment or os.path.basename(real) or "experiment"
            run = _native.Run(name, real, config)
            _open[(real, config)] = run
        return run


def _experiment_in(folder: Path) -> str | None:
    """The experiment that the folder's run.json names; None without a readable run.json."""
    try:
        name = json.loads((folder / "run.json").read_text("utf-8"))["experiment"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None


def _finish_all() -> None:
    # The interpreter sets one of these to an uncaught exception before it calls atexit functions.
    error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    status = "completed"
    # In an interactive session (with a prompt in ps1) an exception does not end the program.
    if error is not None and not hasattr(sys, "ps1"):
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
    for run in list(_open.values()):
        if status == "completed":
            run.close()
        else:
            run.finish(status)


def _flush_all() -> None:
    for run in list(_open.values()):
        run.flush()


def _flush_at_end_of_worker(_: object) -> None:
    from multiprocessing import util

    util.Finalize(None, _flush_all, exitpriority=0)


def _after_fork_in_child() -> None:
    global _opening
    _opening = threading.Lock()
    _native.after_fork_in_child()
    # A multiprocessing worker runs no atexit functions, and drops its parent's finalizers when it starts.
    # Functions registered here run after that.
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.register_after_fork(_registrant, _flush_at_end_of_worker)


class _Registrant:
    """``register_after_fork`` calls its function as long as an object lives, and refers to that weakly."""


_registrant = _Registrant()

atexit.register(_finish_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_native.before_fork,
        after_in_parent=_native.after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
