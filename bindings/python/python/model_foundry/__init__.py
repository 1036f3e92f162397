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

from typing import TYPE_CHECKING, Any

from model_foundry import _front
from model_foundry._front import (
    AlertLevel,
    Artifact,
    Audio,
    Config,
    Histogram,
    Html,
    Image,
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
    login,
    save,
    unwatch,
    watch,
)
from model_foundry.logging_components import (
    ErrorTracker,
    MetricsLogger,
    PerformanceLogger,
    StructuredLogger,
    WandBLogger,
)

# Importing it makes it an attribute: `model_foundry.config` is the module, and the parameters of the open run.
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
    "ErrorTracker",
    "Histogram",
    "Html",
    "Image",
    "MetricsLogger",
    "PerformanceLogger",
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
    "login",
    "save",
    "unwatch",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name == "run":
        return _front.current()
    if name == "summary":
        open_run = _front.current()
        return Summary(None) if open_run is None else open_run.summary
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
