"""What the callbacks share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from model_foundry._runs import start_run
from model_foundry.logging_components import MetricsLogger


def metrics_logger(
    logger: MetricsLogger | None,
    experiment_name: str,
    output_dir: str | os.PathLike[str] | None,
    durability: str,
) -> MetricsLogger:
    """``logger``, or else a new one. Without a folder it is that of a new run in ``runs``."""
    if logger is not None:
        return logger
    if output_dir is not None:
        return MetricsLogger(experiment_name, output_dir, durability=durability)
    settings = {"durability": durability, "log_to_wandb": False}
    run = start_run("runs", experiment_name, settings)
    return MetricsLogger._of_run(experiment_name, run)


def without(metrics: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The metrics except ``names``, which are fields of the line itself."""
    return {name: value for name, value in metrics.items() if name not in names}
