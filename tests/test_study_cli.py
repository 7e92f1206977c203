"""``plait study`` as a user has it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from plait.cli import main
from study_tiny import TOLD, study


def run(*arguments: str | Path) -> int:
    """Exit code of a command."""
    try:
        main([str(a) for a in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    study(tmp_path)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({**TOLD, "seeds": 1}))
    return tmp_path / "study.yaml"


def test_from_check_to_results(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run("study", "check", file) == 0
    assert "no mistakes" in capsys.readouterr().out
    assert run("study", "plan", file, "--out", out, "--probes", "0", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["runs"], told["encodings"], told["cells"], told["groups"], told["seconds"]) == (2, 1, 90, 1, None)
    assert run("study", "run", file, "--out", out, "--engine", "inline") == 0
    said = capsys.readouterr().out
    assert "2 of 2 runs done" in said
    assert "depth=late" in said
    assert run("study", "status", out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["done"] == 2
    assert run("study", "results", out, "--json") == 0
    means = json.loads(capsys.readouterr().out)["means"]
    assert {row["variant"] for row in means} == {"depth=early", "depth=late"}
    assert run("study", "results", out, "--csv") == 0
    long = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert long["metric"].unique().tolist() == ["accuracy", "log_loss"]
    assert run("study", "plan", file, "--out", out) == 0
    assert "2 runs, 2 done" in capsys.readouterr().out


def test_mistakes_are_one_line_each_with_code_2(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(file.read_text().replace("epochs", "epoks").replace("seeds: 1", "seeds: none"))
    assert run("study", "check", file) == 2
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{file}:") for line in lines)
    assert run("study", "check", file, "--json") == 2
    assert {m["line"] for m in json.loads(capsys.readouterr().out)["mistakes"]} == {int(n.split(":")[1]) for n in lines}
    assert run("study", "run", file, "--engine", "inline") == 2
    assert "did you mean 'epochs'" in capsys.readouterr().err


def test_a_study_whose_runs_all_fail_is_no_success(
    tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(yaml.safe_dump({**TOLD, "seeds": 1, "model": {**TOLD["model"], "target_transform": "log"}}))
    assert run("study", "run", file, "--out", tmp_path / "out", "--engine", "inline") == 2
    assert "all 2 runs failed: target_transform log: is for a number" in capsys.readouterr().err
    pd.read_csv(tmp_path / "tiny.csv").assign(label="same").to_csv(tmp_path / "tiny.csv", index=False)
    assert run("study", "run", file, "--out", tmp_path / "other", "--engine", "inline") == 2
    assert "'label' is the same in all 90 rows" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_what_is_no_study_is_refused(tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("study", "status", tmp_path) == 2
    assert "holds no study" in capsys.readouterr().err
    assert run("study", "run", file, "--engine", "slurm") == 2
    assert "expected local or ray or inline, found 'slurm'" in capsys.readouterr().err
    assert run("study", "run", "pokemon_20") == 2
    assert "did you mean 'pokemon_200'" in capsys.readouterr().err


def test_recipes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("study", "list") == 0
    assert "pokemon_200" in capsys.readouterr().out


def test_the_report_is_written(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    assert run("study", "run", file, "--out", tmp_path / "out", "--engine", "inline") == 0
    assert run("study", "report", tmp_path / "out") == 0
    assert (tmp_path / "out" / "report" / "report.html").is_file()


def test_the_view_says_where_a_study_is(tmp_path: Path) -> None:
    from plait.study.state import State, lines, picture

    one = study(tmp_path)
    results = one.run(tmp_path / "out", engine="inline", only=[run.name for run in one.runs[:2]])
    state = State(one.runs, results.lines, retry_failed=False)
    state.flying = 1
    assert lines(state)[0].startswith("2 done, 1 in flight, about ")
    said = "\n".join(picture(one.name, state))
    assert "2/4 runs" in said
    assert "best on tiny/label" in said
