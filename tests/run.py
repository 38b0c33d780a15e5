"""Run the tests: first those that mind the clock, one by one; then the others side by side.

``python tests/run.py [pytest's arguments]``. The second run's closing line comes last.
"""

from __future__ import annotations

import subprocess
import sys

PYTEST = [sys.executable, "-m", "pytest", "--durations=15"]
RUNS = (
    ["-m", "wall_clock"],
    ["-m", "not wall_clock", "-n", "3", "--dist", "loadfile", "--no-loadscope-reorder"],
)
NONE_SELECTED = 5


def main(arguments: list[str]) -> int:
    """Return pytest's exit code: the first failing run's, or 5 if neither selected a test."""
    codes = [subprocess.run([*PYTEST, *run, *arguments], check=False).returncode for run in RUNS]
    failed = [code for code in codes if code not in (0, NONE_SELECTED)]
    return failed[0] if failed else min(codes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
