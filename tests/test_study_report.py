from __future__ import annotations

import csv
import functools
import http.server
import itertools
import math
import re
import shutil
import subprocess
import threading
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from plait.base.errors import ConfigError, MissingDependencyError, PlaitError
from plait.study.report import write_study_report
from study_results import Plan, study

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from plait.base.documents import plain
from plait.report.canvas import COLOURS
from plait.report.charts import Curve, curves_figure
from plait.report.curves import Panel, panels_figure
from plait.report.words import brief
from plait.study.report.evidence import differences_figure, scores_figure
from plait.study.report.sections.cost import cost_figure, front
from plait.study.report.sections.ranks import ranks_figure
from plait.study.report.sections.response import response_figure
from plait.study.statistics.compare import rank
from plait.study.statistics.summary import summarise
from test_report import EVIL, SVG_TAGS, Page, check_alone

FUSIONS = ("concat", "gated", "product")
DEPTHS = ("early", "late")
GRID = {f"fusion={f} depth={d}": {"fusion": f, "depth": d} for d in DEPTHS for f in FUSIONS}
NOISE = [(f"white_noise:image:{s}", {"kind": "white_noise", "modality": "image", "strength": s}) for s in (0.5, 2.0)]
BOTH = [
    (f"noise {a} {b}", {"kind": "white_noise", "image": a, "text": b})
    for a, b in itertools.product((0.0, 1.0), (0.5, 1.0))
]
CLAIMS = [
    {"metric": "accuracy", "value": 0.2, "variant": "fusion=gated depth=late", "where": "table 4"},
    {"metric": "accuracy", "value": 0.9, "variant": "fusion=gated depth=late", "data": "pkm_t1"},
    {"metric": "accuracy", "value": 0.3, "variant": "fusion=product depth=early", "data": "pkm_t1"},
]


def skill(place):
    settings = GRID[place["variant"]]
    told = (
        1.2 + {"concat": 0.0, "gated": 0.4, "product": -1.2}[settings["fusion"]] + 0.4 * (settings["depth"] == "late")
    )
    axes = place["axes"] or {}
    told -= 0.3 * axes.get("strength", 0) + 0.3 * axes.get("image", 0) + 0.1 * axes.get("text", 0)
    return told - 0.9 * (len(place["present"]) < 2)


def failing(place):
    if place["variant"] == "fusion=concat depth=late" and place["seed"] == 1:
        return "no space left <on> the device"
    if place["variant"] == "fusion=product depth=late" and place["seed"] > 1:
        return "stopped by racing"
    return None


PLAN = Plan(
    skill=skill,
    variants=GRID,
    seeds=(0, 1, 2),
    rows=160,
    test_rows=60,
    conditions=[("clean", None), *NOISE, *BOTH],
    subsets=[("text", "image"), ("text",)],
    patterns=[("text", "image"), ("text",)],
    failing=failing,
    costs=lambda p: {"trained": 1000 * 4 ** FUSIONS.index(GRID[p["variant"]]["fusion"]), "seconds": 1.5, "peak": 500.0},
    epochs=5,
    spec={"about": "All of it.", "source": {"title": "A paper"}, "claims": CLAIMS},
    about={"runs": 40},
)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("full")
    results = study(folder, PLAN)
    page = write_study_report(results, folder / "report", resamples=60)
    return page, page.read_text("utf-8"), results


def small(folder, **told):
    plan = {
        "skill": lambda p: 1.0,
        "variants": {"a": {"fusion": "a"}, "b": {"fusion": "b"}},
        "seeds": (0, 1),
        "rows": 90,
    }
    return study(folder, Plan(**plan | {"test_rows": 30} | told))


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# -- the page -----------------------------------------------------------------------------------------------------------


def test_the_page_stands_alone_and_parses(report):
    _, text, _ = report
    page = check_alone(text)
    assert text.startswith("<!DOCTYPE html>")
    assert {"svg", "table", "figure", "h1", "title", "details"} <= page.names
    assert len(text.encode()) < 5_000_000


def test_ids_are_unique_and_references_resolve(report):
    page = Page(report[1])
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    wanted = {a["href"][1:] for _, a in page.tags if a.get("href", "").startswith("#")}
    wanted |= set(re.findall(r"url\(#([^)]+)\)", report[1]))
    assert wanted <= set(ids)
    sections = {"scores", "modalities", "design", "robustness", "cost", "learning", "claims", "left-out", "again"}
    assert sections <= wanted


def test_every_section_begins_with_a_sentence(report):
    _, text, _ = report
    for section in re.findall(
        r'<section id="(?!scores)([^"]+)">\s*<h2>[^<]+</h2>\s*(<p class="proven">[^<]+\.</p>)?', text
    ):
        assert section[1], section[0]
    lead = re.search(r'<p class="lead">([^<]+)</p>', text).group(1)
    assert "“fusion=gated depth=late” reaches accuracy 0." in lead
    assert "interval" in lead
    assert "with all runs" in lead  # two variants lack some


def test_everything_that_the_issue_asks_for_is_on_the_page(report):
    _, text, _ = report
    told = Page(text).text
    for wanted in (
        "Of 40 runs, 2 failed, 2 stopped, 4 not begun",
        "no space left <on> the device",
        "stopped by racing",
        "plait study run study.yaml",
        "0123abcd",
        "3.11.7",
        "A paper",
        "critical differences need 3 data sets",
        "variants that no cheaper one reaches",
        "only these present at test",
        "other data",
        "fusion=gated depth=late better than fusion=product depth=early",
    ):
        assert wanted in told, wanted
    drawn = [a["aria-label"] for t, a in Page(text).tags if t == "svg"]
    for part in (
        "ticks: single runs",
        "Difference from the best",
        "framed: with the best",
        "under white noise (image)",
        "all maps on one scale",
        "Difference: blue where “gated late” is better",
        "held-out rows",
        "trained weights",
        "Trained on only these",
    ):
        assert any(part in label for label in drawn), part


def test_best_and_ties_are_marked(tmp_path):
    results = small(tmp_path, seeds=(0, 1, 2, 3, 4), luck=0.0, variants={x: {"fusion": x} for x in ("a", "b", "poor")},
                    skill=lambda p: -1.0 if p["variant"] == "poor" else 3.5, test_rows=60, rows=200)  # fmt: skip
    page = write_study_report(results, tmp_path / "report", resamples=50, metric="log_loss")
    rows = read(tmp_path / "report" / "tables" / "scores.csv")
    classes = re.findall(r'<tr class="([a-z-]+)"', page.read_text("utf-8"))
    assert [row["verdict"].replace(" ", "-") for row in rows] == classes[:3]
    assert classes[0] == "best"
    assert classes[2] == "worse"
    lines = (tmp_path / "report" / "report.md").read_text("utf-8").splitlines()
    table = [
        line
        for line in lines
        if line.startswith("|") and (" a |" in line or " b |" in line or "poor" in line or "**" in line)
    ]
    assert table[0].startswith("| **● ")
    assert {"best": "●", "not decided": "○", "equivalent": "≈"}[rows[1]["verdict"]] in table[1]
    assert table[2].startswith("| poor |")


def test_numbers_are_those_of_the_statistics(report):
    page, text, results = report
    rows = {row["variant"]: row for row in read(page.parent / "tables" / "scores.csv")}
    told = summarise(results, resamples=60).set_index("label")
    assert set(rows) == set(told.index)
    for label, row in rows.items():
        assert float(row["mean"]) == pytest.approx(told.loc[label, "mean"])
        assert row["fusion"] == GRID[label]["fusion"]
        assert row["words"] in text or row["words"].replace("<", "&lt;") in text
    assert rows["fusion=concat depth=late"]["runs"] == "2"


def test_maps_and_curves_hold_the_means(report):
    page, _, results = report
    frame = results.frame.query("metric == 'accuracy' and subset == 'text+image' and present == 'text+image'")
    design = read(page.parent / "tables" / "design.csv")
    assert [row["depth \\ fusion"] for row in design] == ["early", "late"]
    clean = frame[frame["condition"] == "clean"].groupby("variant")["value"].mean()
    assert float(design[1]["gated"]) == pytest.approx(clean["fusion=gated depth=late"])
    conditions = read(page.parent / "tables" / "conditions.csv")
    means = frame.groupby(["condition", "variant"])["value"].mean()
    for row in conditions:
        assert float(row["fusion=gated depth=late"]) == pytest.approx(
            means[row["condition"], "fusion=gated depth=late"]
        )
    assert len(conditions) == 7


def test_claims_stand_beside_ours_with_their_data(report):
    page, _, _ = report
    rows = read(page.parent / "tables" / "claims.csv")
    assert [(r["kind"], r["their_data"], r["verdict"]) for r in rows] == [
        ("value", "toy/kind", "held"),
        ("value", "pkm_t1", "not decidable"),
        ("value", "pkm_t1", "not decidable"),
        ("order", "pkm_t1", "held"),
    ]


def test_figures_and_tables_lie_beside_the_page(report):
    page, text, _ = report
    folder = page.parent
    figures = sorted(path.stem for path in (folder / "figures").glob("*.svg"))
    assert figures == sorted(path.stem for path in (folder / "figures").glob("*.pdf"))
    assert len(figures) == text.count("<figure")
    assert {"scores", "differences", "design", "learning", "cost-trained-weights", "curve-white-noise-image"} <= set(
        figures
    )
    for name in figures:
        document = (folder / "figures" / f"{name}.svg").read_text("utf-8")
        root = ElementTree.fromstring(document)
        assert {e.tag.rpartition("}")[2] for e in root.iter()} <= SVG_TAGS
        assert "var(" not in document
        assert "mathdefault" not in document
        assert (folder / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert [p.name for p in folder.rglob(".*")] == [".plait.json"]


def test_markdown_says_the_same(report):
    page, text, _ = report
    told = (page.parent / "report.md").read_text("utf-8")
    seen = Page(text)
    for title in re.findall(r"<h2>([^<]+)</h2>", text):
        assert f"## {title}" in told
    for sentence in re.findall(r'<p class="proven">([^<]+)</p>', text):
        assert plain(sentence.replace("&lt;", "<").replace("&#39;", "'").replace("&gt;", ">")) in told
    for name in re.findall(r"\]\((figures/[^)]+)\)", told):
        assert (page.parent / name).exists()
    assert told.count("](figures/") == text.count("<figure")
    assert told.count("|---") > 3
    assert "no space left &lt;on&gt; the device" in told
    assert "no space left <on> the device" in seen.text


def test_it_is_the_same_bytes_each_time(report, tmp_path):
    page, text, results = report
    again = write_study_report(results, tmp_path, resamples=60)
    assert again.read_text("utf-8") == text
    paths = sorted(page.parent.rglob("*.*"))
    assert {"report.md", "scores.csv", "scores.svg"} <= {path.name for path in paths}
    for path in paths:
        assert (tmp_path / path.relative_to(page.parent)).read_bytes() == path.read_bytes(), path.name


def test_colours_turn_dark_with_the_page(report):
    text = report[1]
    style = text[text.index("<style>") : text.index("</style>")]
    assert "prefers-color-scheme: dark" in style
    assert "@media print" in style
    for colour in COLOURS.values():
        assert colour not in text[text.index("</style>") :]
    used = set(re.findall(r"var\(--([a-z-]+)", text))
    assert used <= set(re.findall(r"--([a-z-]+):", style))


# -- what may be missing or odd -----------------------------------------------------------------------------------------


def test_one_variant_and_one_seed(tmp_path):
    results = small(tmp_path, variants={"default": {}}, seeds=(0,))
    page = write_study_report(results, tmp_path / "report", resamples=20)
    seen = check_alone(page.read_text("utf-8"))
    assert "“default” reaches accuracy" in seen.text
    assert "over test rows" in seen.text
    assert "nan" not in seen.text.lower().split()
    assert "None" not in seen.text.split()
    for title in ("Modalities", "Robustness", "Learning curves", "Claims"):
        assert title in seen.text  # as left out, with the reason


def test_two_fields_that_no_variant_has_both_of_are_no_map(tmp_path):
    variants = {
        "joint": {"fusion": "a"},
        "own": {"fusion": "b"},
        "trees": {"estimator": "trees"},
        "linear": {"estimator": "linear"},
    }
    page = write_study_report(small(tmp_path, variants=variants), tmp_path / "report", resamples=20)
    assert "the grid does not have two fields that vary" in page.read_text("utf-8")


def test_models_at_chance_are_not_called_equivalent(tmp_path):
    results = small(
        tmp_path,
        skill=lambda p: -0.5,
        test_rows=75,
        costs=lambda p: {"trained": ord(p["variant"]), "seconds": 1.0, "peak": 1},
    )
    seen = check_alone(write_study_report(results, tmp_path / "report", resamples=100).read_text("utf-8"))
    assert "highest mean of 2: both no better than the majority; not decided." in seen.text
    assert "No variant is better than the majority, whatever it costs." in seen.text
    assert "proven equivalent" not in seen.text


def test_a_cheapest_variant_that_costs_nothing_is_no_fraction_of_the_best(tmp_path):
    results = small(
        tmp_path,
        skill=lambda p: 1.0 + 0.1 * (p["variant"] == "a"),
        costs=lambda p: {"trained": 500 * (p["variant"] == "a"), "seconds": 1.0, "peak": 1},
    )
    seen = check_alone(write_study_report(results, tmp_path / "report", resamples=100).read_text("utf-8"))
    assert "(0 trained weights), against “a” (500)" in seen.text
    assert "inf" not in seen.text.split()


def test_without_predictions_it_is_said_what_the_interval_is_over(tmp_path):
    results = small(tmp_path)
    paths = list(tmp_path.rglob("predictions.npz"))
    assert len(paths) == 4  # two variants, two seeds
    for path in paths:
        path.unlink()
    seen = check_alone(write_study_report(results, tmp_path / "report", resamples=20).read_text("utf-8"))
    assert "over seeds)" in seen.text


def test_everything_failed(tmp_path):
    results = small(tmp_path, failing=lambda p: "CUDA is not here")
    seen = check_alone(write_study_report(results, tmp_path / "report").read_text("utf-8"))
    assert "No run is done yet" in seen.text
    assert "Of 4 runs, 4 failed" in seen.text
    assert "CUDA is not here" in seen.text


@pytest.mark.parametrize(("task", "metric"), [("regression", "mae"), ("multilabel", None)])
def test_other_tasks_and_metrics(tmp_path, task, metric):
    results = small(tmp_path, task=task, skill=lambda p: 1.5 if p["variant"] == "a" else 0.3)
    text = write_study_report(results, tmp_path / "report", metric=metric, resamples=20).read_text("utf-8")
    told = Page(text).text
    assert "“a” reaches mean absolute error" in told if metric else "“a” reaches F1 per row" in told
    assert ("the lowest mean of 2" in told) == (metric == "mae")
    with pytest.raises(ConfigError, match="was not measured"):
        write_study_report(results, tmp_path / "report", metric="accuracy")


def test_one_variant_on_several_data_sets_is_told_by_what_it_reaches(tmp_path):
    names = ["toy/kind", "game/race"]
    results = small(tmp_path, datasets=names, skill=lambda p: 1.0, variants={"default": {}})
    told = Page(write_study_report(results, tmp_path / "report", resamples=20).read_text("utf-8")).text
    assert re.search(r"“default” reaches accuracy [01]\.\d+ on toy/kind and accuracy [01]\.\d+ on game/race", told)
    assert "proven worse than the best" not in told


def test_several_data_sets_are_ranked_and_laid_side_by_side(tmp_path):
    names = ["a/y", "b/y", "b/z", "c/y"]
    skills = {"a": 2.0, "b": 1.0, "c": 0.0}
    results = small(
        tmp_path, datasets=names, skill=lambda p: skills[p["variant"]], variants={k: {"f": k} for k in skills}
    )
    page = write_study_report(results, tmp_path / "report", resamples=20)
    told = Page(page.read_text("utf-8")).text
    assert "Ranks over data sets" in told
    assert "These are targets of 3 tables only" in told
    rows = read(page.parent / "tables" / "overview.csv")
    assert list(rows[0]) == ["variant", *names]
    assert (page.parent / "figures" / "ranks.pdf").exists()
    assert (page.parent / "tables" / "scores-b-z.csv").exists()


def test_forty_variants_stay_readable_and_small(tmp_path):
    variants = {
        f"fusion=operator_{i} depth={d}": {"fusion": f"operator_{i}", "depth": d} for i in range(10) for d in range(4)
    }
    results = small(tmp_path, variants=variants, skill=lambda p: 0.1 * p["seed"] + int(p["variant"][16]) / 5)
    page = write_study_report(results, tmp_path / "report", resamples=20)
    text = page.read_text("utf-8")
    assert len(text.encode()) < 1_000_000
    drawn = ElementTree.fromstring((page.parent / "figures" / "scores.svg").read_text("utf-8"))
    labels = [e.text for e in drawn.iter("{http://www.w3.org/2000/svg}text") if e.text and "operator" in e.text]
    assert len(set(labels)) == 40
    assert float(drawn.get("viewBox").split()[3]) > 40 * 13
    assert "All 40 variants in numbers" in text
    assert "operator_9 0" in text


def test_figures_beyond_the_room_stay_beside_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr("plait.study.report.ROOM", 6_000)
    page = write_study_report(small(tmp_path / "made"), tmp_path, resamples=20)
    text = page.read_text("utf-8")
    assert "left beside the page" in text
    assert 0 < text.count("<svg") < text.count("<figure")
    assert len(list((tmp_path / "figures").glob("*.svg"))) == text.count("<figure")


@pytest.mark.filterwarnings("error")
def test_a_stranger_s_text_is_harmless(tmp_path):
    variants = {name: {name: name} for name in (*EVIL, "plain")}
    results = small(
        tmp_path,
        variants=variants,
        datasets=[EVIL[0]],
        conditions=[("clean", None), (EVIL[1], {"kind": EVIL[0], "modality": EVIL[2], "strength": 1.0})],
        failing=lambda p: EVIL[3] if p["variant"] == EVIL[4] else None,
        about={"command": EVIL[0], "versions": {EVIL[0]: EVIL[1]}},
        spec={"about": EVIL[0]},
        epochs=2,
        costs=lambda p: {"trained": len(p["variant"]), "seconds": 1, "peak": 1},
    )
    page = write_study_report(results, tmp_path / "report", resamples=20)
    seen = check_alone(page.read_text("utf-8"))
    assert "<script>alert(1)</script>" in seen.text
    assert "7 * 7" in seen.text
    told = re.sub(r"^```.*?^```", "", (page.parent / "report.md").read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert "<script" not in told
    assert "<img" not in told
    figures = list((page.parent / "figures").glob("*.svg"))
    assert len(figures) == page.read_text("utf-8").count("<figure") > 0
    for figure in figures:
        ElementTree.fromstring(figure.read_text("utf-8"))


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    results = small(tmp_path / "made")
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(PlaitError, match="taken is a file, no folder; name another place"):
        write_study_report(results, tmp_path / "taken", resamples=20)


def test_a_missing_package_names_the_extra(tmp_path, monkeypatch):
    import importlib

    results = small(tmp_path / "made")
    real = importlib.import_module

    def without(name, package=None):
        if name == "jinja2":
            raise ImportError("no jinja2 here")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(MissingDependencyError, match=r"plait\[report\]"):
        write_study_report(results, tmp_path / "report", resamples=20)
    assert not (tmp_path / "report").exists()


# -- parts --------------------------------------------------------------------------------------------------------------


def test_the_front_is_what_nothing_beats():
    draws = np.random.default_rng(0)
    costs, gains = draws.integers(1, 9, 40).tolist(), draws.integers(1, 9, 40).tolist()
    found = front(costs, gains)
    for i in range(40):
        beaten = any(
            costs[j] <= costs[i] and gains[j] >= gains[i] and (costs[j] < costs[i] or gains[j] > gains[i])
            for j in range(40)
        )
        assert beaten == ((costs[i], gains[i]) not in {(costs[j], gains[j]) for j in found})
    assert [costs[i] for i in found] == sorted({costs[i] for i in found})


def test_labels_stay_apart_when_shortened():
    assert brief(["a=1 b=2", "a=1 c=2"])[0] == {"a=1 b=2": "a=1 b=2", "a=1 c=2": "a=1 c=2"}  # other fields
    assert brief(["a=1 2", "a=1 b=2"])[1] == "variant"
    assert brief(["a=x", "a=y"]) == ({"a=x": "x", "a=y": "y"}, "a")
    assert brief([]) == ({}, "variant")


def test_a_critical_difference_beyond_the_scale_is_said():
    told = rank(np.random.default_rng(0).normal(size=(3, 8)), [f"v{i}" for i in range(8)], ["a", "b", "c"])
    assert told.critical > 6
    texts = [t.get_text() for t in ranks_figure(told, list(told.names)).axes[0].texts]
    assert sum(bool(re.match(r"v\d  |\d\.\d\d  v\d", t)) for t in texts) == 8
    long = rank(np.random.default_rng(0).normal(size=(3, 3)), list("abc"), list("xyz"))
    assert math.isclose(long.critical, 1.91, abs_tol=0.01)


# -- in a browser -------------------------------------------------------------------------------------------------------

BROWSER = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)


class Served(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and keeps what was asked for."""

    asked: list[str]

    def log_message(self, *_):
        self.asked.append(self.path)


def opened(folder, name, tmp_path):
    """Console lines, what was asked of the server, and the page as the browser has it; other hosts cannot be found."""
    asked: list[str] = []
    handler = functools.partial(type("Handler", (Served,), {"asked": asked}), directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
        ]
        options += ["--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--dump-dom"]
        options += [
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            f"--user-data-dir={tmp_path / 'profile'}",
        ]
        address = f"http://127.0.0.1:{server.server_port}/{name}"
        done = subprocess.run([BROWSER, *options, address], capture_output=True, text=True, timeout=120, check=False)
        server.shutdown()
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return console, [path for path in asked if path != "/favicon.ico"], done.stdout


@pytest.mark.skipif(BROWSER is None, reason="no Chromium to open the page in")
def test_in_a_browser_the_page_has_no_error_and_asks_for_nothing(report, tmp_path):
    page, text, _ = report
    bad = text.replace("</main>", '<img src="https://example.org/x.png"><script>x</script></main>')
    (tmp_path / "bad.html").write_text(bad)
    console, asked, _ = opened(tmp_path, "bad.html", tmp_path)
    assert len(console) >= 2, "the browser does not tell what goes wrong, so this test would see nothing"
    console, asked, dom = opened(page.parent, "report.html", tmp_path)
    assert console == []
    assert asked == ["/report.html"]
    assert dom.count("<figure") == text.count("<figure")
    assert pd.Series(re.findall(r'<section id="([^"]+)"', dom)).is_unique


@pytest.mark.parametrize("count", [2, 7])
def test_the_page_says_how_many_variants_there_are(tmp_path, count):
    """The best has the highest mean of all of them, and every other one is told of once."""
    names = [f"v{i}" for i in range(count)]
    results = small(
        tmp_path, variants={n: {"f": n} for n in names}, skill=lambda p: 3.0 if p["variant"] == "v1" else -1.0
    )
    page = write_study_report(results, tmp_path / "report", resamples=50)
    told = Page(page.read_text("utf-8")).text
    assert len(read(page.parent / "tables" / "scores.csv")) == count
    others = "1 other is" if count == 2 else f"{count - 1} others are"
    assert f"the highest mean of {count}: {others} proven worse." in told
    assert f"runs done {2 * count} variants {count} seeds 2 data set 1 modalities 2" in told


def test_variants_without_all_their_runs_are_not_counted_among_those_with(tmp_path):
    results = small(
        tmp_path,
        variants={n: {"f": n} for n in ("a", "b", "c", "d")},
        skill=lambda p: 3.0 if p["variant"] == "a" else 0.0,
        failing=lambda p: "it broke" if p["variant"] == "d" and p["seed"] == 1 else None,
    )
    page = write_study_report(results, tmp_path / "report", resamples=20)
    assert "mean of the 3 with all runs" in Page(page.read_text("utf-8")).text
    assert [row["runs"] for row in read(page.parent / "tables" / "scores.csv") if row["variant"] == "d"] == ["1"]


VERDICTS = ("best", "worse", "not decided", "equivalent")


def rows_of_figure(count):
    return [
        {"name": f"row {i}", "mean": 0.9 - i / 100, "difference": -i / 100, "low": -i / 100 - 0.05, "high": 0.05}
        | {"verdict": VERDICTS[min(i, 3)], "runs": [0.5, 0.6, 0.7]}
        for i in range(count)
    ]


@pytest.mark.parametrize("count", [1, 5, 30])
def test_a_figure_has_a_row_for_each_variant_the_best_on_top(count):
    ax = scores_figure(rows_of_figure(count), "accuracy").axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == [f"row {i}" for i in range(count)]
    assert list(ax.get_yticks()) == list(range(count - 1, -1, -1))
    dots = [line for line in ax.lines if len(line.get_xdata()) == 1 and line.get_marker() != "|"]
    assert [(d.get_xdata()[0], d.get_ydata()[0]) for d in dots] == [
        (pytest.approx(0.9 - i / 100), count - 1 - i) for i in range(count)
    ]
    ticks = [line for line in ax.lines if line.get_marker() == "|"]
    assert [list(t.get_xdata()) for t in ticks] == [[0.5, 0.6, 0.7]] * count
    intervals = [line for line in ax.lines if len(line.get_xdata()) == 2 and line.get_marker() != "|"]
    assert [list(line.get_xdata()) for line in intervals] == [
        [pytest.approx(-i / 100 - 0.05), 0.05] for i in range(count)
    ]


def test_no_score_axis_has_a_tick_where_no_score_can_be():
    points = [{"cost": 10.0 * i, "score": 1.0 - i / 50, "low": 0.9, "high": 1.0} for i in range(1, 4)]
    points += [{"cost": 5.0, "score": 1.0, "low": 1.0, "high": 1.0}]
    rows = [row | {"mean": 1.0 - i / 50, "low": 0.9, "high": 1.0} for i, row in enumerate(rows_of_figure(3))]
    curve = Curve("a", [0.0, 1.0], [0.5, 1.0])
    trials = {"a": ([1, 2, 3, 4], [0.8, 0.9, 1.0, 1.0])}
    for drawn, name in (
        (cost_figure(points, "seconds", "accuracy", ends=(0.0, 1.0)), "yaxis"),
        (scores_figure(rows, "accuracy", (0.0, 1.0)), "xaxis"),
        (curves_figure([curve], "noise", "accuracy", ends=(0.0, 1.0)), "yaxis"),
        (response_figure(trials, "dropout", "accuracy", ends=(0.0, 1.0)), "yaxis"),
    ):
        axis = getattr(drawn.axes[0], name)
        assert 0.5 <= min(axis.get_majorticklocs()) < max(axis.get_majorticklocs()) <= 1.0
        assert axis.get_view_interval()[1] > 1.0  # the marks at its end are drawn whole


def test_the_last_number_of_a_logarithmic_axis_is_whole():
    curve = Curve("a", [10.0**i for i in range(4, 8)], [1.0, 2.0, 3.0, 4.0])
    panels = [Panel(title, "GB", [curve], across="rows", log=True) for title in "ab"]
    for figure in (curves_figure([curve], "rows", "GB", log=True), panels_figure(panels)):
        figure.draw_without_rendering()
        for ax in figure.axes:
            labels = ax.get_xticklabels()
            assert [label.get_text() for label in labels] == ["10,000", "100,000", "1,000,000", "10,000,000"]
            assert max(label.get_window_extent().x1 for label in labels) < figure.bbox.x1 - 1


def test_differences_that_are_no_numbers_have_no_row():
    rows = rows_of_figure(4)
    rows[1]["difference"] = math.nan
    ax = differences_figure(rows, "difference", 0.02).axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["row 0", "row 2", "row 3"]
    band = ax.patches[0]
    assert (band.get_x(), band.get_width()) == (pytest.approx(-0.02), pytest.approx(0.04))
    assert differences_figure([rows[1]], "difference", 0.02) is None
    assert scores_figure([], "accuracy") is None


def test_every_cell_says_its_column_where_rows_become_cards(report):
    _, text, _ = report
    marked = re.findall(r'<div class="scroll marked">.*?</table>', text, re.DOTALL)
    assert marked
    for table in marked:
        heads = re.findall(r"<th(?: [^>]*)?>(.*?)</th>", table)
        for row in re.findall(r"<tr[^>]*>(<td.*?)</tr>", table, re.DOTALL):
            assert re.findall(r'data-label="(.*?)"', row) == heads
