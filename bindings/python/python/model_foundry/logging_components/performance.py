"""Timings of named blocks, and memory samples."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from model_foundry import _native
from model_foundry._exceptions import report
from model_foundry._runs import run_of
from model_foundry.logging_components.structured import StructuredLogger


class PerformanceLogger:
    """Times named blocks with the monotonic clock, and samples memory.

    ``logger`` is a :class:`StructuredLogger` or a standard logger. Timings and samples are also recorded in
    performance.jsonl of the run that is open: that of the logger's experiment, or else the newest.

    :attr:`timers` is a plain dict that may be changed: statistics and reports are computed from its current
    contents.

    A block measures only the launch of work on a GPU, which runs asynchronously. Measure the work itself with
    CUDA events, and pass its duration to :meth:`record`.

    >>> import logging
    >>> performance = PerformanceLogger(logging.getLogger("train"))
    >>> with performance.time_block("forward"):
    ...     _ = sum(range(1000))
    >>> performance.get_timing_statistics("forward")["count"]
    1
    """

    def __init__(self, logger: StructuredLogger | logging.Logger) -> None:
        self.logger = logger
        #: The samples of each name, in seconds.
        self.timers: dict[str, list[float]] = {}
        self._own = logger._run if isinstance(logger, StructuredLogger) else None

    @property
    def _run(self) -> _native.Run | None:
        """The run whose performance.jsonl has the timings."""
        if self._own is not None:
            return self._own
        context = self.logger.context if isinstance(self.logger, StructuredLogger) else {}
        return run_of(str(context.get("experiment")))

    def time_block(self, name: str, log_level: int = logging.DEBUG) -> TimedBlock:
        """Time a ``with`` block, and log "<name> completed in 0.0500s" at ``log_level``.

        A block that raises is timed too and logged as "<name> failed after 0.0500s"; its exception is passed
        on. ``log_level`` is a number of the logging module.

        >>> import logging
        >>> performance = PerformanceLogger(logging.getLogger("train"))
        >>> with performance.time_block("forward", log_level=logging.INFO) as timed:
        ...     _ = sum(range(1000))
        >>> timed.seconds > 0
        True
        """
        return TimedBlock(self, name, log_level)

    def record(self, name: str, seconds: float) -> None:
        """Record a duration that was measured elsewhere, in seconds.

        Raises ``ValueError`` if it is negative, NaN or infinite.

        >>> import logging
        >>> performance = PerformanceLogger(logging.getLogger("train"))
        >>> performance.record("kernel", 0.25)
        >>> performance.timers
        {'kernel': [0.25]}
        """
        self._add_sample(name, float(seconds), None, failed=False)

    def get_timing_statistics(self, name: str) -> dict[str, float]:
        """``count``, ``mean``, ``min``, ``max`` and ``std`` of a name's samples in :attr:`timers`, in seconds.

        ``std`` is the sample standard deviation (n − 1); it is 0 for one sample. All are 0 for a name without
        samples.

        >>> import logging
        >>> performance = PerformanceLogger(logging.getLogger("train"))
        >>> performance.timers["forward"] = [1.0, 2.0, 3.0]
        >>> performance.get_timing_statistics("forward")
        {'count': 3, 'mean': 2.0, 'min': 1.0, 'max': 3.0, 'std': 1.0}
        """
        values = _native.statistics(self.timers.get(name, []))
        return dict(zip(("count", "mean", "min", "max", "std"), values, strict=True))

    def log_memory_usage(self, step: int | None = None) -> dict[str, Any]:
        """Sample the memory of this process, of the machine and of each GPU, and log it at INFO.

        Returns the figures, in bytes: ``process_resident``, ``process_virtual``, ``machine_total``,
        ``machine_used``, ``machine_available``, and ``gpus``, a list with a dict for each GPU: ``index``,
        ``uuid``, ``name``, and ``total``, ``used``, ``free``, ``reserved`` and ``process`` as reported by the
        driver. ``process`` is None if the driver does not report it.

        If PyTorch uses CUDA, its GPUs also have ``torch_allocated`` and ``torch_reserved``, as reported by its
        allocator. Figures that are unavailable are left out, and ``memory_unavailable``, ``gpu_unavailable`` or
        ``torch_unavailable`` gives the reason.

        >>> import logging
        >>> PerformanceLogger(logging.getLogger("train")).log_memory_usage()["process_resident"] > 0
        True
        """
        run = self._run
        if step is not None and (not isinstance(step, int) or step < 0):
            try:
                step = max(0, int(step))
            except (TypeError, ValueError, OverflowError):
                step = None
        sample = None if run is None else _native.log_memory(run, step)
        figures, messages = _native.memory() if sample is None else sample
        torch_messages = _add_torch(figures)
        if torch_messages:
            messages = [text for text in messages if not text.startswith("GPU memory - Allocated")]
            messages += torch_messages
        context = figures if step is None else {"step": step, **figures}
        for message in messages:
            self._log(logging.INFO, message, context)
        return figures

    def reset_timers(self) -> None:
        """Clear the timings. performance.jsonl stays as it is.

        >>> import logging
        >>> performance = PerformanceLogger(logging.getLogger("train"))
        >>> performance.record("forward", 0.5)
        >>> performance.reset_timers()
        >>> performance.timers
        {}
        """
        self.timers.clear()
        run = self._run
        if run is not None:
            _native.reset_timers(run)

    def __repr__(self) -> str:
        return f"PerformanceLogger({self.logger!r}, {sorted(self.timers)})"

    def export_timing_report(self, path: str | os.PathLike[str]) -> None:
        """Write the statistics of every name, in seconds, to a JSON file.

        The file is replaced as a whole: an earlier report stays if this fails. Raises ``OSError`` if the file
        cannot be written, ``ValueError`` if a sample in :attr:`timers` is negative, NaN or infinite.

        >>> import json, logging, tempfile
        >>> performance = PerformanceLogger(logging.getLogger("train"))
        >>> performance.record("forward", 0.5)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     performance.export_timing_report(folder + "/timing_report.json")
        ...     json.load(open(folder + "/timing_report.json"))["forward"]["mean"]
        0.5
        """
        report = _native.timing_report(list(self.timers.items()))
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f"{target.name}.new-", dir=target.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(report)
                file.flush()
                os.fsync(file.fileno())
            # mkstemp makes a file that only its owner may read; give it the permissions of a new file.
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(temporary, 0o666 & ~mask)
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise

    def _add_sample(self, name: str, seconds: float, level: int | None, *, failed: bool) -> None:
        name = str(name)
        message = None
        run = self._run
        if run is not None:
            message = _native.record_block(run, name, seconds, failed)
        elif level is None or self._is_enabled_for(level):
            message = _native.finished(name, seconds, failed)
        self.timers.setdefault(name, []).append(seconds)
        if level is not None and message is not None:
            self._log(level, message, {"seconds": seconds})

    def _is_enabled_for(self, level: int) -> bool:
        logger = self.logger.logger if isinstance(self.logger, StructuredLogger) else self.logger
        return logger.isEnabledFor(level)

    def _log(self, level: int, message: str, context: dict[str, Any]) -> None:
        if isinstance(self.logger, StructuredLogger):
            self.logger.log_structured(level, message, **context)
        else:
            run = self._run
            if run is not None and run.wants(level):
                run.log(self.logger.name, level, message, {}, context)
            self.logger.log(level, "%s", message)


class TimedBlock:
    """A block that is being timed. :meth:`PerformanceLogger.time_block` returns it."""

    __slots__ = ("_began", "_level", "_name", "_performance", "seconds")

    def __init__(self, performance: PerformanceLogger, name: str, level: int) -> None:
        self._performance = performance
        self._name = name
        self._level = level
        self._began = 0
        #: The block's duration in seconds; None until the block ends.
        self.seconds: float | None = None

    def __enter__(self) -> TimedBlock:
        self._began = time.perf_counter_ns()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.seconds = (time.perf_counter_ns() - self._began) / 1e9
        try:
            self._performance._add_sample(
                self._name, self.seconds, self._level, failed=error is not None
            )
        except Exception as problem:  # nothing that is logged may stop a training
            report("a duration was not logged", problem)


def _add_torch(figures: dict[str, Any]) -> list[str]:
    """Add the figures of PyTorch's allocator, if PyTorch uses CUDA, and return a message for each GPU."""
    torch = sys.modules.get("torch")
    try:
        if torch is None or not torch.cuda.is_initialized():
            return []
        gpus = figures.setdefault("gpus", [])
        messages = []
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            uuid = f"GPU-{getattr(properties, 'uuid', '')}"
            gpu = next((gpu for gpu in gpus if gpu.get("uuid") == uuid), None)
            if gpu is None:
                gpu = {"index": index, "uuid": uuid, "name": properties.name}
                gpus.append(gpu)
            allocated = torch.cuda.memory_allocated(index)
            reserved = torch.cuda.memory_reserved(index)
            gpu["torch_allocated"], gpu["torch_reserved"] = allocated, reserved
            messages.append(
                f"GPU memory - Allocated: {allocated / 1e9:.2f}GB, Reserved: {reserved / 1e9:.2f}GB "
                f"(GPU {index}: {properties.name})"
            )
        return messages
    except Exception as error:  # a failing driver must not stop training
        figures["torch_unavailable"] = f"{type(error).__name__}: {error}"
        return []
