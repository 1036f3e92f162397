"""Training-run logging that cannot hurt your training.

Metrics, structured logs, timings, memory and errors go into plain files in one folder. The logic is one
sandboxed WebAssembly component; this package passes it what Python trainers log.

>>> import tempfile
>>> import model_foundry
>>> with model_foundry.init("tiny-lm", config={"lr": 3e-4}, dir=tempfile.mkdtemp(), quiet=True) as run:
...     for step in range(3):
...         run.log({"loss": 2.0 / (step + 1)})
...     run.summary["loss"]
0.6666666666666666
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from model_foundry import _front
from model_foundry._front import (
    AlertLevel,
    Artifact,
    Audio,
    Config,
    Error,
    Histogram,
    Html,
    Image,
    Markdown,
    Molecule,
    Object3D,
    Plotly,
    Run,
    Settings,
    Summary,
    Table,
    Video,
    alert,
    define_metric,
    finish,
    init,
    log,
    log_artifact,
    log_model,
    login,
    require,
    save,
    setup,
    show,
    termerror,
    termlog,
    termwarn,
    unwatch,
    util,
    watch,
)
from model_foundry.logging_components import (
    ErrorTracker,
    MetricsLogger,
    PerformanceLogger,
    StructuredLogger,
    WandBLogger,
)

# `model_foundry.config` is this module, and while a run is open its parameters.
from . import config

if TYPE_CHECKING:
    #: The run that is open; None without one.
    run: Run | None
    #: The results of the run that is open.
    summary: Summary

__all__ = [
    "AlertLevel",
    "Artifact",
    "Audio",
    "Config",
    "Error",
    "ErrorTracker",
    "Histogram",
    "Html",
    "Image",
    "Markdown",
    "MetricsLogger",
    "Molecule",
    "Object3D",
    "PerformanceLogger",
    "Plotly",
    "Run",
    "Settings",
    "StructuredLogger",
    "Summary",
    "Table",
    "Video",
    "WandBLogger",
    "alert",
    "config",
    "define_metric",
    "finish",
    "init",
    "log",
    "log_artifact",
    "log_model",
    "login",
    "require",
    "save",
    "setup",
    "show",
    "termerror",
    "termlog",
    "termwarn",
    "unwatch",
    "util",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name == "run":
        return _front.current()
    if name == "summary":
        open_run = _front.current()
        return Summary(None) if open_run is None else open_run.summary
    if name == "__version__":
        from importlib.metadata import version

        return version("model-foundry")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Package(ModuleType):
    """This package, whose attribute ``config`` is the parameters of the open run, or else the module."""

    @property
    def config(self) -> Any:
        open_run = _front.current()
        return sys.modules[f"{__name__}.config"] if open_run is None else open_run.config

    @config.setter
    def config(self, value: Any) -> None:
        # The import of the module sets it; a script may set parameters before `init`.
        if not isinstance(value, ModuleType):
            open_run = _front.current()
            if open_run is not None:
                open_run.config.update(value)


sys.modules[__name__].__class__ = _Package
