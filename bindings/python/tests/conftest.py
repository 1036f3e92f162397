"""Fixtures and settings that the tests share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

# The tests must not depend on the machine's GPU, on a launcher's rank or on a run around them.
os.environ["MODEL_FOUNDRY_NVML"] = "/nonexistent/libnvidia-ml.so.1"
for name in ("MODEL_FOUNDRY_RUN_DIR", "RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK"):
    os.environ.pop(name, None)

# They are run with another import.
collect_ignore = ["scripts"]

#: Time limit for each process that a test starts, in seconds.
PATIENCE = 120

Records = Callable[[Path], list[dict[str, Any]]]
Script = Callable[..., subprocess.CompletedProcess[str]]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI (where the variable ``CI`` is set) a skipped test fails: what it needs must be installed there.

    Tests marked ``gpu`` may be skipped, because not every CI machine has a GPU.
    """
    report = yield
    if report.skipped and os.environ.get("CI") and item.get_closest_marker("gpu") is None:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"must not be skipped in CI: {str(reason).removeprefix('Skipped: ')}"
    return report


@pytest.fixture(autouse=True)
def no_run_of_another_test() -> Generator[None, None, None]:
    """A logger without a run finds the one that is open; what another test left open is not."""
    from model_foundry import _runs

    _runs._opened.clear()
    yield


@pytest.fixture
def records() -> Records:
    """Reads a JSON Lines file, and fails on anything that a strict JSON parser rejects."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    def read(path: Path) -> list[dict[str, Any]]:
        text = path.read_text("utf-8")
        assert text.endswith("\n") or not text, "the last line must be complete"
        # A process that opens the file during another's write starts with a newline: a line may be empty.
        lines = [line for line in text.splitlines() if line]
        return [json.loads(line, parse_constant=refuse) for line in lines]

    return read


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Runs a script in a new process. Its first argument is the folder to log to."""

    def run(
        text: str, *arguments: str, check: bool = True, prefix: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "script.py"
        path.write_text(text, "utf-8")
        command = [*prefix, sys.executable, str(path), str(tmp_path / "run"), *arguments]
        result = subprocess.run(
            # A package such as wandb writes beside the program.
            command,
            cwd=path.parent,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        if check:
            assert result.returncode == 0, result.stderr
        return result

    return run
