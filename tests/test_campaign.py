"""A short part of the fault campaign; the whole is run by hand and each night (``python tests/campaign``)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CAMPAIGN = Path(__file__).parent / "campaign"


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="the campaign is Linux's")
def test_a_short_campaign_finds_nothing_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    out = tmp_path / "c.jsonl"
    pytest.importorskip("pyarrow")
    command = [sys.executable, str(CAMPAIGN), "--part", "mutations", "--seeds", "0:15", "--out", str(out)]
    first = subprocess.run(command, capture_output=True, text=True)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "15 trials, 0 with faults" in first.stdout
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["seed"] for line in lines] == list(range(15))
    assert {line["kind"] for line in lines} == {"corpus", "table", "media", "archive", "model", "yaml", "results"}
    codes = {code for line in lines for code in line["codes"]}
    assert codes == {0, 2}, "some inputs are read, and some refused"
    text = out.read_text()
    out.write_text(text.replace('"faults": []', '"faults": ["made up"]', 1))
    again = subprocess.run([*command, "--seconds", "0"], capture_output=True, text=True)
    assert again.returncode == 1, "what was found once is a fault until it is tried anew"
    assert "15 trials, 1 with faults" in again.stdout


def test_a_short_fuzzing_finds_nothing_and_keeps_its_inputs(tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    pytest.importorskip("pyarrow")
    command = [sys.executable, str(CAMPAIGN / "fuzz.py"), "archive", "--runs", "200", "--corpus", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "DONE" in done.stderr
    assert len(list(tmp_path.iterdir())) > 1, "inputs that reach new code are kept"


def test_the_fuzzer_stops_at_what_is_no_clean_error(tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    pytest.importorskip("pyarrow")
    code = "import fuzz, sys; fuzz.Inputs.schema = lambda self, data: 1 / len(data); fuzz.main()"
    command = [sys.executable, "-c", code, "schema", "--runs", "200", "--corpus", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CAMPAIGN)
    assert done.returncode != 0
    assert [path.name[:6] for path in tmp_path.glob("crash-*")] == ["crash-"]
