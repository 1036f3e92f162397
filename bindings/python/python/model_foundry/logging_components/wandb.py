"""Weights & Biases, if it is installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from model_foundry._exceptions import report


class WandBLogger:
    """Forwards to the ``wandb`` package, and never stops training.

    If the package is missing or cannot start, this warns and every method does nothing. If a later call
    fails, it is ignored; only the first failure is warned about. With ``enabled=False`` every method does
    nothing, without a warning. ``project``, ``name``, ``config``, ``entity``, ``tags`` and ``mode`` are those
    of ``wandb.init``.

    >>> logger = WandBLogger("project", "run", {"lr": 3e-4}, enabled=False)
    >>> logger.log_metrics(1, {"loss": 2.5})
    >>> logger.get_run_url() is None
    True
    """

    def __init__(
        self,
        project: str,
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        entity: str | None = None,
        tags: Sequence[str] | None = None,
        enabled: bool = True,
        mode: Any = None,
    ) -> None:
        self.project = project
        self.name = name
        #: Whether calls are forwarded.
        self.enabled = enabled
        #: The run of the ``wandb`` package; None if it has not started.
        self.run: Any = None
        self._wandb: Any = None
        self._warned = False
        if enabled:
            try:
                import wandb
            except ImportError:
                self.enabled = False
                self._warn_once("the wandb package is not installed (pip install wandb)")
                return
            self._wandb = wandb
            self.run = self._try(
                lambda: wandb.init(
                    project=project,
                    name=name,
                    config=dict(config or {}),
                    entity=entity,
                    tags=list(tags) if tags is not None else None,
                    **({} if mode is None else {"mode": mode}),
                )
            )
            self.enabled = self.run is not None

    def log_metrics(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Log a step's metrics.

        >>> WandBLogger("project", "run", {}, enabled=False).log_metrics(10, {"loss": 2.5})
        """
        self._forward(lambda: self.run.log(dict(metrics), step=step))

    def log_system_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log metrics of the machine. Each name is prefixed with ``system/``.

        >>> WandBLogger("project", "run", {}, enabled=False).log_system_metrics({"gpu_memory_gb": 71.5}, step=10)
        """
        named = {f"system/{name}": value for name, value in metrics.items()}
        self._forward(lambda: self.run.log(named, step=step))

    def watch_model(self, model: Any, log: str = "gradients", log_freq: int = 100) -> None:
        """Log a model's gradients or parameters every ``log_freq`` batches.

        ``log`` is "gradients", "parameters" or "all".

        >>> WandBLogger("project", "run", {}, enabled=False).watch_model(None, log="all", log_freq=1000)
        """
        self._forward(lambda: self.run.watch(model, log=log, log_freq=log_freq))

    def log_artifact(self, path: Any, name: str, type: str = "model") -> None:
        """Log a file or a folder as an artifact.

        >>> WandBLogger("project", "run", {}, enabled=False).log_artifact("checkpoints/step-10.ckpt", "tiny-lm")
        """

        def forward() -> None:
            import os

            artifact = self._wandb.Artifact(name, type=type)
            (artifact.add_dir if os.path.isdir(path) else artifact.add_file)(str(path))
            self.run.log_artifact(artifact)

        self._forward(forward)

    def log_table(
        self, name: str, columns: Sequence[str], data: Sequence[Sequence[Any]], step: int | None = None
    ) -> None:
        """Log rows under named columns.

        >>> WandBLogger("project", "run", {}, enabled=False).log_table("samples", ["prompt", "text"], [["To be", "or not"]])
        """
        self._forward(
            lambda: self.run.log(
                {name: self._wandb.Table(columns=list(columns), data=[list(row) for row in data])},
                step=step,
            )
        )

    def log_image(
        self, name: str, image: Any, caption: str | None = None, step: int | None = None
    ) -> None:
        """Log an image: a path, an array or a PIL image.

        >>> WandBLogger("project", "run", {}, enabled=False).log_image("attention", "attention.png", caption="layer 3")
        """
        self._forward(
            lambda: self.run.log({name: self._wandb.Image(image, caption=caption)}, step=step)
        )

    def log_histogram(self, name: str, values: Any, step: int | None = None) -> None:
        """Log the distribution of values.

        >>> WandBLogger("project", "run", {}, enabled=False).log_histogram("weights", [0.1, -0.2, 0.05], step=10)
        """
        self._forward(lambda: self.run.log({name: self._wandb.Histogram(values)}, step=step))

    def alert(self, title: str, text: str, level: str = "INFO") -> None:
        """Send an alert. ``level`` is INFO, WARN or ERROR.

        >>> WandBLogger("project", "run", {}, enabled=False).alert("loss is NaN", "at step 10", level="ERROR")
        """
        self._forward(
            lambda: self.run.alert(
                title=title, text=text, level=getattr(self._wandb.AlertLevel, level.upper())
            )
        )

    def finish(self, exit_code: int | None = None) -> None:
        """End the run. Later calls do nothing.

        >>> WandBLogger("project", "run", {}, enabled=False).finish(exit_code=0)
        """
        self._forward(lambda: self.run.finish(exit_code=exit_code))
        self.enabled = False

    def get_run_url(self) -> str | None:
        """The web address of the run; None if it has none.

        >>> WandBLogger("project", "run", {}, enabled=False).get_run_url() is None
        True
        """
        url = self._forward(lambda: self.run.url)
        return None if url is None else str(url)

    def summary(self, metrics: Mapping[str, Any]) -> None:
        """Set values in the run's summary.

        >>> WandBLogger("project", "run", {}, enabled=False).summary({"best_val_loss": 1.9})
        """
        self._forward(lambda: self.run.summary.update(dict(metrics)))

    def _forward(self, call: Callable[[], Any]) -> Any:
        return self._try(call) if self.enabled and self.run is not None else None

    def _try(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:  # a failing tracker must not stop training
            self._warn_once(f"{type(error).__name__}: {error}")
            return None

    def _warn_once(self, problem: str) -> None:
        if not self._warned:
            self._warned = True
            report(f"cannot log to Weights & Biases: {problem}; training continues without it")
