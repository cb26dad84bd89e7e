"""The types of the package, and its stubs beside the extension module."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy")

ROOT = Path(__file__).parents[2]


def run(*arguments, **variables):
    command = [sys.executable, "-m", *arguments]
    environment = {**os.environ, **variables}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.replace("builtins.", "")


def test_mypy_finds_no_error(tmp_path):
    run("mypy", "--cache-dir", str(tmp_path))


def test_the_stubs_are_those_of_the_module(tmp_path):
    settings = tmp_path / "mypy.ini"
    # The package is checked above; here are only its stubs.
    settings.write_text("[mypy]\nignore_missing_imports = True\nfollow_imports = silent\n")
    run("mypy.stubtest", "--mypy-config-file", str(settings), "feedforward._core", MYPYPATH="python")


def test_what_users_write_has_types(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from feedforward import FeedforwardClassifier, FeedforwardLayer, functional\n"
        "import numpy as np\n"
        "layer = FeedforwardLayer(2, 3)\n"
        "reveal_type(layer.forward(np.ones((1, 2), np.float32)).ndim)\n"
        "reveal_type(functional.mse([[1.0]], [[0.0]]))\n"
        "FeedforwardClassifier(hidden_layer_sizes=(8,), dropout=0.1)\n"
        "FeedforwardLayer(2, 3, activaton='relu')  # type: ignore[call-arg]\n"
    )
    found = run("mypy", "--cache-dir", str(tmp_path / "cache"), str(script))
    assert 'Revealed type is "int"' in found
    assert 'Revealed type is "float"' in found
