"""The runs that this process has open, and what a fork, a worker's end and the process's end do to them."""

from __future__ import annotations

import argparse
import atexit
import copyreg
import dataclasses
import json
import os
import platform
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from model_foundry import _native
from model_foundry._exceptions import report

# Loggers of one folder and one configuration share one run, so that it has one writer and one set of locks.
_open: weakref.WeakValueDictionary[tuple[str, str], _native.Run] = weakref.WeakValueDictionary()
_opening = threading.RLock()


class _Opened(NamedTuple):
    """With what a run was opened."""

    experiment: str
    config: str


# The open runs, the newest last. Loggers that were made without a run find theirs here.
_opened: weakref.WeakKeyDictionary[_native.Run, _Opened] = weakref.WeakKeyDictionary()

# The process that ends its runs when its function ends.
_watches: int | None = None


def open_run(
    folder: str | os.PathLike[str],
    experiment: str | None,
    logging: dict[str, Any],
    sections: dict[str, Any] | None = None,
    *,
    console: bool = False,
) -> _native.Run:
    """Open the run of a folder, or return the one that this process has open with the same configuration.

    ``logging`` is the ``logging`` section of the configuration, ``sections`` are the others. Without an
    ``experiment`` the name is the one in the folder's run.json, or else the folder's own name. A name that
    differs from the one in run.json is warned about. With ``console`` the run prints its records.

    Raises ``OSError`` if the folder cannot be made or written, ``ValueError`` for an invalid configuration.
    """
    real = os.path.realpath(folder)
    config = _native.to_json({**unfolded(sections or {}), "logging": logging})
    with _opening:
        run = _known(real, config)
        if run is None:
            recorded = _experiment_in(Path(real))
            if recorded is not None and experiment not in (None, recorded):
                warnings.warn(
                    f"{real} is the run folder of experiment {recorded!r}, and {experiment!r} logs to it too: "
                    "use one folder per experiment",
                    stacklevel=3,
                )
            name = recorded or experiment or os.path.basename(real) or "experiment"
            run = _native.Run(name, real, config, versions=_versions(), console=console)
            _register(run, real, name, config)
        return run


def _register(run: _native.Run, folder: str, experiment: str, config: str) -> None:
    """Note a run that was opened. The caller holds the lock."""
    _open[(folder, config)] = run
    _opened[run] = _Opened(experiment, config)
    _watch_end_of_worker()


def _known(folder: str, config: str) -> _native.Run | None:
    """The run that this process has open in a folder with this configuration."""
    run = _open.get((folder, config))
    # A run whose folder was moved is not the one of its old path.
    return None if run is None or run.ended or os.fspath(run.folder) != folder else run


def rejoin(folder: str, experiment: str, config: str) -> _native.Run | None:
    """The run of a copied logger: that of this process, or in another process a part of the same attempt.

    None, with a warning, where the folder is not there: on another machine, or after it was deleted.
    """
    real = os.path.realpath(folder)
    if not os.path.isdir(real):
        report(f"a copied logger logs nothing here: there is no run folder {real}")
        return None
    with _opening:
        run = _known(real, config)
        if run is None:
            run = _native.Run(experiment, real, config, versions=_versions(), console=False)
            _register(run, real, experiment, config)
        return run


def _nothing() -> None:
    """The run of a copied logger whose run has ended."""


def _reduced(run: _native.Run) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """What `pickle` and `copy` make of a run."""
    opened = _opened.get(run)
    if opened is None or run.ended:
        return _nothing, ()
    return rejoin, (os.fspath(run.folder), opened.experiment, opened.config)


copyreg.pickle(_native.Run, _reduced)


def start_run(
    runs_dir: str | os.PathLike[str],
    experiment: str,
    logging: dict[str, Any],
    sections: dict[str, Any] | None = None,
    resume: bool | str = False,
    *,
    console: bool = False,
    run_id: str | None = None,
) -> _native.Run:
    """Begin a run of its own in ``runs_dir``: ``<experiment>``, then ``<experiment>-2``, and so on.

    The ranks of one job share a run. ``resume`` continues an earlier one: True the newest of the experiment, a
    string that run (a folder's name, a path, or an id). Processes with the same ``run_id`` share a run too. With
    ``console`` the run prints its records.

    Raises what :func:`open_run` raises, and ``ValueError`` if there is no such run to resume.
    """
    config = _native.to_json({**unfolded(sections or {}), "logging": logging})
    which = resume if isinstance(resume, str) else "" if resume else None
    run = _native.Run(
        experiment,
        None,
        config,
        runs_dir=os.fspath(runs_dir),
        resume=which,
        versions=_versions(),
        console=console,
        id=run_id,
    )
    with _opening:
        _register(run, os.path.realpath(run.folder), experiment, config)
    return run


def run_of(experiment: str) -> _native.Run | None:
    """The open run of a logger that was made without one: the newest of its experiment, or else the newest.

    A run that has ended is only taken if none is open: what is logged then belongs to its last attempt.
    """
    if not _opened:
        return None
    # Another thread may open or drop a run at any time.
    with _opening:
        runs = [(run, opened.experiment) for run, opened in _opened.items() if not run.closed]
    if not runs:
        return None
    of_experiment = [run for run, name in runs if name == experiment]
    newest = [*(run for run, _ in runs), *of_experiment]
    return next((run for run in reversed(newest) if not run.ended), newest[-1])


def members_of(value: Any) -> Mapping[str, Any] | None:
    """The members of a dataclass or an ``argparse.Namespace``, as they are; None for anything else."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return vars(value) if isinstance(value, argparse.Namespace) else None


#: How deep a configuration is unfolded: one that contains itself has an end.
DEEPEST = 32


def unfolded(value: Any, _depth: int = 0) -> Any:
    """A configuration as dicts, lists and plain values.

    Dataclasses, ``argparse.Namespace``, pydantic models, named tuples and OmegaConf's containers become dicts
    and lists. Integers beyond 64 bits, such as numpy's seeds of 128 bits, become text, which keeps their digits.
    """
    if hasattr(value, "_metadata") and type(value).__module__.partition(".")[0] == "omegaconf":
        from omegaconf import OmegaConf  # type: ignore[import-not-found, unused-ignore]

        try:
            value = OmegaConf.to_container(value, resolve=True)
        except Exception:  # an interpolation that cannot be resolved stays as it is written
            value = OmegaConf.to_container(value, resolve=False)
    elif (members := members_of(value)) is not None:
        value = members
    elif isinstance(value, type):
        return value
    elif hasattr(value, "model_dump"):
        try:
            value = value.model_dump(mode="json")
        except Exception:  # a member that is no JSON
            value = dict(value)
    elif hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, (Mapping, list, tuple, set, frozenset)):
        if _depth > DEEPEST:
            return "<nested too deep>"
        if isinstance(value, Mapping):
            return {str(name): unfolded(member, _depth + 1) for name, member in value.items()}
        return [unfolded(member, _depth + 1) for member in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value)
    return value


def _versions() -> list[tuple[str, str]]:
    """The versions of Python and of the training libraries that are imported."""
    versions = [("python", platform.python_version())]
    for name in ("torch", "jax", "tensorflow", "keras", "lightning", "transformers", "numpy"):
        version = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(version, str):
            versions.append((name, version))
    return versions


def ending_of(error: BaseException | None) -> tuple[str, int | None]:
    """How an attempt ends that this exception leaves: a status, and the process's exit code if it has one."""
    if error is None or isinstance(error, GeneratorExit):
        return "completed", None
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", None
    if isinstance(error, SystemExit):
        # As the interpreter does: None is 0, and what is not an integer is printed, with exit code 1.
        code = 0 if error.code is None else error.code if isinstance(error.code, int) else 1
        return ("completed" if code == 0 else "failed"), code
    return "failed", None


def end_run(run: _native.Run, error: BaseException | None) -> None:
    """End a run's attempt as this exception ends it, or without one as it was marked."""
    if error is None:
        run.end()
    else:
        run.finish(*ending_of(error))


def manifest_in(folder: Path) -> dict[str, Any]:
    """The folder's run.json; empty if it cannot be read."""
    try:
        manifest = json.loads((folder / "run.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _experiment_in(folder: Path) -> str | None:
    """The experiment that the folder's run.json names; None without a readable run.json."""
    name = manifest_in(folder).get("experiment")
    return name if isinstance(name, str) else None


def _end_all(error: BaseException | None) -> None:
    """End the runs that are open as this exception ends the process, or without one as its exit code says.

    In a worker that of the parent is not ended by this.
    """
    for run in list(_open.values()):
        if run.ended:
            continue
        if error is None:
            run.end_with_process()
        else:
            end_run(run, error)


def _finish_all() -> None:
    # The interpreter sets one of these to an uncaught exception before it calls atexit functions.
    error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    # In an interactive session (with a prompt in ps1) an exception does not end the program.
    if hasattr(sys, "ps1"):
        error = None
    _end_all(error)


def _watch_end_of_worker() -> None:
    """In a process that multiprocessing has started: end its runs as its function ends.

    There an exception is printed by multiprocessing, and the interpreter does not know of it.
    """
    global _watches
    process = sys.modules.get("multiprocessing.process")
    if process is None or process.parent_process() is None or _watches == os.getpid():
        return
    from multiprocessing import util

    _watches = os.getpid()
    util.Finalize(None, _finish_worker, exitpriority=1)


def _finish_worker() -> None:
    _end_all(sys.exc_info()[1])


def _flush_all() -> None:
    for run in list(_open.values()):
        run.flush()


def _flush_at_end_of_worker(_: object) -> None:
    from multiprocessing import util

    util.Finalize(None, _flush_all, exitpriority=0)


def _after_fork_in_child() -> None:
    global _opening
    _opening = threading.RLock()
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
