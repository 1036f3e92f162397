"""Configurations as pydantic models. The rules, the defaults and the words are the component's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_core.core_schema import ValidationInfo

from model_foundry import _native

_DEFAULTS: dict[str, Any] = json.loads(_native.default_logging_config())


class LoggingConfig(BaseModel):
    """How a training logs. Every field has a default.

    Raises ``pydantic.ValidationError`` with every violation at once; for an unknown field it names the
    nearest known one. A field that is set later is judged too.

    >>> LoggingConfig().log_metrics_every_n_steps
    10
    >>> LoggingConfig(max_log_files=0)
    Traceback (most recent call last):
    ...
    pydantic_core._pydantic_core.ValidationError: 1 validation error for LoggingConfig
    ...
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    #: The least grave records shown on the console: DEBUG, INFO, WARNING, ERROR or CRITICAL.
    console_level: str = _DEFAULTS["console_level"]
    #: The least grave records kept in main.log.
    file_level: str = _DEFAULTS["file_level"]
    #: JSON Lines in main.log; otherwise text.
    use_structured_logging: bool = _DEFAULTS["use_structured_logging"]
    #: Log to Weights & Biases too.
    log_to_wandb: bool = _DEFAULTS["log_to_wandb"]
    #: How many files of a rotated log are kept, 1 or more.
    max_log_files: int = _DEFAULTS["max_log_files"]
    #: The size in MiB at which a log rotates, 1 or more.
    max_log_size_mb: int = _DEFAULTS["max_log_size_mb"]
    #: Steps between metrics, 1 or more.
    log_metrics_every_n_steps: int = _DEFAULTS["log_metrics_every_n_steps"]
    #: Steps between detailed metrics, 1 or more.
    log_detailed_metrics_every_n_steps: int = _DEFAULTS["log_detailed_metrics_every_n_steps"]
    #: Time the parts of a step.
    profile_performance: bool = _DEFAULTS["profile_performance"]
    #: Steps between memory samples, 1 or more.
    log_memory_every_n_steps: int = _DEFAULTS["log_memory_every_n_steps"]
    #: How many recent errors stay in memory, 1 or more.
    max_errors_to_track: int = _DEFAULTS["max_errors_to_track"]
    #: When a record is safe: buffered, immediate or synced.
    durability: str = _DEFAULTS["durability"]
    #: The most that ``buffered`` may hold back, in milliseconds, 1 or more.
    flush_interval_ms: int = _DEFAULTS["flush_interval_ms"]

    @model_validator(mode="before")
    @classmethod
    def _judge(cls, given: Any) -> Any:
        # A field that is set later comes one by one, to the validator below.
        if not isinstance(given, Mapping):
            return given
        return _judged(dict(given))

    @field_validator("*", mode="before")
    @classmethod
    def _judge_field(cls, value: Any, info: ValidationInfo) -> Any:
        name = str(info.field_name)
        try:
            return _judged({name: value})[name]
        except ValidationError as error:
            # pydantic adds the field's name itself.
            problem = error.errors()[0]
            raise PydanticCustomError("logging_config", "{problem}", {"problem": problem["msg"]}) from None


class _Section(BaseModel):
    """A section of an experiment's configuration: whatever it holds is kept."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())


class DataConfig(_Section):
    """The ``data`` section."""


class TokenizerConfig(_Section):
    """The ``tokenizer`` section."""


class ModelConfig(_Section):
    """The ``model`` section."""


class TrainingConfig(_Section):
    """The ``training`` section. A :class:`~model_foundry.trainer.Trainer` reads ``output_dir`` from it,
    and ``max_steps`` and ``steps_per_epoch``."""


class ExperimentConfig(BaseModel):
    """An experiment's configuration. Sections keep keys that this package does not know.

    >>> config = ExperimentConfig(
    ...     experiment_name="tiny-lm",
    ...     model={"layers": 4},
    ...     logging={"console_level": "WARNING"},
    ... )
    >>> config.model.layers, config.logging.console_level, config.logging.max_log_files
    (4, 'WARNING', 10)
    """

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    #: The experiment's name.
    experiment_name: str
    #: What is trained on.
    data: DataConfig = Field(default_factory=DataConfig)
    #: How text becomes numbers.
    tokenizer: TokenizerConfig = Field(default_factory=TokenizerConfig)
    #: What is trained.
    model: ModelConfig = Field(default_factory=ModelConfig)
    #: How it is trained.
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    #: How it logs.
    logging: LoggingConfig = Field(default_factory=LoggingConfig)
    #: What the random numbers begin with; none leaves that to chance.
    random_seed: int | None = None


def _judged(given: dict[str, Any]) -> dict[str, Any]:
    """What is given as the component reads it, for the fields that are given."""
    # As a section, so that a field of the name "logging" is an unknown one and no section.
    whole, violations = _native.check_logging_config(_native.to_json({"logging": given}))
    if whole is None:
        raise ValidationError.from_exception_data(
            "LoggingConfig",
            [
                InitErrorDetails(
                    # The words of the component are no template.
                    type=PydanticCustomError("logging_config", "{problem}", {"problem": message}),
                    loc=(field,) if field else (),
                    input=given.get(field),
                )
                for field, message in (
                    (name.removeprefix("logging").removeprefix("."), message)
                    for name, message in violations
                )
            ],
        )
    read = json.loads(whole)
    return {name: read[name] for name in given}
