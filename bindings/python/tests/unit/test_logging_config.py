"""The specification of the configuration."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from model_foundry.config import ExperimentConfig, LoggingConfig

POSITIVE = [
    "max_log_files",
    "max_log_size_mb",
    "log_metrics_every_n_steps",
    "log_detailed_metrics_every_n_steps",
    "log_memory_every_n_steps",
    "max_errors_to_track",
    "flush_interval_ms",
]


def test_default_values() -> None:
    assert LoggingConfig().model_dump() == {
        "console_level": "INFO",
        "file_level": "DEBUG",
        "use_structured_logging": True,
        "log_to_wandb": True,
        "max_log_files": 10,
        "max_log_size_mb": 100,
        "log_metrics_every_n_steps": 10,
        "log_detailed_metrics_every_n_steps": 100,
        "profile_performance": False,
        "log_memory_every_n_steps": 100,
        "max_errors_to_track": 1000,
        "durability": "immediate",
        "flush_interval_ms": 200,
    }


def test_custom_values() -> None:
    config = LoggingConfig(console_level="ERROR", max_log_files=3, durability="synced")
    assert (config.console_level, config.max_log_files, config.durability) == ("ERROR", 3, "synced")
    assert config.max_log_size_mb == 100


@pytest.mark.parametrize("field", ["console_level", "file_level"])
def test_validates_log_levels(field: str) -> None:
    for level in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        assert getattr(LoggingConfig.model_validate({field: level}), field) == level
    with pytest.raises(ValidationError, match="must be one of DEBUG, INFO, WARNING") as caught:
        LoggingConfig.model_validate({field: "LOUD"})
    assert caught.value.errors()[0]["loc"] == (field,)
    assert caught.value.errors()[0]["input"] == "LOUD"


@pytest.mark.parametrize("field", POSITIVE)
@pytest.mark.parametrize("value", [0, -1, 1.5, "many", True, None, float("nan"), 2**40])
def test_validates_positive_integers(field: str, value: Any) -> None:
    with pytest.raises(ValidationError, match="must be a positive integer") as caught:
        LoggingConfig.model_validate({field: value})
    assert [error["loc"] for error in caught.value.errors()] == [(field,)]


def test_every_violation_is_reported_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        LoggingConfig(max_log_files=0, console_level="LOUD", durabilty="synced")  # type: ignore[call-arg]
    messages = {error["loc"]: error["msg"] for error in caught.value.errors()}
    assert set(messages) == {("max_log_files",), ("console_level",), ("durabilty",)}
    assert messages[("durabilty",)] == "is not a known field; did you mean `durability`?"


def test_assigning_to_a_field_validates_it() -> None:
    config = LoggingConfig()
    config.max_log_files = 3
    with pytest.raises(ValidationError, match="must be a positive integer"):
        config.max_log_files = 0
    with pytest.raises(ValidationError):
        config.no_such_field = 1  # type: ignore[attr-defined]
    assert config.max_log_files == 3


def test_integrates_with_experiment_config() -> None:
    sections = {
        "experiment_name": "tiny-lm",
        "data": {"path": "data.txt", "nested": {"a": [1, 2]}},
        "tokenizer": {"vocabulary": 65},
        "model": {"layers": 4, "model_kind": "gpt"},
        "training": {"lr": 3e-4, "output_dir": "out"},
        "random_seed": 7,
    }
    config = ExperimentConfig.model_validate({**sections, "logging": {"console_level": "WARNING"}})

    assert config.logging.console_level == "WARNING"
    assert config.logging.max_log_files == 10
    whole = config.model_dump()
    assert {name: whole[name] for name in sections} == sections
    assert config.training.lr == 3e-4  # type: ignore[attr-defined]


def test_a_section_s_violations_name_it() -> None:
    with pytest.raises(ValidationError) as caught:
        ExperimentConfig.model_validate({"logging": {"max_log_files": 0, "logging": 1}})
    places = {error["loc"] for error in caught.value.errors()}
    assert places == {("experiment_name",), ("logging", "max_log_files"), ("logging", "logging")}


def test_a_configuration_may_be_made_of_models() -> None:
    config = ExperimentConfig(experiment_name="x", logging=LoggingConfig(max_log_files=2))
    assert config.logging.max_log_files == 2
    assert ExperimentConfig.model_validate_json(config.model_dump_json()) == config
