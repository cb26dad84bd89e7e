"""The tutorial, word for word."""

import subprocess
import sys
from pathlib import Path


def test_the_tutorial_runs(tmp_path):
    script = Path(__file__).parents[1] / "examples" / "tutorial.py"
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert [line[:2] for line in done.stdout.splitlines()] == [f"{i}." for i in range(1, 8)]
