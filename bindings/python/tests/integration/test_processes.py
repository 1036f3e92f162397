"""Threads, forks, signals, traps, and limits of memory and disk."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE, Records, Script

HEAD = """
import faulthandler, multiprocessing, os, resource, signal, sys, threading, time, warnings
from model_foundry.logging_components import *
warnings.simplefilter("ignore", DeprecationWarning)  # Python warns about forks while threads run
folder = sys.argv[1]
"""


def attempts(folder: Path) -> list[dict[str, object]]:
    manifest = json.loads((folder / "run.json").read_text())
    listed: list[dict[str, object]] = manifest["attempts"]
    return listed


@pytest.mark.parametrize("durability", ["immediate", "buffered"])
def test_forked_children_log_while_a_thread_logs(
    script: Script, tmp_path: Path, records: Records, durability: str
) -> None:
    script(
        HEAD
        + """
metrics = MetricsLogger("tiny-lm", folder, durability=sys.argv[2])
structured = StructuredLogger("test", "tiny-lm")
stop = threading.Event()
logged = 0
def background():
    global logged
    while not stop.is_set():
        metrics.log_step(logged, 0, {"background": float(logged)})
        logged += 1
        time.sleep(0.0001)  # so that the queue does not fill up
thread = threading.Thread(target=background)
thread.start()
metrics.log_step(0, 0, {"parent": 1.0})
for child in range(60):
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)
        structured.warning("from the child")
        for step in range(5):
            metrics.log_step(child * 5 + step, 0, {"child": float(step)})
        metrics.flush()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
thread.join()
metrics.close()
print(logged)
""",
        durability,
    )
    entries = records(tmp_path / "run" / "metrics.jsonl")
    of_children = [entry["step"] for entry in entries if "child" in entry["metrics"]]
    assert sorted(of_children) == list(range(300)), "each record of a child is written once"
    of_thread = [entry["step"] for entry in entries if "background" in entry["metrics"]]
    assert sorted(of_thread) == list(range(len(of_thread))), "and so is each record of the thread"
    assert sum("parent" in entry["metrics"] for entry in entries) == 1
    (attempt,) = attempts(tmp_path / "run")
    assert attempt["status"] == "completed"


def test_a_child_s_end_does_not_end_the_parent_s_attempt(script: Script, tmp_path: Path) -> None:
    result = script(
        HEAD
        + """
import json
metrics = MetricsLogger("tiny-lm", folder)
metrics.log_step(1, 0, {"loss": 1.0})
pid = os.fork()
if pid == 0:
    metrics.log_step(2, 0, {"loss": 1.0})
    sys.exit(0)  # runs atexit functions, unlike os._exit
os.waitpid(pid, 0)
print(json.load(open(folder + "/run.json"))["attempts"][-1]["status"])
metrics.log_step(3, 0, {"loss": 1.0})
print(metrics.compute_statistics("loss")["count"] >= 2)
"""
    )
    assert result.stdout.split() == ["running", "True"]
    assert [attempt["status"] for attempt in attempts(tmp_path / "run")] == ["completed"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("durability", ["immediate", "buffered"])
def test_workers_of_multiprocessing_log(
    script: Script, tmp_path: Path, records: Records, method: str, durability: str
) -> None:
    script(
        HEAD
        + """
def work(worker):
    metrics = MetricsLogger("tiny-lm", folder, durability=sys.argv[2])
    for step in range(50):
        metrics.log_step(worker * 50 + step, 0, {"loss": step / 8})

if __name__ == "__main__":
    parent = MetricsLogger("tiny-lm", folder, durability=sys.argv[2])
    parent.log_step(1000, 0, {"loss": 1.0})
    context = multiprocessing.get_context(sys.argv[3])
    workers = [context.Process(target=work, args=(worker,)) for worker in range(4)]
    for worker in workers: worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0, worker.exitcode
""",
        durability,
        method,
    )
    entries = records(tmp_path / "run" / "metrics.jsonl")
    assert sorted(entry["step"] for entry in entries) == [*range(200), 1000]
    assert len(attempts(tmp_path / "run")) == 1


def test_a_worker_that_is_terminated_ends(script: Script, tmp_path: Path) -> None:
    result = script(
        HEAD
        + """
metrics = MetricsLogger("tiny-lm", folder, durability="buffered")  # installs a handler for SIGTERM
metrics.log_step(1, 0, {"loss": 1.0})
pid = os.fork()
if pid == 0:
    metrics.log_step(2, 0, {"loss": 1.0})
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(20)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
metrics.log_step(3, 0, {"loss": 1.0})
"""
    )
    assert result.stdout.split() == [str(-signal.SIGTERM)]
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["step"] for line in lines) == [1, 2, 3]


def test_reading_in_a_child_does_not_compile_on_missing_threads(
    script: Script,
) -> None:
    script(
        HEAD
        + """
pid = os.fork()  # before the component is compiled
if pid == 0:
    signal.alarm(60)
    MetricsLogger("tiny-lm", folder).log_step(1, 0, {"loss": 1.0})
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert MetricsLogger("tiny-lm", folder).compute_statistics("loss")["count"] == 1
"""
    )


def module(body: bytes) -> bytes:
    """A WebAssembly module with one page of memory, which exports the function `answer` with this body."""
    code = b"\0" + body + b"\x0b"  # no locals; end
    return (
        b"\0asm\1\0\0\0"
        b"\1\4\1\x60\0\0"  # one type: no parameters, no results
        b"\3\2\1\0"  # one function of that type
        b"\5\3\1\0\1"  # one memory of one page
        b"\7\x0a\1\6answer\0\0"  # the export
        + bytes([10, len(code) + 2, 1, len(code)])
        + code
    )


TRAPS = {
    "unreachable": b"\x00",
    "call stack exhausted": b"\x10\0",  # calls itself
    "out of bounds memory access": b"\x41\x7f\x28\0\0\x1a",  # loads from address -1
    "integer divide by zero": b"\x41\1\x41\0\x6d\x1a",
    "interrupt": b"\x03\x40\x0c\0\x0b",  # loops forever
}


def test_a_loop_is_interrupted_in_a_child_too(script: Script) -> None:
    result = script(
        HEAD
        + f"""
from model_foundry import _native
_native.surroundings()  # starts the runtime, whose ticker the child must restart
pid = os.fork()
if pid == 0:
    signal.alarm(60)
    os._exit(0 if "interrupt" in _native._trap({module(TRAPS["interrupt"])!r}) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    )
    assert result.stdout.split() == ["0"]


@pytest.mark.parametrize("first", ["faulthandler.enable()", "import model_foundry._native"])
@pytest.mark.parametrize("trap", TRAPS)
def test_python_survives_a_trap_under_faulthandler(script: Script, first: str, trap: str) -> None:
    result = script(
        HEAD
        + f"""
{first}
faulthandler.enable()
from model_foundry import _native
metrics = MetricsLogger("tiny-lm", folder)
for _ in range(3):
    print(_native._trap({module(TRAPS[trap])!r}))
metrics.log_step(1, 0, {{"loss": 1.0}})
print(metrics.compute_statistics("loss")["count"])
"""
    )
    *reasons, count = result.stdout.splitlines()
    assert len(reasons) == 3 and all(trap in reason for reason in reasons)
    assert result.stderr == ""
    assert count == "1"


def test_faulthandler_still_reports_a_real_fault(script: Script) -> None:
    result = script(
        HEAD
        + """
faulthandler.enable()
MetricsLogger("tiny-lm", folder).log_step(1, 0, {"loss": 1.0})
import ctypes
ctypes.string_at(0)
""",
        check=False,
    )
    assert result.returncode == -signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in result.stderr


@pytest.mark.parametrize("limit", ["-v 3000000", "-d 2000000"])
def test_several_runs_start_where_address_space_is_short(
    script: Script, records: Records, tmp_path: Path, limit: str
) -> None:
    script(
        HEAD
        + """
runs = [MetricsLogger(f"tiny-lm-{number}", f"{folder}/{number}") for number in range(8)]
for metrics in runs:
    metrics.log_step(1, 0, {"loss": 1.0})
""",
        prefix=("bash", "-c", f'ulimit {limit}; exec "$@"', "bash"),
    )
    for number in range(8):
        assert len(records(tmp_path / "run" / str(number) / "metrics.jsonl")) == 1


def test_threads_log_while_others_hold_the_interpreter(
    script: Script, records: Records, tmp_path: Path
) -> None:
    script(
        HEAD
        + """
metrics = MetricsLogger("tiny-lm", folder)
tracker = ErrorTracker(StructuredLogger("test", "tiny-lm"), folder)
performance = PerformanceLogger(StructuredLogger("test", "tiny-lm"))
def work(thread):
    for step in range(200):
        metrics.log_step(step, 0, {"loss": float(step)})
        metrics.log_step(step, 0, {"note": "by name", "thread": thread})
        with performance.time_block("block"): pass
        if step % 50 == 0:
            tracker.log_error(ValueError(str(step)))
            metrics.compute_statistics("loss")
            metrics.get_metrics_for_steps(0, 3)
threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join(60)
assert not any(thread.is_alive() for thread in threads)
assert tracker.get_error_summary() == {"ValueError": 32}
assert len(performance.timers["block"]) == 1600
"""
    )
    assert len(records(tmp_path / "run" / "metrics.jsonl")) == 3200


def test_killed_process_loses_nothing(tmp_path: Path) -> None:
    text = (
        "import sys; from model_foundry import MetricsLogger\n"
        "metrics = MetricsLogger('tiny-lm', sys.argv[1])\n"
        "step = 0\n"
        "while True:\n"
        "    metrics.log_step(step, 0, {'loss': 1.0}); print(step, flush=True); step += 1\n"
    )
    for attempt in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", text, str(tmp_path / f"run{attempt}")],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(200)]
        process.kill()
        rest = process.stdout.read()
        process.wait(PATIENCE)
        acknowledged += [int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n")]
        text_of_file = (tmp_path / f"run{attempt}" / "metrics.jsonl").read_text()
        # The kill may have cut off the last line, which was not acknowledged.
        lines = text_of_file[: text_of_file.rindex("\n")].splitlines()
        assert set(acknowledged) <= {json.loads(line)["step"] for line in lines}


def test_concurrent_processes_share_a_run(tmp_path: Path, records: Records) -> None:
    text = (
        "import sys; from model_foundry import MetricsLogger\n"
        "metrics = MetricsLogger('tiny-lm', sys.argv[1])\n"
        "for step in range(200): metrics.log_step(int(sys.argv[2]) + step, 0, {'loss': 1.0})\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", text, str(tmp_path), str(number * 200)])
        for number in range(4)
    ]
    assert [process.wait(PATIENCE) for process in processes] == [0] * 4
    steps = [entry["step"] for entry in records(tmp_path / "metrics.jsonl")]
    assert sorted(steps) == list(range(800))


def test_full_disk_is_reported_and_survived(script: Script, tmp_path: Path) -> None:
    limit = 20_000
    result = script(
        HEAD
        + f"""
metrics = MetricsLogger("tiny-lm", folder)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
for step in range(1000):
    metrics.log_step(step, 0, {{"loss": 1.0}})
print(metrics._run.storage()[0] > 0)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
metrics.log_step(1000, 0, {{"loss": 1.0}})
metrics.close()
"""
    )
    assert result.stdout.split() == ["True"]
    assert result.stderr.count("could not write a record") == 1
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1001))


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("", "completed"),
        ("raise ValueError('it')", "failed"),
        ("raise KeyboardInterrupt", "interrupted"),
    ],
)
def test_the_manifest_records_how_the_run_ended(
    script: Script, tmp_path: Path, ending: str, status: str
) -> None:
    script(
        HEAD + f"metrics = MetricsLogger('tiny-lm', folder)\nmetrics.log_step(1, 0, {{'x': 1.0}})\n{ending}\n",
        check=False,
    )
    assert [attempt["status"] for attempt in attempts(tmp_path / "run")] == [status]


def test_memory_stays_bounded(script: Script) -> None:
    result = script(
        HEAD
        + """
metrics = MetricsLogger("tiny-lm", folder)
for step in range(2_000): metrics.log_step(step, 0, {"loss": float(step)})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for step in range(100_000): metrics.log_step(step, 0, {"loss": float(step)})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    )
    grown = int(result.stdout) * (1 if sys.platform == "darwin" else 1024)
    assert grown < 20 << 20, grown
