"""Training-run logging that cannot hurt your training.

Metrics, structured logs, timings, memory and errors go into plain files in one folder. The logic is one
sandboxed WebAssembly component; this package passes it what Python trainers log.

>>> import tempfile
>>> from model_foundry import MetricsLogger
>>> with MetricsLogger("tiny-lm", tempfile.mkdtemp()) as metrics:
...     for step in range(3):
...         metrics.log_step(step, epoch=0, metrics={"loss": 2.0 / (step + 1)})
...     metrics.compute_statistics("loss")["count"]
3
"""

from model_foundry.logging_components import (
    ErrorTracker,
    MetricsLogger,
    PerformanceLogger,
    StructuredLogger,
    WandBLogger,
)

__all__ = [
    "ErrorTracker",
    "MetricsLogger",
    "PerformanceLogger",
    "StructuredLogger",
    "WandBLogger",
]
