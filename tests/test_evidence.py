"""Pages of docs/evidence: verdicts from seeds, rows and a margin named beforehand; pages are what their lines give."""

from __future__ import annotations

import importlib
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from plait.study.statistics.paired import crossed_t, resampled_t

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "docs" / "evidence"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a file of benchmarks/ by its name."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


def lines_of(arm: str, values: list[float], **more: Any) -> list[dict[str, Any]]:
    about = {"data": "d", "arm": arm, "split": 0, "subset": "a+b", "present": "a+b", "metric": "accuracy"}
    about |= {"train_rows": 800, "test_rows": 200, **more}
    return [about | {"seed": seed, "value": value} for seed, value in enumerate(values)]


def judged(ev: Any, gains: list[float], constant: float | None = None) -> Any:
    base = [0.6 + 0.01 * seed for seed in range(len(gains))]
    lines = lines_of("base", base) + lines_of("arm", [b + g for b, g in zip(base, gains, strict=True)])
    lines += lines_of("majority", [constant] * len(gains)) if constant is not None else []
    (test,) = ev.compared(lines, [("arm", {"data": "d", "arm": "arm"}, {"data": "d", "arm": "base"})], 0.02)
    return test


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ([0.10, 0.11, 0.09, 0.10], "held"),
        ([0.0100, 0.0101, 0.0099, 0.0100], "held, less than matters"),
        ([-0.10, -0.11, -0.09, -0.10], "not held: the other way round"),
        ([0.001, -0.001, 0.002, -0.002], "not held: equal within 0.02"),
        ([0.0, 0.0, 0.0], "not held: identical in 3 seeds"),
        ([0.012, -0.01, 0.01, -0.008], "not decided (14 seeds needed)"),
        ([0.10, -0.09, 0.11, -0.10], "not testable here: too few rows to see 0.02"),
        ([0.10, 0.03, 0.12, 0.02, 0.09], "not decided (20 seeds would decide one as large as this; none 0.02)"),
        ([0.5], "not decided (one seed)"),
    ],
)
def test_a_verdict_is_one_of_four_words(module: Any, gains: list[float], verdict: str) -> None:
    found = judged(module("evidence_lines"), gains).verdict
    assert found == verdict


def test_nothing_follows_where_both_sides_are_at_the_majority(module: Any) -> None:
    ev = module("evidence_lines")
    assert judged(ev, [0.10, 0.11, 0.09, 0.10], constant=0.2).verdict == "held"
    assert judged(ev, [0.10, 0.11, 0.09, 0.10], constant=0.9).verdict.startswith("not testable here: neither is better")


def test_an_arm_that_was_still_learning_has_not_lost(module: Any) -> None:
    ev = module("evidence_lines")
    ahead, behind = judged(ev, [0.10, 0.11, 0.09, 0.10]), judged(ev, [-0.10, -0.11, -0.09, -0.10])
    assert behind.verdict == "not held: the other way round"
    assert replace(behind, unfinished=1).verdict == "not decided (still learning at the last epoch: 1 of 4)"
    assert replace(ahead, unfinished=4).verdict == "held"


def test_seeds_needed_are_those_of_the_margin_not_of_what_was_seen(module: Any) -> None:
    ev = module("evidence_lines")
    near, far = judged(ev, [0.0, 0.02, -0.01, 0.01]), judged(ev, [0.2, 0.22, 0.19, 0.21])
    assert near.needed == far.needed


def test_rows_count_where_all_seeds_have_the_same(module: Any) -> None:
    ev, rng = module("evidence_lines"), np.random.default_rng(0)
    right = {arm: rng.random((3, 203)) < share for arm, share in (("arm", 0.7), ("base", 0.6))}
    lines = [
        line | {"right": bytes(np.packbits(bits)).hex()}
        for arm, rows in right.items()
        for line, bits in zip(lines_of(arm, list(rows.mean(1)), test_rows=203), rows, strict=True)
    ]
    (test,) = ev.compared(lines, [("arm", {"data": "d", "arm": "arm"}, {"data": "d", "arm": "base"})], 0.02)
    gaps = right["arm"].mean(1) - right["base"].mean(1)
    by_row = (right["arm"].astype(float) - right["base"]).mean(0)
    assert test.difference == crossed_t(gaps, by_row.var(ddof=1) / 203, 203)
    assert test.difference != resampled_t(gaps, 203 / 800)


def test_errors_are_turned_so_that_above_zero_is_better(module: Any) -> None:
    ev = module("evidence_lines")
    lines = lines_of("arm", [0.5, 0.6], metric="mae") + lines_of("base", [0.7, 0.8], metric="mae")
    (test,) = ev.compared(lines, [("arm", {"data": "d", "arm": "arm"}, {"data": "d", "arm": "base"})], 0.02)
    assert test.difference.value == pytest.approx(0.2)


def test_one_family_is_corrected_together(module: Any) -> None:
    ev = module("evidence_lines")
    lines = lines_of("base", [0.6, 0.61, 0.6]) + lines_of("x", [0.7, 0.7, 0.7]) + lines_of("y", [0.5, 0.66, 0.6])
    pairs = [(arm, {"data": "d", "arm": arm}, {"data": "d", "arm": "base"}) for arm in ("x", "y")]
    first, second = ev.compared(lines, pairs, 0.02)
    (alone,) = ev.compared(lines, pairs[:1], 0.02)
    assert first.p == pytest.approx(2 * first.difference.p)
    assert second.p == pytest.approx(second.difference.p)
    assert alone.p == alone.difference.p


def test_lines_are_kept_with_command_and_versions(module: Any, tmp_path: Path) -> None:
    ev = module("evidence_lines")
    ev.write(tmp_path / "a.jsonl", "plait study run x", lines_of("arm", [0.5]))
    head, lines = ev.read(tmp_path / "a.jsonl")
    assert head["command"] == "plait study run x"
    assert {"plait", "torch"} <= set(head["versions"])
    assert lines == lines_of("arm", [0.5])


def test_every_page_is_what_its_lines_give(module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(PAGES, tmp_path / "evidence", ignore=shutil.ignore_patterns("*.svg"))
    there = tmp_path / "evidence"
    evidence = module("evidence")
    monkeypatch.setattr(module("evidence_lines"), "HERE", there)
    monkeypatch.setattr(module("evidence_lines"), "svg", lambda figure: "<svg/>")
    for name in (
        *("pretraining_pays", "missing_in_training", "contrast_pays", "context_sizes", "default_worth", "advice"),
        *("conv_lstm_grid", "target_cost", "tuned_pays", "early_late_noise"),
    ):
        page = module(name)
        monkeypatch.setattr(page, "LINES", there / page.LINES.name)
        if hasattr(page, "PAGE"):
            monkeypatch.setattr(page, "PAGE", there / page.PAGE.name)
    noise = there / "early_late_noise_reduced.jsonl"
    monkeypatch.setattr(evidence, "PAGES", [(there / path.name, build) for path, build in evidence.PAGES[1:]])
    rows = module("early_late_noise").build(noise) if noise.is_file() else []
    rows += [row for lines, build in evidence.PAGES if lines.is_file() for row in build()]
    for page in sorted(there.glob("*.md")):
        assert page.read_text("utf-8") == (PAGES / page.name).read_text("utf-8"), page.name
    front = (PAGES / "README.md").read_text("utf-8")
    for question, verdicts, *_ in rows:
        assert f"| {question} | {verdicts} |" in front
    for picture in sorted(there.glob("*.svg")):
        assert (PAGES / picture.name).is_file(), picture.name


def test_the_linear_model_of_the_noise_page_learns(module: Any) -> None:
    noise, rng = module("noise_linear"), np.random.default_rng(0)
    digits = {part: rng.integers(0, 3, 90).astype(str) for part in ("train", "valid", "test")}
    x = {part: np.eye(5)[values.astype(int)] + rng.normal(0, 0.2, (90, 5)) for part, values in digits.items()}
    model, penalty = noise._fitted(lambda part, at: [x[part]], digits, (1.0, 1.0))
    assert np.mean(model([x["test"]]) == digits["test"]) > 0.9
    assert penalty in noise.PENALTIES
    assert module("early_late_noise").arm("late, equal weights, 0.003") == ("late, equal weights", "0.003")


def test_lines_of_other_data_stay_beside_new_ones(module: Any, tmp_path: Path) -> None:
    ev, path = module("evidence_lines"), tmp_path / "a.jsonl"
    ev.write(path, "x", [*lines_of("arm", [0.5, 0.6]), *lines_of("arm", [0.7], data="e")])
    new = lines_of("arm", [0.9])
    assert ev.beside(path, new, "data") == [*lines_of("arm", [0.7], data="e"), *new]
    assert ev.beside(tmp_path / "none.jsonl", new, "data") == new


def test_a_seed_measured_elsewhere_is_added_to_those_there(module: Any, tmp_path: Path) -> None:
    ev = module("evidence_lines")
    lines = [{"study": "a", "data": "t", "arm": "x", "seed": seed, "split": 0, "value": 0.5} for seed in (0, 1)]
    ev.write(tmp_path / "l.jsonl", "command", lines)
    fresh = [lines[1] | {"value": 0.6}, lines[1] | {"seed": 2}]
    kept = ev.beside(tmp_path / "l.jsonl", fresh)
    assert [(line["seed"], line["value"]) for line in kept] == [(0, 0.5), (1, 0.6), (2, 0.5)]


def test_a_target_that_is_not_reached_costs_all_epochs(module: Any) -> None:
    cost = module("target_cost")
    about = {"data": "d", "test_rows": 40, "train_rows": 60, "epoch_seconds": 2.0}
    scratch = about | {"arm": "scratch", "seed": 0, "pretrain_seconds": 0.0, "curve": [0.2, 0.5, 0.8], "value": 0.8}
    first = about | {"arm": "pretrained", "seed": 0, "pretrain_seconds": 3.0, "curve": [0.92, 0.9], "value": 0.9}
    runs = [scratch, first]
    assert [cost.reached(x, 0.9) for x in runs] == [None, 1]
    assert [cost.cost_to(runs, x, 0.9) for x in runs] == [6.0, 5.0]
    cheaper, _, equal = cost._tests(runs)
    assert cheaper.difference.value == pytest.approx(np.log(6 / 5))
    assert equal.difference.value == pytest.approx(0.9 - 0.8)  # 7 s pay for more than three epochs from scratch


def test_hits_are_weighed_against_blind_choices(module: Any) -> None:
    advice = module("advice")
    assert advice._at_least([0.5, 0.5], 2) == pytest.approx(0.25)
    assert advice._at_least([0.1, 0.9, 1.0], 0) == pytest.approx(1.0)
    about = {"design": True, "metric": "accuracy", "processor": 1.0}
    lines = [
        line | about | {"named": line["arm"] == "late", "level": line["arm"] != "default"}
        for arm, value in (("default", 0.6), ("late", 0.7), ("early", 0.8))
        for line in lines_of(arm, [value])
    ]
    assert [advice._hits(lines, ["d"], key) for key in ("named", "default", "chance")] == [
        [1.0],
        [0.0],
        [pytest.approx(2 / 3)],
    ]
    gains = [t.difference.value for t in advice._tests(lines, ["d"])]
    assert gains == pytest.approx([0.1, 0.0, -0.1])


def test_draws_of_a_table_count_as_one(module: Any) -> None:
    advice = module("advice")
    about = {"design": True, "metric": "accuracy", "processor": 1.0, "race_fits": 3}
    arms = {"default": [0.6, 0.8], "late": [0.7, 0.7]}
    lines = [
        line | about | {"named": (line["arm"] == "late") == (line["seed"] == 0), "level": line["value"] > 0.65}
        for arm, values in arms.items()
        for line in lines_of(arm, values)
    ]
    lines += [x | {"data": "e"} for x in lines if x["seed"] == 0]
    tests = advice._tests(lines, ["d", "e"])
    assert tests[0].difference.pairs == 2  # tables, not draws
    assert tests[0].difference.value == pytest.approx(((0.1 + 0.0) / 2 + 0.1) / 2)
    assert advice._hits(lines, ["d", "e"], "default") == [0.5, 0.0]
    told = advice._told(lines, ["d", "e"], tests)
    assert "named the default itself on 1 of 3 draws" in told
    assert "p = 0.25)" in told  # three hits of three, each by chance: one of two, all, one of two
    assert "| d | accuracy | 800, 200 | 2 | 2 | default 0.700 | late 0.750 | **0.700** | 0.700 |" in advice._tables(
        lines, ["d"]
    )


def history(curves: dict[str, list[list[float]]]) -> list[dict[str, Any]]:
    """What epochs.jsonl keeps: a record per epoch and member, members of different length."""
    members = range(len(next(iter(curves.values()))))
    return [
        {"epoch": epoch, "member": member, "valid_loss": 0.0, "valid": {k: v[member][epoch] for k, v in curves.items()}}
        for member in members
        for epoch in range(len(next(iter(curves.values()))[member]))
    ]


@pytest.fixture
def study(module: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A folder of runs: (data, variant, seed) -> history."""
    (tmp_path / "results.jsonl").write_text("")

    def made(runs: dict[tuple[str, str, int], list[dict[str, Any]]], status: str = "done") -> Path:
        lines = [
            {
                "status": status,
                "dataset": d,
                "variant": v,
                "seed": s,
                "split": 0,
                "subset": ["a", "b"],
                "run": f"{d}{v}{s}",
            }
            for d, v, s in runs
        ]
        kept = {f"{d}{v}{s}": pd.DataFrame(history) for (d, v, s), history in runs.items()}
        monkeypatch.setattr(
            module("learning_curves").Results, "open", lambda folder: SimpleNamespace(lines=lines, epochs=kept.get)
        )
        return tmp_path

    return made


def test_a_curve_is_the_mean_over_members_until_the_first_stops(module: Any, study: Any) -> None:
    curves = {"joint": [[1.0, 0.5, 0.6], [2.0, 1.5]], "linear": [[3.0, 2.0, 1.0], [3.0, 4.0]]}
    folder = study({("d", "x", 1): history(curves), ("d", "x", 0): [], ("d", "x", 2): history({"joint": [[9.0]]})})
    (line,) = module("learning_curves").taken(folder)
    assert (line["data"], line["arm"], line["shown"]) == ("d", "x", 1)  # the first seed that has epochs
    assert line["valid_loss"] == [1.5, 1.0]
    assert (line["networks"], line["late"]) == (4, 2)  # joint of the second member, linear of the first
    first, second = module("learning_curves").taken(folder, branch=None)
    assert (first["branch"], first["late"], second["branch"], second["valid_loss"]) == (
        "joint",
        1,
        "linear",
        [3.0, 3.0],
    )
    assert module("learning_curves").taken(folder, lambda line: "") == []
    assert module("learning_curves").taken(folder / "none") == []


def test_a_curve_of_an_earlier_seed_stays(module: Any, tmp_path: Path) -> None:
    ev, lc, path = module("evidence_lines"), module("learning_curves"), tmp_path / "a.jsonl"
    curve = {"study": "curves", "data": "d", "arm": "x", "valid_loss": [1.0]}
    ev.write(path, "c", [curve, curve | {"arm": "y", "shown": 3}])  # one that does not say its seed is of the first
    fresh = [curve | {"arm": arm, "shown": 2} for arm in ("x", "y", "z")]
    assert lc.beside(path, fresh) == [curve, *fresh[1:]]
    later = [line | {"shown": 5} for line in fresh]
    assert lc.beside(tmp_path / "none.jsonl", [*fresh, *later]) == fresh
    assert lc.beside(tmp_path / "none.jsonl", [*later, *fresh]) == fresh


def test_losses_that_are_no_number_are_not_the_best(module: Any) -> None:
    records = [{"epoch": e, "valid_loss": v} for e, v in enumerate([2.0, 1.0, None])]
    found = module("learning_curves").losses(pd.DataFrame(records))
    assert found[""][0][:2] == [2.0, 1.0]
    assert np.isnan(found[""][0][2])
    assert module("learning_curves").losses(pd.DataFrame([{"epoch": 0, "train_loss": 1.0}])) == {}
    assert module("learning_curves").losses(pd.DataFrame()) == {}


def test_a_page_says_how_many_networks_were_still_learning(module: Any, tmp_path: Path) -> None:
    lc = module("learning_curves")
    curves = [
        {"data": "d/a", "arm": "x", "valid_loss": [2.0, 1.0], "networks": 3, "late": 2},
        {"data": "d/a", "arm": "y", "networks": 2, "late": 0},
        {"data": "e", "arm": "x", "valid_loss": [2.0, 1.0, 1.5]},
        {"data": "e", "arm": "z", "valid_loss": [2.0, 1.0]},
    ]
    assert lc.late(curves) == "3 of 7 networks were best at the last epoch that they were given, and might gain by more"
    text = "\n".join(lc.section(curves, tmp_path / "p.jsonl", "Seen:"))
    assert "Seen: 3 of 7 networks" in text
    assert sorted(p.name for p in tmp_path.glob("*.svg")) == ["p-d-a.svg", "p-e.svg"]
    assert "(p-d-a.svg)" in text
    assert lc.section([], tmp_path / "p.jsonl", "Seen:") == ["## Learning curves\n", "Not kept.\n"]


def test_every_page_of_a_study_shows_learning_curves() -> None:
    pages = (
        "early_late_noise_reduced",
        "conv_lstm_grid",
        "pretraining",
        "target_cost",
        "missing_in_training",
        "contrast",
    )
    for page in (*pages, "context_sizes", "default", "advice", "tuned"):
        assert "## Learning curves\n" in (PAGES / f"{page}.md").read_text("utf-8"), page


def test_middle_fusion_is_compared_on_the_seeds_that_both_have(module: Any) -> None:
    noise = module("early_late_noise")
    about = {"subset": "image+audio", "share": 0.25, "levels": [["orig"], ["orig"]], "trained": ["orig", "orig"]}
    lines = [
        about | {"variant": f"{place}, 0.001", "seed": seed, "valid_loss": [1.0], "accuracy": [[value + seed / 100]]}
        for place, value, seeds in (("late", 0.6, 3), ("early", 0.5, 3), ("middle", 0.7, 4))
        for seed in range(seeds)
        if (place, seed) != ("middle", 1)
    ]
    arms, rates = noise.arms_of(lines)
    assert list(rates) == ["early", "middle", "late"]  # the page's order, whatever the lines'
    middle, late = noise._tests(arms.pop("early"), arms, ("grid",))
    assert (middle.name[1], middle.difference.pairs, late.difference.pairs) == ("middle", 2, 3)
    assert middle.difference.value == pytest.approx(-0.2)


def test_lines_of_another_place_are_taken(module: Any, tmp_path: Path) -> None:
    ev, grid = module("evidence_lines"), module("conv_lstm_grid")
    known = [{"study": "grid", "seed": seed, "value": 0.1} for seed in (0, 1)]
    ev.write(tmp_path / "known.jsonl", "x", known)
    ev.write(tmp_path / "new.jsonl", "x", [known[1] | {"value": 0.2}, known[1] | {"seed": 2}])
    grid.take(SimpleNamespace(lines=tmp_path / "known.jsonl", source=tmp_path / "new.jsonl"))
    assert [(x["seed"], x["value"]) for x in ev.read(tmp_path / "known.jsonl")[1]] == [(0, 0.1), (1, 0.2), (2, 0.1)]


def test_a_paragraph_keeps_code_and_links_whole(module: Any) -> None:
    code = "`python " + "x " * 20 + "y`"
    text = module("evidence_lines").wrapped("word " * 20 + code + " " + "word " * 20 + "[its own page](a.md)")
    assert code in text
    assert max(map(len, text.splitlines())) <= 128


def test_a_condition_says_its_ratios_and_what_it_zeroes(module: Any) -> None:
    grid = module("conv_lstm_grid")
    zeroed = "zeroed:audio:strength=1 + white_noise:image:amplitude_ratio=1.4,redraw=true,side=8"
    assert grid.levels(zeroed) == ([1.4, np.inf], "audio")
    both = "white_noise:image:amplitude_ratio=0.35,side=8 + white_noise:audio:amplitude_ratio=inf"
    assert grid.levels(both) == ([0.35, np.inf], "")


def test_pictures_of_the_grid_are_means_over_seeds(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, drawn = module("conv_lstm_grid"), []
    monkeypatch.setattr(grid, "LINES", tmp_path / "a.jsonl")
    monkeypatch.setattr(grid, "svg", lambda figure: "<svg/>")
    monkeypatch.setattr(grid, "heat_maps", drawn.extend)
    monkeypatch.setattr(grid, "curves", lambda across, values, **more: drawn.append(values))
    about = {"study": "alone", "zeroed": "", "subset": "image", "trained": ["1.4", "orig"], "test_rows": 10}
    lines = [
        about | {"seed": seed, "accuracy": {"orig, orig": value, "1.4, orig": 1.0}}
        for seed, value in ((0, 0.2), (1, 0.4))
    ]
    grid._maps(lines)
    grid._alone(lines, "image", "absent")
    maps, curves = drawn
    assert maps.accuracy.ravel().tolist() == [0.3, 1.0]
    assert curves == {"1.4": [pytest.approx(0.3), 1.0]}


def test_runs_of_a_machine_before_stay(module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise, path = module("early_late_noise"), tmp_path / "a.jsonl"
    first, second = ({"variant": f"{name}, 0.003", "subset": "image+audio", "seed": 0} for name in ("early", "late"))
    module("evidence_lines").write(path, "x", [first])
    monkeypatch.setattr(noise.Results, "open", lambda out: None)
    monkeypatch.setattr(noise, "measured", lambda results: [second])
    noise.keep(SimpleNamespace(spec=SimpleNamespace(about="x")), tmp_path, SimpleNamespace(recipe="r", lines=path))
    assert noise.read(path) == [first, second]
