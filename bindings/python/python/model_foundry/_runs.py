"""The runs that are open in this process, and what happens to them at a fork and at the end."""

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

# One folder and one configuration is one run, whichever loggers share it: one writer, one set of locks.
_open: weakref.WeakValueDictionary[tuple[str, str], _native.Run] = weakref.WeakValueDictionary()
_opening = threading.Lock()


def open_run(
    folder: str | os.PathLike[str],
    experiment: str | None,
    logging: dict[str, Any],
    sections: dict[str, Any] | None = None,
) -> _native.Run:
    """Open the run of a folder, or take the one that this process has open with this configuration.

    Without an experiment's name it is the one that the folder holds, or else the folder's own name.
    """
    real = os.path.realpath(folder)
    config = _native.to_json({**(sections or {}), "logging": logging})
    with _opening:
        run = _open.get((real, config))
        if run is None or run.ended:
            known = _experiment_in(Path(real))
            if known is not None and experiment not in (None, known):
                warnings.warn(
                    f"{real} is the run folder of experiment {known!r}: {experiment!r} is logged there too; "
                    "give each experiment a folder of its own",
                    stacklevel=3,
                )
            name = known or experiment or os.path.basename(real) or "experiment"
            run = _native.Run(name, real, config)
            _open[(real, config)] = run
        return run


def _experiment_in(folder: Path) -> str | None:
    try:
        name = json.loads((folder / "run.json").read_text("utf-8"))["experiment"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None


def _finish_all() -> None:
    # An exception that ended the program was printed, and is kept here, before this is called.
    error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    status = "completed"
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
    # A worker of multiprocessing ends without the interpreter's own end, and forgets, when it begins, whom
    # the parent had it call then.
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.register_after_fork(_worker, _flush_at_end_of_worker)


class _Worker:
    """Something that multiprocessing can hold weakly."""


_worker = _Worker()

atexit.register(_finish_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_native.before_fork,
        after_in_parent=_native.after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
