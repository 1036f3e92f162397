"""Configurations as pydantic models. The rules, the defaults and the messages come from the component.

While a run is open that :func:`model_foundry.init` began, ``model_foundry.config`` is its parameters instead:
``model_foundry.config.lr``, ``model_foundry.config["lr"]``, ``model_foundry.config.update(…)``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_core.core_schema import ValidationInfo

from model_foundry import _front, _native

__all__ = [
    "DataConfig",
    "ExperimentConfig",
    "LoggingConfig",
    "ModelConfig",
    "TokenizerConfig",
    "TrainingConfig",
]

_DEFAULTS: dict[str, Any] = json.loads(_native.default_logging_config())


class LoggingConfig(BaseModel):
    """How a training run is logged. Every field has a default; integers range from 1 to 4294967295.

    Raises ``pydantic.ValidationError`` with every violation at once; for an unknown field it names the most
    similar known one. Assigning to a field validates it too.

    >>> LoggingConfig().log_metrics_every_n_steps
    10
    >>> LoggingConfig(max_log_files=0)
    Traceback (most recent call last):
    ...
    pydantic_core._pydantic_core.ValidationError: 1 validation error for LoggingConfig
    ...
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    #: Minimum level of records on the console: DEBUG, INFO, WARNING, ERROR or CRITICAL.
    console_level: str = _DEFAULTS["console_level"]
    #: Minimum level of records in main.log: DEBUG, INFO, WARNING, ERROR or CRITICAL.
    file_level: str = _DEFAULTS["file_level"]
    #: Write main.log as JSON Lines; otherwise as text.
    use_structured_logging: bool = _DEFAULTS["use_structured_logging"]
    #: Also log to Weights & Biases.
    log_to_wandb: bool = _DEFAULTS["log_to_wandb"]
    #: Number of files retained of each rotated log, the current one included.
    max_log_files: int = _DEFAULTS["max_log_files"]
    #: Size in MiB at which a log rotates.
    max_log_size_mb: int = _DEFAULTS["max_log_size_mb"]
    #: Number of steps from one record of metrics to the next.
    log_metrics_every_n_steps: int = _DEFAULTS["log_metrics_every_n_steps"]
    #: Number of steps from one record of detailed metrics to the next.
    log_detailed_metrics_every_n_steps: int = _DEFAULTS["log_detailed_metrics_every_n_steps"]
    #: Time the parts of a step; a Trainer times each step as a whole.
    profile_performance: bool = _DEFAULTS["profile_performance"]
    #: Number of steps from one memory sample to the next.
    log_memory_every_n_steps: int = _DEFAULTS["log_memory_every_n_steps"]
    #: Number of recent errors retained in memory.
    max_errors_to_track: int = _DEFAULTS["max_errors_to_track"]
    #: What a logging call waits for: nothing ("buffered"), the write ("immediate") or the disk ("synced").
    durability: str = _DEFAULTS["durability"]
    #: Longest time that a record may stay buffered under "buffered", in milliseconds.
    flush_interval_ms: int = _DEFAULTS["flush_interval_ms"]

    @model_validator(mode="before")
    @classmethod
    def _check(cls, given: Any) -> Any:
        # A model is checked already, and pydantic rejects anything else.
        if not isinstance(given, Mapping):
            return given
        return _checked(dict(given))

    @field_validator("*", mode="before")
    @classmethod
    def _check_field(cls, value: Any, info: ValidationInfo) -> Any:
        name = str(info.field_name)
        try:
            return _checked({name: value})[name]
        except ValidationError as error:
            # The message only, because pydantic adds the field's name.
            problem = error.errors()[0]
            raise PydanticCustomError("logging_config", "{problem}", {"problem": problem["msg"]}) from None


class _Section(BaseModel):
    """A section of an experiment's configuration. It accepts and retains any key."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())


class DataConfig(_Section):
    """The ``data`` section: what the model is trained on."""


class TokenizerConfig(_Section):
    """The ``tokenizer`` section: how text becomes numbers."""


class ModelConfig(_Section):
    """The ``model`` section: what is trained."""


class TrainingConfig(_Section):
    """The ``training`` section: how the model is trained.

    A :class:`~model_foundry.trainer.Trainer` reads ``output_dir`` (a path), ``max_steps`` and
    ``steps_per_epoch`` (integers) from it. All three are optional.
    """


class ExperimentConfig(BaseModel):
    """An experiment's configuration.

    It and each section except ``logging`` accept and retain keys that this package does not know. Raises
    ``pydantic.ValidationError`` with every violation at once.

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
    #: What the model is trained on.
    data: DataConfig = Field(default_factory=DataConfig)
    #: How text becomes numbers.
    tokenizer: TokenizerConfig = Field(default_factory=TokenizerConfig)
    #: What is trained.
    model: ModelConfig = Field(default_factory=ModelConfig)
    #: How the model is trained.
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    #: How the run is logged.
    logging: LoggingConfig = Field(default_factory=LoggingConfig)
    #: Seed for the random numbers of Python, NumPy and PyTorch; None leaves them unseeded.
    random_seed: int | None = None


def _checked(given: dict[str, Any]) -> dict[str, Any]:
    """Check fields of a logging configuration, and return them as the component reads them.

    Raises ``ValidationError`` with every violation.
    """
    # Passed as a section, so that a field named "logging" is reported as unknown.
    whole, violations = _native.check_logging_config(_native.to_json({"logging": given}))
    if whole is None:
        raise ValidationError.from_exception_data(
            "LoggingConfig",
            [
                InitErrorDetails(
                    # A placeholder, because braces in the message itself would be filled in.
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


class _ParametersModule(ModuleType):
    """This module, which stands for the parameters of the open run where a script took it before ``init``."""

    def _parameters(self) -> _front.Config:
        run = _front.current()
        return _front.Config(None) if run is None else run.config

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parameters(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_") or name in self.__dict__ or _front.current() is None:
            super().__setattr__(name, value)
        else:
            self._parameters()[name] = value

    def __getitem__(self, name: str) -> Any:
        return self._parameters()[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._parameters()[name] = value

    def __delitem__(self, name: str) -> None:
        del self._parameters()[name]

    def __contains__(self, name: object) -> bool:
        return name in self._parameters()

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters())

    def __len__(self) -> int:
        return len(self._parameters())


sys.modules[__name__].__class__ = _ParametersModule
