"""The page of diffs that each add a variant: applied to a copy of the package, they work, and each touches one file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import plait

DIFF = re.compile(r"```diff\n--- (\S+)\n\+\+\+ b/src/(\S+)\n@@ -0,0 \+1,(\d+) @@\n(.*?)```", re.S)
PAGE = (Path(__file__).parents[1] / "docs" / "new-variants.md").read_text(encoding="utf-8")

USE = """
import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, sys.argv[2])
import study_results
from plait.base import registry
from plait.metrics import measure, metrics
from plait.study.report import Material, sections_for
from plait.testing import check_encoder, check_fusion

here = Path(sys.argv[1])
check_fusion(registry.find("fusion", "median"), {"a": 4, "b": 4, "c": 4})
encoder = registry.find("encoders", "word_lengths")()
check_encoder(encoder, ["a bee", "two yellow cats"], others={"longest": 5})
import numpy as np
score = measure("classification", np.array([0, 1, 1, 0]), np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.6, 0.4]]))
assert score["cohen_kappa"].value == 0.5
metric = metrics("classification")["cohen_kappa"]
assert metric.resampled(np.array([0, 1]), np.array([0, 1]), np.array([[1, 2], [1, 3]])).tolist() == [1.0, 1.0]
plan = study_results.Plan(lambda place: 1.0, {"one": {}}, seeds=(0, 1), metrics=["cohen_kappa"])
results = study_results.study(here / "study", plan)
assert "cohen_kappa" in set(results.frame["metric"])
section = next(s for s in sections_for("model") if type(s).__name__ == "Runs")
(made,) = section.sections(Material(results, [], None, 10))
assert made.sentence == "2 runs are compared.", made
(here / "reviews").mkdir()
frame = pd.DataFrame({"review": ["good", "bad"] * 5, "price": range(10), "content": ["yes", "no"] * 5})
frame.to_csv(here / "reviews" / "reviews.csv", index=False)
loaded, schema = registry.find("datasets", "reviews")().load(here).of("content")
assert len(loaded) == 10 and schema.target == "content"
"""


def test_each_diff_adds_one_file_and_all_work(tmp_path: Path) -> None:
    found = DIFF.findall(PAGE)
    assert (
        PAGE.count("```diff") == len(found) == 5
    )  # one file each: a second header would not fit the pattern's one hunk
    shutil.copytree(
        Path(plait.__file__).parent, tmp_path / "src" / "plait", ignore=shutil.ignore_patterns("__pycache__")
    )
    for before, name, count, body in found:
        lines = body.splitlines()
        assert before == "/dev/null"
        assert all(line.startswith("+") for line in lines)
        assert len(lines) == int(count)
        path = tmp_path / "src" / name
        assert path.parent.is_dir()
        assert not path.exists(), f"{name} is there already"
        path.write_text("".join(f"{line[1:]}\n" for line in lines), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
    code = [sys.executable, "-c", USE, str(tmp_path), str(Path(__file__).parent)]
    done = subprocess.run(code, capture_output=True, text=True, env=environment)
    if done.returncode:
        pytest.fail(done.stderr)
