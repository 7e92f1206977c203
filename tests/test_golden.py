"""Model folders of every earlier version still load, and still say what they said."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from golden.make import answers, read
from plait.data.table import read_table

FOLDERS = sorted(p.parent for p in (Path(__file__).parent / "golden").glob("*/*/expected.json"))


def test_there_are_golden_folders() -> None:
    assert {f.name for f in FOLDERS} >= {"classes", "number", "labels", "scratch", "conv_lstm", "aligner"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f"{f.parent.name}-{f.name}")
def test_it_answers_as_it_did(folder: Path) -> None:
    expected = json.loads((folder / "expected.json").read_text())
    result = answers(read(folder), read_table(folder / "inputs.jsonl"))
    assert result.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(result[name], values, atol=2e-4, err_msg=name)


def test_a_fresh_process_knows_the_classes() -> None:
    """As ``plait predict`` does: nothing else was imported before."""
    folder = next(f for f in FOLDERS if (f / "model" / "model.json").is_file() or (f / "model.json").is_file())
    place = folder / "model" if (folder / "model").is_dir() else folder
    code = f"from plait.estimators.base import FusionEstimator; FusionEstimator.load({str(place)!r})"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
