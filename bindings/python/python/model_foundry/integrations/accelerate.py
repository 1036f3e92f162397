"""A tracker for Hugging Face's Accelerate.

    accelerator = Accelerator(log_with=ModelFoundryTracker("tiny-lm"))
    accelerator.init_trackers("tiny-lm", config={"lr": 3e-4})
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from accelerate.tracking import GeneralTracker, on_main_process

from model_foundry._front import Run, init


class ModelFoundryTracker(GeneralTracker):  # type: ignore[misc]
    """Logs what ``Accelerator.log`` is given, in the main process only.

    The run begins when the tracker is made, in ``<dir>/<experiment_name>``, then ``-2``, and so on. ``dir``,
    ``resume`` and ``durability`` are those of :func:`model_foundry.init`, which also says what is raised.
    """

    name = "model_foundry"
    requires_logging_directory = False

    def __init__(
        self,
        experiment_name: str = "accelerate",
        *,
        dir: str | os.PathLike[str] | None = None,
        resume: bool | str | None = None,
        durability: str = "immediate",
    ) -> None:
        super().__init__()
        self._arguments = (experiment_name, dir, resume, durability)
        self._run: Run | None = None

    @on_main_process  # type: ignore[untyped-decorator, unused-ignore]
    def start(self) -> None:
        """Begin the run."""
        if self._run is None:
            experiment_name, folder, resume, durability = self._arguments
            self._run = init(
                experiment_name,
                dir=folder,
                resume=resume,
                durability=durability,
                # The program may have a run of its own.
                reinit="create_new",
                quiet=True,
            )

    @property
    def tracker(self) -> Run | None:
        """The run; None in other processes."""
        self.start()
        return self._run

    @on_main_process  # type: ignore[untyped-decorator, unused-ignore]
    def store_init_configuration(self, values: Mapping[str, Any]) -> None:
        """Record the configuration as parameters of the run."""
        run = self.tracker
        if run is not None:
            run.config.update(values)

    @on_main_process  # type: ignore[untyped-decorator, unused-ignore]
    def log(self, values: Mapping[str, Any], step: int | None = None, **_: Any) -> None:
        """Log the metrics of a step."""
        run = self.tracker
        if run is not None:
            run.log(values, step)

    @on_main_process  # type: ignore[untyped-decorator, unused-ignore]
    def finish(self) -> None:
        """End the run."""
        if self._run is not None:
            self._run.finish()
            self._run = None
