"""What logging a step costs, compared with other libraries.

    pip install ./bindings/python -r bindings/python/benches/requirements.txt
    python bindings/python/benches/peers.py

Each contender logs the same five scalars with a step, an epoch and a timestamp, to files in the same folder.
They take turns of a thousand calls, so that other load on the machine affects all of them. The figures are
percentiles of single calls, and include the cost of the clock (about 0.05 µs).
"""

from __future__ import annotations

import argparse
import datetime
import json
import logging
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model_foundry import MetricsLogger

CALLS = 20_000
TURN = 1_000

METRICS = {
    "loss": 2.345678,
    "grad_norm": 0.73,
    "learning_rate": 3e-4,
    "tokens_per_second": 8512.25,
    "accuracy": 0.4375,
}

Log = Callable[[int], object]


def timestamp() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat()


def record(step: int) -> dict[str, Any]:
    return {"timestamp": timestamp(), "step": step, "epoch": 0, "metrics": METRICS}


def of_model_foundry(durability: str) -> Callable[[Path], Log]:
    def start(folder: Path) -> Log:
        log_step = MetricsLogger("bench", folder, durability=durability).log_step
        return lambda step: log_step(step, 0, METRICS)

    return start


def orjson_write(folder: Path) -> Log:
    """The fastest way by hand: orjson formats the datetime, and the file stays open."""
    import orjson

    write, dumps, now, utc = os.write, orjson.dumps, datetime.datetime.now, datetime.timezone.utc
    descriptor = os.open(folder / "orjson.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    line = orjson.OPT_APPEND_NEWLINE
    return lambda step: write(
        descriptor,
        dumps({"timestamp": now(utc), "step": step, "epoch": 0, "metrics": METRICS}, option=line),
    )


def open_json_close(folder: Path) -> Log:
    path = folder / "open.jsonl"

    def log(step: int) -> None:
        with open(path, "a") as file:
            file.write(json.dumps(record(step)) + "\n")

    return log


def stdlib_logging(folder: Path) -> Log:
    logger = logging.getLogger("peers")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(logging.FileHandler(folder / "logging.jsonl"))
    return lambda step: logger.info(json.dumps(record(step)))


def with_structlog(folder: Path) -> Log:
    import structlog

    file = open(folder / "structlog.jsonl", "a")
    logger = structlog.wrap_logger(
        structlog.WriteLogger(file),
        processors=[
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
        cache_logger_on_first_use=True,
    ).bind()
    return lambda step: logger.info("step", step=step, epoch=0, metrics=METRICS)


def with_loguru(folder: Path) -> Log:
    from loguru import logger

    logger.remove()
    logger.add(folder / "loguru.jsonl", serialize=True)
    return lambda step: logger.bind(step=step, epoch=0, metrics=METRICS).info("step")


def with_tensorboardx(folder: Path) -> Log:
    import tensorboardX

    writer = tensorboardX.SummaryWriter(str(folder / "tensorboardX"))

    def log(step: int) -> None:
        for name, value in METRICS.items():
            writer.add_scalar(name, value, step)

    return log


def with_wandb(folder: Path) -> Log:
    os.environ["WANDB_SILENT"] = "true"
    import wandb

    run = wandb.init(mode="offline", dir=str(folder), project="bench")
    return lambda step: run.log(METRICS, step=step)


def with_trackio(folder: Path) -> Log:
    os.environ["TRACKIO_DIR"] = str(folder / "trackio")
    import trackio

    trackio.init(project="bench", name="bench")
    return lambda step: trackio.log(METRICS, step=step)


CONTENDERS: dict[str, Callable[[Path], Log]] = {
    "model_foundry": of_model_foundry("immediate"),
    'model_foundry, durability="buffered"': of_model_foundry("buffered"),
    "os.write(fd, orjson.dumps(…)), file kept open": orjson_write,
    "open('a'), json.dumps, close": open_json_close,
    "logging + json.dumps": stdlib_logging,
    "structlog": with_structlog,
    "loguru": with_loguru,
    "tensorboardX": with_tensorboardx,
    "wandb (offline)": with_wandb,
    "trackio": with_trackio,
}


def measure(log: Log, first: int, calls: int) -> list[int]:
    clock = time.perf_counter_ns
    samples = []
    for step in range(first, first + calls):
        began = clock()
        log(step)
        samples.append(clock() - began)
    return samples


def run(calls: int, folder: Path) -> tuple[dict[str, list[int]], dict[str, str]]:
    logs: dict[str, Log] = {}
    missing = {}
    for number, (name, start) in enumerate(CONTENDERS.items()):
        own = folder / str(number)
        own.mkdir()
        try:
            logs[name] = start(own)
            measure(logs[name], 0, 100)
        except Exception as error:  # measure the others if one is missing or broken
            logs.pop(name, None)
            missing[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    samples: dict[str, list[int]] = {name: [] for name in logs}
    for first in range(100, 100 + calls, TURN):
        for name, log in logs.items():
            samples[name] += measure(log, first, min(TURN, 100 + calls - first))
    return {name: sorted(times) for name, times in samples.items()}, missing


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=CALLS, help="calls of each contender (default: 20000)")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    parser.add_argument(
        "--long", action="store_true", help="log numbers of 16 and 17 digits instead of rounded ones"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    if arguments.long:
        METRICS.update({name: value / 3 for name, value in METRICS.items()})

    folder = Path(tempfile.mkdtemp(dir=arguments.folder))
    try:
        samples, missing = run(arguments.calls, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    own = samples["model_foundry"][arguments.calls // 2]
    rows = [row(name, times, own) for name, times in samples.items()]
    machine = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "date": timestamp()[:10],
        "calls": arguments.calls,
        "numbers": "long" if arguments.long else "rounded",
    }
    if arguments.json:
        print(json.dumps({"machine": machine, "rows": rows, "missing": missing}, indent=2))
    else:
        print_table(machine, rows, missing)
    sys.stdout.flush()
    # Some contenders leave threads and processes that would delay the exit, or prevent it.
    os._exit(0)


def row(name: str, times: list[int], own: int) -> dict[str, Any]:
    p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
    return {"name": name, "p50_ns": p50, "p99_ns": p99, "ratio": p50 / own}


def print_table(
    machine: dict[str, Any], rows: list[dict[str, Any]], missing: dict[str, str]
) -> None:
    print(
        f"\nPython {machine['python']}, {machine['system']}, {machine['processors']} processors, "
        f"{machine['date']}, {machine['calls']} calls each, {machine['numbers']} numbers\n"
    )
    print("| | p50 | p99 | relative to model_foundry |")
    print("|---|--:|--:|--:|")
    for row in rows:
        print(
            f"| {row['name']} | {row['p50_ns'] / 1000:.2f} µs | {row['p99_ns'] / 1000:.2f} µs "
            f"| {row['ratio']:.2f} × |"
        )
    for name, reason in missing.items():
        print(f"\nnot measured: {name} ({reason})")


if __name__ == "__main__":
    main()
