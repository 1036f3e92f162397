"""The front door: one run at a time, logged to by the functions of the package.

The names and the arguments are those that trainers know from other trackers, so that a script changes one import.
"""

from __future__ import annotations

import enum
import math
import os
import secrets
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, MutableMapping
from numbers import Number
from pathlib import Path
from types import TracebackType
from typing import Any

from model_foundry import _native
from model_foundry._exceptions import as_text, report
from model_foundry._runs import ending_of, manifest_in, members_of, start_run, unfolded
from model_foundry.logging_components import (
    ErrorTracker,
    MetricsLogger,
    PerformanceLogger,
    StructuredLogger,
)

# The run that `log`, `config` and the other functions of the package are about.
_current: Run | None = None
_changing = threading.RLock()

# What `init` of other trackers takes and what has no meaning here: they say where a server is, or who uses it.
_OF_SERVERS = frozenset(
    "allow_val_change anonymous auto_log_cpu auto_log_gpu bucket_id config_exclude_keys config_include_keys dataset_id "
    "embed entity force fork_from gpu_log_interval magic monitor_gym private resume_from save_code server_url settings "
    "space_id sync_tensorboard tensorboard webhook_min_level webhook_url".split()
)


# Values that a summary keeps as they are.
_PLAIN = frozenset((bool, float, int, str, type(None)))


class AlertLevel(enum.Enum):
    """How much an alert matters."""

    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"


class _Recorded(MutableMapping[str, Any]):
    """Values by name, also as attributes. Each change is recorded in run.json."""

    _run: _native.Run | None
    _values: dict[str, Any]

    def __init__(self, run: _native.Run | None) -> None:
        object.__setattr__(self, "_run", run)
        object.__setattr__(self, "_values", {})

    def _record(self, run: _native.Run, members: str) -> None:
        raise NotImplementedError

    def _change(self, members: Mapping[str, Any]) -> None:
        self._values.update(members)
        if self._run is None or self._run.closed or not members:
            return
        try:
            self._record(self._run, _native.to_json(unfolded(dict(members))))
        except Exception as error:  # nothing that is logged may stop a training
            report("run.json was not changed", error)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._change({str(name): value})

    def __delitem__(self, name: str) -> None:
        del self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.as_dict())

    def __len__(self) -> int:
        return len(self.as_dict())

    def __getattr__(self, name: str) -> Any:
        # Of a copy that is being made, `_values` is not there yet.
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            pass
        # `model_foundry.config.LoggingConfig`, while a run is open.
        module = sys.modules.get("model_foundry.config")
        if isinstance(self, Config) and module is not None and name in vars(module).get("__all__", ()):
            return vars(module)[name]
        raise AttributeError(f"{type(self).__name__} has no {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        del self[name]

    def __repr__(self) -> str:
        return repr(self.as_dict())

    def update(self, *given: Any, **named: Any) -> None:
        """Add values or change them: those of a mapping, an ``argparse.Namespace``, a dataclass, or by name.

        >>> import model_foundry
        >>> run = model_foundry.init("doc", mode="disabled")
        >>> run.config.update({"lr": 3e-4}, layers=2)
        >>> run.config.lr
        0.0003
        """
        members: dict[str, Any] = {}
        for source in given:
            # `allow_val_change` of other trackers may come second; here a value may always be changed.
            if source is None or source is True or source is False:
                continue
            try:
                members.update(_members(source))
            except Exception as error:  # nothing that is logged may stop a training
                report("a configuration was not recorded", error)
        named.pop("allow_val_change", None)
        self._change({**members, **named})

    def as_dict(self) -> dict[str, Any]:
        """The values as a plain dict."""
        return dict(self._values)


class Config(_Recorded):
    """The run's parameters: ``run.config["lr"]`` or ``run.config.lr``. They are recorded in run.json.

    Values that look like secrets are masked there.
    """

    def _record(self, run: _native.Run, members: str) -> None:
        run.add_parameters(members)

    def setdefaults(self, defaults: Any) -> None:
        """Add the parameters that are not set yet.

        >>> import model_foundry
        >>> run = model_foundry.init("doc", {"lr": 3e-4}, mode="disabled")
        >>> run.config.setdefaults({"lr": 1.0, "layers": 2})
        >>> run.config
        {'lr': 0.0003, 'layers': 2}
        """
        members = _members(defaults)
        self._change({name: value for name, value in members.items() if name not in self})


class Summary(_Recorded):
    """The run's results: what was set here, and otherwise the last logged value of each metric.

    What is set here is recorded in run.json, as ``results`` of the attempt.
    """

    def __init__(self, run: _native.Run | None) -> None:
        super().__init__(run)
        object.__setattr__(self, "_logged", {})

    def _record(self, run: _native.Run, members: str) -> None:
        run.add_results(members)

    def _note(self, data: Mapping[str, Any]) -> None:
        """Note the last values: numbers, booleans and texts, and no tensor that would keep memory alive."""
        for name, value in data.items():
            if type(value) in _PLAIN:
                self._logged[name] = value
            elif getattr(value, "shape", None) == () and hasattr(value, "item"):
                self._logged[name] = value.item()

    def __getitem__(self, name: str) -> Any:
        return self._values[name] if name in self._values else self._logged[name]

    def as_dict(self) -> dict[str, Any]:
        """The values as a plain dict."""
        return {**self._logged, **self._values}


class Run:
    """A run that is being logged. :func:`init` makes it.

    After :meth:`finish` nothing is logged, and a first call that tries warns. No method raises because of what is
    logged.
    """

    def __init__(
        self,
        native: _native.Run | None,
        experiment: str,
        *,
        name: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        self._native = native
        self._folder = None if native is None else native.folder
        self._temporary: str | None = None
        self._finished = False
        details = details or {}
        #: The experiment's name.
        self.experiment = experiment
        #: The name of this run: the one that was given, or else its folder's name.
        self.name: str = name or (self._folder.name if self._folder else experiment)
        #: What :func:`init` was given as ``project``, ``group``, ``job_type``, ``notes`` and ``tags``.
        self.project: str | None = details.get("project")
        self.group: str | None = details.get("group")
        self.job_type: str | None = details.get("job_type")
        self.notes: str | None = details.get("notes")
        self.tags: tuple[str, ...] = tuple(details.get("tags") or ())
        #: The parameters.
        self.config = Config(native)
        #: The results.
        self.summary = Summary(native)
        self._id = None if native is None else native.id
        last = None if native is None else native.last_step()
        self._next = 0 if last is None else last + 1
        self._counting = threading.Lock()
        #: The structured logger, which writes main.log.
        self.logger = StructuredLogger(experiment, experiment)
        if native is not None:
            self.logger._run = native
            self.logger.context.update(dict(native.base_context()))
        #: Times blocks, and samples memory.
        self.performance = PerformanceLogger(self.logger)
        self._metrics = None if native is None else MetricsLogger._of_run(experiment, native)
        self._errors = None if native is None else ErrorTracker._of_run(self.logger, 1000, native)
        if native is not None and native.attempt > 1:
            self._take_over(native.folder)

    def __getstate__(self) -> dict[str, Any]:
        # A copy has a lock of its own.
        return {name: value for name, value in self.__dict__.items() if name != "_counting"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._counting = threading.Lock()

    def _take_over(self, folder: Path) -> None:
        """Take the parameters and the results of earlier attempts over, except for masked secrets."""
        for attempt in manifest_in(folder).get("attempts", []):
            given = attempt.get("parameters", {}).items()
            self.config._values.update({name: value for name, value in given if value != "***"})
            self.summary._values.update(attempt.get("results", {}))
        # They are those of this attempt too.
        self.config._change(dict(self.config._values))

    @property
    def id(self) -> str:
        """The run's id: 8 lower-case letters and digits, or what :func:`init` was given."""
        return self._id or self.name

    @property
    def folder(self) -> Path | None:
        """The run folder, wherever it is now; None for a disabled run."""
        return None if self._metrics is None else self._metrics.output_dir

    @property
    def dir(self) -> str:
        """The run folder, as text; a temporary folder for a disabled run."""
        folder = self.folder
        if folder is None and self._temporary is None:
            self._temporary = tempfile.mkdtemp(prefix="model-foundry-")
        return str(folder or self._temporary)

    @property
    def path(self) -> str:
        """The run folder, as text."""
        return self.dir

    @property
    def entity(self) -> str:
        """Nothing: there is no account."""
        return ""

    @property
    def offline(self) -> bool:
        """True: nothing is sent anywhere."""
        return True

    def project_name(self) -> str:
        """The project that :func:`init` was given, or else the experiment."""
        return self.project or self.experiment

    def get_url(self) -> None:
        """None, as :attr:`url`."""

    @property
    def url(self) -> None:
        """None: a run is a folder, and has no server."""
        return None

    @property
    def disabled(self) -> bool:
        """Whether nothing is logged."""
        return self._native is None

    @property
    def resumed(self) -> bool:
        """Whether this continues an earlier attempt."""
        return self.attempt > 1

    @property
    def attempt(self) -> int:
        """The number of the attempt, from 1."""
        return 1 if self._native is None or self._finished else self._native.attempt

    @property
    def step(self) -> int:
        """The step that the next :meth:`log` without a step has."""
        return self._next

    def log(
        self,
        data: Any,
        step: Any = None,
        commit: bool | None = None,
        *,
        epoch: Any = None,
        **_: Any,
    ) -> None:
        """Log the metrics of a step. The line is in metrics.jsonl when this returns.

        ``data`` is a mapping of names to values. ``step`` is an integer, 0 or more; without it steps are counted
        from 0, or from the step after the last one of an earlier attempt. With ``commit=False`` the next call
        belongs to the same step. ``epoch`` is a number; by default it is the metric "epoch".

        >>> import model_foundry, tempfile
        >>> with model_foundry.init("tiny-lm", dir=tempfile.mkdtemp(), quiet=True) as run:
        ...     run.log({"loss": 2.5})
        ...     run.log({"loss": 2.0, "epoch": 1})
        ...     run.log({"loss": 1.5}, step=10)
        ...     [(entry["step"], entry.get("epoch")) for entry in run.history()]
        [(0, None), (1, 1), (10, None)]
        """
        if self._finished:
            return report("the run has finished, and logs nothing any more: call init again")
        try:
            self._log(data, step, commit, epoch)
        except Exception as error:  # nothing that is logged may stop a training
            report("a step was not logged", error)

    def _log(self, data: Any, step: Any, commit: bool | None, epoch: Any) -> None:
        # A dict is the usual case, and recognized without asking abstract classes.
        is_mapping = type(data) is dict or isinstance(data, Mapping)
        if not is_mapping and isinstance(step, Mapping):
            # `log(10, {"loss": 2.5})`
            data, step, is_mapping = step, data, True
        metrics = data
        if is_mapping and epoch is None and len(data) > 1:
            given = data.get("epoch")
            if given is not None and isinstance(given, Number) and not isinstance(given, bool):
                metrics = dict(data)
                epoch = metrics.pop("epoch")
        given_step = None
        if step is not None:
            try:
                given_step = int(step)
                if given_step < 0 or given_step != float(step):
                    raise ValueError
            except (TypeError, ValueError, OverflowError):
                given_step = None
                report(f"the step {as_text(step)} is no integer of 0 or more: it is counted instead")
        with self._counting:
            number = self._next if given_step is None else given_step
            self._next = number if commit is False else number + 1
        if self._metrics is not None:
            self._metrics.log_step(number, epoch, metrics)
        if is_mapping:
            self.summary._note(data)

    def history(self) -> list[dict[str, Any]]:
        """All entries of metrics.jsonl, as :meth:`MetricsLogger.get_metrics_history` returns them."""
        return [] if self._metrics is None else self._metrics.get_metrics_history()

    def log_error(
        self, exception: BaseException | str, context: Mapping[str, Any] | None = None
    ) -> None:
        """Record an exception in errors.jsonl, as :meth:`ErrorTracker.log_error` does."""
        if self._errors is not None:
            self._errors.log_error(exception, context)

    def alert(
        self,
        title: str,
        text: str = "",
        level: AlertLevel | str = AlertLevel.INFO,
        wait_duration: Any = None,
        **context: Any,
    ) -> None:
        """Say that something needs attention: a record in main.log, and a line on standard error.

        ``level`` is an :class:`AlertLevel`, or "INFO", "WARN" or "ERROR".

        >>> import model_foundry
        >>> model_foundry.init("doc", mode="disabled").alert("loss is NaN", "at step 10", level="ERROR")
        """
        if self._native is None or self._finished:
            return
        try:
            name = str(getattr(level, "value", level)).upper()
            name = {"WARN": "WARNING"}.get(name, name)
            if name not in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
                name = "WARNING"
            title, text = as_text(title), as_text(text)
            message = f"{title}: {text}" if text else title
            self.logger.log_structured(name, message, **{**context, "alert": title, "text": text})
            _print(f"{name}: {message}")
        except Exception as error:  # nothing that is logged may stop a training
            report("an alert was not logged", error)

    def finish(self, exit_code: int | None = None, quiet: bool | None = None) -> None:
        """End the run. An ``exit_code`` other than 0 marks it as failed.

        >>> import model_foundry, tempfile
        >>> run = model_foundry.init("tiny-lm", dir=tempfile.mkdtemp(), quiet=True)
        >>> run.finish()
        """
        code = 0 if exit_code is None else int(exit_code)
        self._end("completed" if code == 0 else "failed", None if exit_code is None else code)

    def _end(self, status: str | None, code: int | None) -> None:
        global _current
        with _changing:
            if _current is self:
                _current = None
        if self._finished:
            return
        self._finished = True
        if self._native is None:
            return
        try:
            self._native.flush()
            if self.performance.timers and self.folder is not None:
                self.performance.export_timing_report(self.folder / "timing_report.json")
        except Exception as error:  # nothing that was logged may stop a training
            report("timing_report.json was not written", error)
        finally:
            if self._metrics is not None:
                self._metrics._close()
            self.logger._run = self.performance._own = None
            if status is None:
                self._native.end()
            else:
                self._native.finish(status, code)
            self._native.close()

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception):
            self.log_error(error)
        if error is None:
            self._end(None, None)
        else:
            self._end(*ending_of(error))

    def __repr__(self) -> str:
        state = "finished" if self._finished else f"attempt {self.attempt}, next step {self._next}"
        return f"<Run {self.folder or 'disabled'}: {state}>"

    def flush(self) -> None:
        """Write what is buffered."""
        if self._native is not None and not self._finished:
            self._native.flush()

    def define_metric(self, name: str, *_: Any, **options: Any) -> None:
        """Record how a metric is meant to be shown, such as its ``step_metric`` or its ``goal``.

        It is recorded in run.json; nothing here reads it yet.
        """
        if self._native is not None and not self._finished:
            try:
                plain = {option: value for option, value in options.items() if value is not None}
                self._native.configure(_native.to_json({"metrics": {str(name): plain}}))
            except Exception as error:  # nothing that is logged may stop a training
                report("run.json was not changed", error)

    def watch(self, *_: Any, **__: Any) -> None:
        """Nothing: log the norms of gradients and parameters as metrics."""
        report("watch() logs nothing here: log the norms of gradients and parameters as metrics")

    def unwatch(self, *_: Any, **__: Any) -> None:
        """Nothing, as :meth:`watch`."""

    def save(self, path: Any = None, *_: Any, **__: Any) -> None:
        """Record the path of a file, such as a checkpoint, in main.log. The file stays where it is."""
        if path is not None:
            self.logger.info("saved a file", path=as_text(path))

    def log_artifact(self, artifact: Any, name: str | None = None, *_: Any, **__: Any) -> Any:
        """Record the name and the paths of an artifact in main.log. The files stay where they are."""
        fields = artifact._fields() if isinstance(artifact, Artifact) else {"path": str(artifact)}
        if name is not None:
            fields["name"] = name
        self.logger.info("logged an artifact", **fields)
        return artifact

    def log_model(self, path: Any, name: str | None = None, *_: Any, **__: Any) -> None:
        """Record the path of a model in main.log, as :meth:`log_artifact` does."""
        self.log_artifact(path, name)

    def log_code(self, *_: Any, **__: Any) -> None:
        """Nothing: run.json has the commit, and whether files were changed since."""

    def mark_preempting(self) -> None:
        """Nothing: a job that its scheduler restarts resumes its run by itself."""


class Artifact:
    """Files that belong together, by name. See :meth:`Run.log_artifact`."""

    def __init__(self, name: str, type: str = "", description: str | None = None, **_: Any) -> None:
        self.name, self.type, self.description = name, type, description
        self.metadata: dict[str, Any] = dict(_.get("metadata") or {})
        self.paths: list[str] = []

    def wait(self, *_: Any, **__: Any) -> Artifact:
        """Itself: nothing is uploaded."""
        return self

    def add(self, item: Any, name: str = "") -> None:
        """Add something by its name."""
        self.paths.append(str(name))

    def add_file(self, local_path: Any, name: str | None = None, **_: Any) -> None:
        """Add a file by its path."""
        self.paths.append(str(local_path))

    def add_dir(self, local_path: Any, name: str | None = None, **_: Any) -> None:
        """Add a folder by its path."""
        self.paths.append(str(local_path))

    def add_reference(self, uri: Any, name: str | None = None, **_: Any) -> None:
        """Add an address."""
        self.paths.append(str(uri))

    def _fields(self) -> dict[str, Any]:
        return {"name": self.name, "type": self.type, "paths": self.paths, **self.metadata}


class Table:
    """Rows under named columns. Logged as a value, it is one JSON object with ``columns`` and ``data``.

    What is no table becomes text, with a warning.
    """

    def __init__(
        self, columns: Any = None, data: Any = None, dataframe: Any = None, rows: Any = None, **_: Any
    ) -> None:
        self.columns: list[Any] = ["Input", "Output", "Expected"] if columns is None else list(columns)
        self.data: list[list[Any]] = []
        if hasattr(data, "columns"):
            data, dataframe = None, data
        try:
            if dataframe is not None:
                if columns is None:
                    self.columns = [str(name) for name in dataframe.columns]
                data = dataframe.values.tolist()
            elif isinstance(data, Mapping):
                self.columns = [str(name) for name in data]
                data = zip(*data.values(), strict=False)
            for row in data if data is not None else rows if rows is not None else ():
                self.add_data(*(row if isinstance(row, (list, tuple)) or hasattr(row, "tolist") else [row]))
        except Exception as error:  # nothing that is logged may stop a training
            report("a table was not recorded whole", error)

    def add_data(self, *row: Any) -> None:
        """Add a row."""
        self.data.append(list(row))

    def add_column(self, name: str, data: Any) -> None:
        """Add a column, with a value for each row."""
        values = list(data)
        self.columns.append(name)
        if not self.data:
            self.data = [[] for _ in values]
        for at, row in enumerate(self.data):
            row.append(values[at] if at < len(values) else None)

    def get_column(self, name: str) -> list[Any]:
        """The values of a column."""
        at = self.columns.index(name)
        return [row[at] for row in self.data]

    def tolist(self) -> dict[str, Any]:
        """The table as it is recorded."""
        return {"_type": "table", "columns": self.columns, "data": self.data}


class Histogram:
    """The distribution of values. Logged as a value, it is one JSON object with ``bins`` and ``counts``.

    ``bins`` are the limits of the bins, one more than there are ``counts``. Values that are no finite numbers are left
    out.
    """

    def __init__(
        self, sequence: Any = None, np_histogram: Any = None, num_bins: int = 64, **_: Any
    ) -> None:
        self.counts: list[float] = []
        self.bins: list[float] = []
        try:
            if np_histogram is not None:
                counts, bins = np_histogram
                self.counts, self.bins = [_number(count) for count in counts], [float(bin) for bin in bins]
            else:
                self._count(sequence, max(1, min(int(num_bins), 512)))
        except Exception as error:  # nothing that is logged may stop a training
            report("a histogram was not recorded", error)

    def _count(self, sequence: Any, num_bins: int) -> None:
        numpy = sys.modules.get("numpy")
        if hasattr(sequence, "detach"):
            sequence = sequence.detach().float().cpu().numpy()
        if numpy is not None and hasattr(sequence, "__array__"):
            values = numpy.asarray(sequence, dtype=float).ravel()
            counts, bins = numpy.histogram(values[numpy.isfinite(values)], bins=num_bins)
            self.counts, self.bins = counts.tolist(), bins.tolist()
            return
        values = [float(value) for value in _flat(sequence)]
        values = [value for value in values if math.isfinite(value)]
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        if low == high:
            low, high = low - 0.5, high + 0.5
        width = high / num_bins - low / num_bins
        self.counts = [0] * num_bins
        for value in values:
            self.counts[min(int((value - low) / width), num_bins - 1)] += 1
        self.bins = [low + width * at for at in range(num_bins)] + [high]

    def tolist(self) -> dict[str, Any]:
        """The histogram as it is recorded."""
        return {"_type": "histogram", "bins": self.bins, "counts": self.counts}


def _number(value: Any) -> float:
    """An integer where the value is whole."""
    number = float(value)
    return int(number) if number.is_integer() else number


class _Media:
    """Something that is no number: its kind, its path and its caption are recorded, and not its content."""

    def __init__(self, data_or_path: Any = None, *_: Any, caption: Any = None, **__: Any) -> None:
        is_path = isinstance(data_or_path, (str, os.PathLike)) and "<" not in str(data_or_path)
        self.path = str(data_or_path) if is_path else None
        self.caption = caption
        if not is_path:
            report(f"the content of {type(self).__name__} is not recorded: save a file, and log its path")

    def tolist(self) -> dict[str, Any]:
        """What is recorded."""
        kind = type(self).__name__.lower()
        return {"_type": kind, "path": self.path, "caption": self.caption}


class Image(_Media):
    """An image, by its path."""


class Video(_Media):
    """A video, by its path."""


class Audio(_Media):
    """A sound, by its path."""


class Html(_Media):
    """A page, by its path."""


class Object3D(_Media):
    """A body or a cloud of points, by its path."""


class Plotly(_Media):
    """A chart of plotly, by its path."""


class Molecule(_Media):
    """A molecule, by its path."""


class Markdown(_Media):
    """A text with markup, by its path."""


class Settings:
    """Settings of other trackers, which have no meaning here."""

    def __init__(self, **settings: Any) -> None:
        self.__dict__.update(settings)


def init(
    experiment: str | None = None,
    config: Any = None,
    *,
    project: str | None = None,
    name: str | None = None,
    dir: str | os.PathLike[str] | None = None,
    resume: bool | str | None = None,
    id: str | None = None,
    group: str | None = None,
    job_type: str | None = None,
    tags: Any = None,
    notes: str | None = None,
    mode: str | None = None,
    reinit: bool | str | None = None,
    durability: str = "immediate",
    log_to_wandb: bool = False,
    quiet: bool = False,
    **others: Any,
) -> Run:
    """Begin a run: a folder of its own, ``<dir>/<experiment>``, then ``<experiment>-2``, and so on.

    ``experiment`` names what is tried; by default it is ``project``, ``name``, or the script's name. ``config`` has
    the parameters: a mapping, an ``argparse.Namespace``, a dataclass, or an OmegaConf container. ``dir`` is the
    folder of the runs (default: ``runs``). ``resume`` continues an earlier run: True the newest of the experiment;
    "allow" and "auto" the one with this ``id`` or ``name``, if there is one; "must" too, and raises without one; another
    string that run (a folder's name, a path, or an id). Starts with the same ``id`` are attempts at one run, except
    that "never" raises then. ``name``, ``project``, ``group``, ``job_type``,
    ``tags`` and ``notes`` are recorded in run.json. With ``mode="disabled"`` nothing is logged. The run that was
    open before is finished, unless ``reinit`` is "return_previous", which returns it, or "create_new".
    ``durability`` is that of :class:`~model_foundry.MetricsLogger`. With ``log_to_wandb`` the run also gets an offline
    run of Weights & Biases, which ``wandb sync`` uploads. Without ``quiet`` the folder is printed.

    What other trackers take beside these, such as ``entity`` or ``space_id``, is ignored.

    Raises ``OSError`` if the folder cannot be made or written, ``ValueError`` for an unknown durability, and if
    there is no such run to resume.

    >>> import model_foundry, tempfile
    >>> run = model_foundry.init("tiny-lm", config={"lr": 3e-4}, dir=tempfile.mkdtemp(), quiet=True)
    >>> run.config.lr
    0.0003
    >>> model_foundry.log({"loss": 2.5})
    >>> model_foundry.finish()
    """
    global _current
    with _changing:
        before = _current
        if before is not None and not before._finished:
            if reinit == "return_previous":
                return before
            if reinit != "create_new":
                before.finish()
    unknown = sorted(set(others) - _OF_SERVERS)
    if unknown:
        report(f"init() ignores {', '.join(unknown)}")
    if isinstance(config, str) and name is None and not os.path.exists(config):
        # `trackio.init("project", "name")`
        config, name = None, config
    named = experiment or project or name or _script()
    # A folder's name cannot have a slash: `team/project`.
    named = _folder_name(str(named))
    if isinstance(tags, str):
        tags = [tags]
    details = {
        "project": project or experiment,
        "name": name,
        "group": group,
        "job_type": job_type,
        "notes": notes,
        "tags": list(tags) if tags else None,
    }
    details = {key: value for key, value in details.items() if value is not None}
    native = None
    if mode != "disabled" and os.environ.get("WANDB_MODE") != "disabled":
        logging = {"durability": durability, "log_to_wandb": log_to_wandb}
        runs = Path(dir if dir is not None else "runs")
        id = None if id is None else str(id)
        continues = _resumption(runs, named, resume, id, name)
        native = start_run(runs, named, logging, {"run": details}, continues, run_id=id)
    run = Run(native, named, name=name, details=details)
    if config is not None:
        run.config.update(config)
    with _changing:
        if before is None or before._finished or reinit != "create_new":
            _current = run
    if native is not None and not quiet:
        again = f", attempt {run.attempt}" if run.attempt > 1 else ""
        _print(f"logging to {run.folder}{again}")
    return run


def _resumption(
    runs: Path, experiment: str, resume: bool | str | None, run_id: str | None, name: str | None
) -> bool | str:
    """What to resume: False for nothing, True for the newest run of the experiment, or a run."""
    if resume in (None, False) or resume == "never" and run_id is None:
        return False
    if resume is True:
        return run_id is None
    if resume not in ("allow", "auto", "must", "never"):
        return str(resume)
    found = _recorded(runs, experiment, run_id, name)
    if resume == "must" and found is None:
        what = f"the id {run_id!r}" if run_id else f"the name {name!r}" if name else "an id or a name"
        raise ValueError(f"there is no run with {what} in {runs}")
    if resume == "never" and found is not None:
        raise ValueError(f"there is a run with the id {run_id!r} already: {found}")
    # A start with an id finds its run by itself.
    return False if found is None or run_id is not None else found


def _recorded(runs: Path, experiment: str, run_id: str | None, name: str | None) -> str | None:
    """The newest run of an experiment that has this id, or else this name."""
    if run_id is None and name is None:
        return None
    found: list[tuple[float, str]] = []
    for path in runs.glob("*/run.json"):
        manifest = manifest_in(path.parent)
        try:
            own = manifest.get("configuration", {}).get("run", {}).get("name")
            of_id = run_id is not None and manifest.get("id") == run_id
            of_name = run_id is None and own == name and manifest.get("experiment") == experiment
            if of_id or of_name:
                found.append((path.stat().st_mtime, str(path.parent)))
        except (OSError, AttributeError):
            continue
    return max(found)[1] if found else None


def _folder_name(name: str) -> str:
    """A name that can be that of a folder: without slashes, control characters and a leading dot, and not too long."""
    plain = "".join("-" if c == "/" or not c.isprintable() else c for c in name)
    return plain.strip().lstrip(".").encode("utf-8", "replace")[:200].decode("utf-8", "ignore") or "run"


def _script() -> str:
    """The name of the script, or that of an interactive session."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    return Path(main).stem if main else "session"


def _print(line: str) -> None:
    try:
        print(f"model_foundry: {line}", file=sys.stderr)
    except (OSError, ValueError):  # the terminal is gone
        pass


def _members(source: Any) -> dict[str, Any]:
    """The members of a mapping, a namespace, a dataclass, or another configuration, with their values as they are."""
    members: Any = source if isinstance(source, Mapping) else members_of(source)
    if members is None:
        members = dict(source) if hasattr(source, "model_dump") else unfolded(source)
    if not isinstance(members, Mapping) and hasattr(members, "__dict__") and not isinstance(members, type):
        members = {name: value for name, value in vars(members).items() if not name.startswith("_")}
    if isinstance(members, Mapping):
        return {str(name): value for name, value in members.items()}
    report(f"a configuration must have names and values, got {type(source).__name__}")
    return {}


def _flat(values: Any) -> Iterator[Any]:
    if hasattr(values, "tolist"):
        values = values.tolist()
    if isinstance(values, (list, tuple, set, range)):
        for value in values:
            yield from _flat(value)
    elif values is not None:
        yield values


def current() -> Run | None:
    """The run that :func:`init` began last, if it has not finished."""
    return _current


def _open(call: str) -> Run | None:
    run = _current
    if run is None:
        report(f"{call}() logs nothing: no run is open, call init() first")
    return run


def log(data: Any, step: Any = None, commit: bool | None = None, **named: Any) -> None:
    """Log the metrics of a step to the run that is open: see :meth:`Run.log`.

    >>> import model_foundry
    >>> run = model_foundry.init("doc", mode="disabled")
    >>> model_foundry.log({"loss": 2.5}, step=1)
    """
    run = _open("log")
    if run is not None:
        run.log(data, step, commit, **named)


def alert(title: str, text: str = "", level: AlertLevel | str = AlertLevel.INFO, **named: Any) -> None:
    """Say that something needs attention: see :meth:`Run.alert`.

    >>> import model_foundry
    >>> run = model_foundry.init("doc", mode="disabled")
    >>> model_foundry.alert("loss is NaN", level=model_foundry.AlertLevel.ERROR)
    """
    run = _open("alert")
    if run is not None:
        run.alert(title, text, level, **named)


def finish(exit_code: int | None = None, quiet: bool | None = None) -> None:
    """End the run that is open, if one is: see :meth:`Run.finish`."""
    run = _current
    if run is not None:
        run.finish(exit_code, quiet)


def define_metric(name: str, *arguments: Any, **options: Any) -> None:
    """See :meth:`Run.define_metric`."""
    run = _open("define_metric")
    if run is not None:
        run.define_metric(name, *arguments, **options)


def watch(*arguments: Any, **named: Any) -> None:
    """See :meth:`Run.watch`."""
    run = _open("watch")
    if run is not None:
        run.watch(*arguments, **named)


def unwatch(*_: Any, **__: Any) -> None:
    """Nothing, as :func:`watch`."""


def save(path: Any = None, *arguments: Any, **named: Any) -> None:
    """See :meth:`Run.save`."""
    run = _open("save")
    if run is not None:
        run.save(path, *arguments, **named)


def log_artifact(artifact: Any, *arguments: Any, **named: Any) -> Any:
    """See :meth:`Run.log_artifact`."""
    run = _open("log_artifact")
    return artifact if run is None else run.log_artifact(artifact, *arguments, **named)


def login(*_: Any, **__: Any) -> bool:
    """True: there is no account."""
    return True


def log_model(path: Any, name: str | None = None, *_: Any, **__: Any) -> None:
    """See :meth:`Run.log_model`."""
    run = _open("log_model")
    if run is not None:
        run.log_model(path, name)


def setup(*_: Any, **__: Any) -> None:
    """Nothing: there is no service to set up."""


def require(*_: Any, **__: Any) -> None:
    """Nothing: there is nothing to choose."""


def show(*_: Any, **__: Any) -> None:
    """Say on standard error how a run is shown."""
    _print("show a run with `model-foundry show`")


def termlog(text: str = "", *_: Any, **__: Any) -> None:
    """Print a line on standard error."""
    _print(text)


termwarn = termerror = termlog


class Error(Exception):
    """What other trackers raise; nothing here does."""


class util:
    """Functions that scripts take from other trackers."""

    @staticmethod
    def generate_id(length: int = 8) -> str:
        """An id for a run: lower-case letters and digits.

        >>> import model_foundry
        >>> len(model_foundry.util.generate_id())
        8
        """
        letters = "abcdefghijklmnopqrstuvwxyz0123456789"
        return "".join(secrets.choice(letters) for _ in range(length))
