"""``python -m model_foundry``: the program ``model-foundry``, which wheels contain."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path


def main() -> None:
    """Become the program."""
    beside = Path(sysconfig.get_path("scripts")) / "model-foundry"
    program = str(beside) if beside.is_file() else shutil.which("model-foundry")
    if program is None:
        sys.exit(
            "model-foundry: this installation of the package has no program: install a wheel, or the program "
            "from a checkout (cargo install --locked --path cli)"
        )
    os.execv(program, [program, *sys.argv[1:]])


if __name__ == "__main__":
    main()
