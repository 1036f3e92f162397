"""What the callbacks share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from model_foundry.logging_components import MetricsLogger


def metrics_logger(
    logger: MetricsLogger | None,
    experiment_name: str,
    output_dir: str | os.PathLike[str] | None,
    durability: str,
) -> MetricsLogger:
    """``logger``, or else a new one. Its folder is by default ``runs/<experiment_name>``."""
    if logger is not None:
        return logger
    folder = os.path.join("runs", experiment_name) if output_dir is None else output_dir
    return MetricsLogger(experiment_name, folder, durability=durability)


def without(metrics: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The metrics except ``names``, which are fields of the line itself."""
    return {name: value for name, value in metrics.items() if name not in names}
