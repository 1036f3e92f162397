"""The loggers: structured records, metrics, timings and memory, errors, Weights & Biases."""

from model_foundry.logging_components.errors import ErrorTracker
from model_foundry.logging_components.metrics import MetricsLogger
from model_foundry.logging_components.performance import PerformanceLogger
from model_foundry.logging_components.structured import StructuredLogger
from model_foundry.logging_components.wandb import WandBLogger

__all__ = [
    "ErrorTracker",
    "MetricsLogger",
    "PerformanceLogger",
    "StructuredLogger",
    "WandBLogger",
]
