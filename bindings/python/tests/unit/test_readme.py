"""The examples of the package's README do what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import Records, Script

README = Path(__file__).parents[2] / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_leaves_metrics_a_main_log_and_timings(
    example: str, script: Script, tmp_path: Path, records: Records
) -> None:
    script(example)

    run = tmp_path / "runs" / "tiny-lm"
    assert len(records(run / "metrics.jsonl")) == 1000
    messages = [line["message"] for line in records(run / "main.log")]
    assert "done" in messages
    timings = [line for line in records(run / "performance.jsonl") if line.get("name") == "step"]
    assert len(timings) == 1000


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 2
