from __future__ import annotations

import dataclasses
import math
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import yaml

from fake_model import FakeModel, fitted, schema, table
from plait.base.errors import MissingDependencyError, PlaitError
from plait.evaluation.baselines import Baselines, baselines
from plait.evaluation.evaluate import Evaluation, evaluate
from plait.evaluation.explain import explain
from plait.evaluation.importance import COLUMNS
from plait.evaluation.predictions import gather
from plait.report.canvas import COLOURS, broken, distinct, line_width, short, signed_bars, svg
from plait.report.fit import FitReport, write_explanation, write_report
from plait.report.sections import scores
from plait.report.words import number

pytest.importorskip("jinja2")
matplotlib = pytest.importorskip("matplotlib")

TASKS = ("classification", "multilabel", "regression")
EVIL = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "$\\frac{1}{2$",
    "]]> --> {{ 7 * 7 }} {% raw %}",
    "line\nbreak\x00\x0b\x1b[31m",
    "名前 🎈 مرحبا",
    "' onload='alert(1)",
    "https://example.org/x.png",
)
RECORD = {
    "seed": 7,
    "data_hash": "0123abcd",
    "rows": 300,
    "members": 2,
    "trained_weights": 412345,
    "seconds": {"encode": 1.25, "train": 0.5},
    "versions": {"plait": "0.1.0", "torch": "2.13.0"},
    "encoders": {"words": {"name": "minilm"}},
    "warnings": ["3 cells are unreadable"],
    "leaks": [{"column": "id", "message": "column 'id' equals the target"}],
    "settings": {"width": 128, "fusion": "concat", "branches": ("a", "b"), "rate": np.float64(0.1), "seed": None},
}
HISTORY = [
    {"member": m, "epoch": e, "train_loss": 1.0 / (e + 1), "valid_loss": 1.2 / (e + 1), "valid_score": math.nan}
    for m in range(2)
    for e in range(4)
]
IMPORTANCE = pd.DataFrame(
    [("numbers", "size", 0.2, 0.1, 0.3, 1.0, 0.5), ("words", "words_a", 0.01, -0.1, 0.1, 1.0, 0.1)],
    columns=list(COLUMNS),
)
LEADERBOARD = pd.DataFrame([{"branch": "joint", "loss": 0.5, "weight": 0.75, "left_out": None, "megabytes": math.nan}])
SVG_TAGS = {"svg", "g", "defs", "style", "path", "text", "tspan", "use", "clipPath", "rect"}
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Tags, attributes and texts; fails where a tag is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def names(self) -> set[str]:
        return {tag for tag, _ in self.tags}

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def written(folder, task, *, record=RECORD, history=HISTORY, rows=80, **told):
    model, frame = fitted(task, rows=rows, **told)
    columns = [c for m in model.schema_.modalities for c in m.columns]
    x = frame[columns].to_numpy()
    y = model.target_of(frame)
    found = evaluate(model, frame, bootstrap=50)
    explained = explain(model, frame, bootstrap=50)
    ours = gather(model, frame.iloc[60:], None).inputs()
    told = FitReport(
        evaluation=found,
        schema=dataclasses.replace(model.schema_, ignored={"id": "an identifier"}, doubts={"year": "a number?"}),
        explanation=explained,
        baselines=baselines(task, (x[:60], y[:60]), (x[60:], y[60:]), ours=ours, bootstrap=50),
        importance=IMPORTANCE,
        leaderboard=LEADERBOARD,
        history=history,
        settings=record["settings"],
        record=record,
        command="plait fit table.csv --target kind --set width=128",
    )
    page = write_report(folder, told)
    return page, found, explained


@pytest.fixture(scope="module", params=TASKS)
def report(request, tmp_path_factory):
    page, found, explained = written(tmp_path_factory.mktemp(request.param), request.param)
    return page, page.read_text("utf-8"), found, explained


def check_alone(text: str) -> Page:
    """Nothing is fetched from anywhere and no script runs."""
    page = Page(text)
    assert not page.names & {
        "script",
        "link",
        "iframe",
        "img",
        "image",
        "object",
        "embed",
        "base",
        "form",
        "audio",
        "video",
    }
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "xlink:href", "action", "poster", "srcset", "data"):
                assert value.startswith("#"), (tag, name, value)
            if name != "aria-label":
                assert not re.search(r"https?:|javascript:", value or ""), (tag, name, value)
    assert all(target.startswith("#") for target in re.findall(r"url\(['\"]?([^)]*)", text))
    assert "@import" not in text
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy
    return page


def test_the_page_stands_alone_and_parses(report):
    _, text, _, _ = report
    page = check_alone(text)
    assert text.startswith("<!DOCTYPE html>")
    assert {"svg", "table", "figure", "h1", "title"} <= page.names
    assert len(text.encode()) < 2_000_000


def test_ids_are_unique_and_references_resolve(report):
    page = Page(report[1])
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    wanted = {a["href"][1:] for _, a in page.tags if a.get("href", "").startswith("#")}
    wanted |= set(re.findall(r"url\(#([^)]+)\)", report[1]))
    assert wanted <= set(ids)
    assert wanted


def test_everything_that_the_issue_asks_for_is_on_the_page(report):
    _, text, found, explained = report
    page = Page(text)
    told = page.text
    for wanted in (
        "plait fit table.csv --target kind --set width=128",
        "width: 128",
        "0123abcd",
        "412,345",
        "torch 2.13.0",
        "an identifier",
        "a number?",
        "column 'id' equals the target",
        "3 cells are unreadable",
        "minilm",
        "words_a: " if "words_a: " in told else "words_a",
        "encode, seconds 1.2",
        "always answering the",
        "histogram gradient boosting on the table",
        "What each column is worth",
        "size certainly raise",
        "The worst rows",
        "Branches: loss on rows they did not learn from",
    ):
        assert wanted in told, wanted
    drawn = {a["aria-label"] for t, a in page.tags if t == "svg"}
    assert sum("Shapley" in label for label in drawn) == 2
    for part in (
        "95\N{NO-BREAK SPACE}% interval",
        "only these modalities",
        "target in the test rows",
        "Loss while",
        "without a modality",
    ):
        assert any(part in label for label in drawn), part
    if found.task == "classification":
        assert any("true and predicted class" in label for label in drawn)
    assert any(("15 bins" in label) == (found.task != "regression") for label in drawn)
    for told_class in found.classes:
        assert told_class in told
    assert number(found.score["value"]) in told
    assert number(explained.overall[0]["value"]) in told


def test_settings_and_schema_can_be_run_again(report):
    from plait.data.schema_yaml import from_yaml

    blocks = re.findall(r"<pre>(.*?)</pre>", report[1], flags=re.DOTALL)
    assert yaml.safe_load(blocks[0]) == {
        "width": 128,
        "fusion": "concat",
        "branches": ["a", "b"],
        "rate": 0.1,
        "seed": None,
    }
    again = from_yaml(blocks[1].replace("&#39;", "'").replace("&#34;", '"').replace("&gt;", ">"))
    assert [m.name for m in again.modalities] == ["words", "picture", "numbers"]


def test_figures_and_tables_lie_beside_the_page(report):
    path, _, found, explained = report
    figures = sorted((path.parent / "figures").iterdir())
    assert {"headline", "modality-values", "subsets", "target", "learning"} <= {f.stem for f in figures}
    for figure in figures:
        root = ElementTree.fromstring(figure.read_text("utf-8"))
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "var(" not in figure.read_text("utf-8")  # other programs know no CSS variables
    scores = pd.read_csv(path.parent / "tables" / "scores.csv")
    np.testing.assert_allclose(scores["value"], [m["value"] for m in found.metrics.values()])
    rows = pd.read_csv(path.parent / "tables" / "explained_rows.csv")
    assert list(rows["row"]) == list(explained.rows.index)
    np.testing.assert_allclose(rows["value_words"], explained.rows["value_words"])
    subsets = pd.read_csv(path.parent / "tables" / "subsets.csv")
    assert len(subsets) == 7
    assert not list(path.parent.rglob(".*"))


def test_it_is_the_same_bytes_each_time(report, tmp_path):
    path, text, found, _ = report
    again, _, _ = written(tmp_path, found.task)
    assert again.read_text("utf-8") == text
    for figure in sorted((path.parent / "figures").iterdir()):
        assert (tmp_path / "figures" / figure.name).read_bytes() == figure.read_bytes()


def test_colours_turn_dark_with_the_page(report):
    text = report[1]
    style = text[text.index("<style>") : text.index("</style>")]
    light, dark = style.split("prefers-color-scheme: dark", 1)
    for role, colour in COLOURS.items():
        assert f"--{role}: {colour}" in light
        assert re.search(rf"--{role}: #", dark[: dark.index("@media print")])
        assert colour not in text[text.index("</style>") :]
    used = set(re.findall(r"var\(--([a-z-]+)", text))
    assert used <= set(re.findall(r"--([a-z-]+):", light))
    assert "@media print" in style
    assert 'name="viewport"' in text


def test_drawing_leaves_matplotlib_as_it_was(tmp_path):
    before = dict(matplotlib.rcParams)
    written(tmp_path, "regression")
    assert dict(matplotlib.rcParams) == before


@pytest.mark.filterwarnings("error")
def test_a_stranger_s_text_is_harmless(tmp_path):
    names = [f"m{number}" for number in range(5)]  # names of modalities cannot be evil, those of columns can
    told = schema("classification", names, target=EVIL[0])
    evil = {column: f"{EVIL[int(column[1])]}{column}" for m in told.modalities for column in m.columns}
    modalities = (dataclasses.replace(m, columns=tuple(evil[c] for c in m.columns)) for m in told.modalities)
    told = dataclasses.replace(told, modalities=tuple(modalities))
    frame = table("classification", 120, names=names, target=EVIL[0], classes=EVIL).rename(columns=evil)
    model = FakeModel(told).fit(frame)
    evil_report = FitReport(
        evaluation=evaluate(model, frame, bootstrap=20),
        explanation=explain(model, frame, bootstrap=20),
        baselines=Baselines({EVIL[1]: {"accuracy": 0.5}}, {EVIL[1]: EVIL[0]}),
        importance=IMPORTANCE.assign(column=list(EVIL[:2])),
        leaderboard=LEADERBOARD.assign(branch=EVIL[0]),
        history=[{"member": EVIL[0], "epoch": 0, "train_loss": 1.0, "valid_loss": float("inf")}],
        settings={EVIL[0]: EVIL[1]},
        schema=dataclasses.replace(told, ignored=dict.fromkeys(EVIL, EVIL[1]), doubts=dict.fromkeys(EVIL, EVIL[0])),
        record={
            "warnings": list(EVIL),
            "leaks": list(EVIL),
            "versions": dict.fromkeys(EVIL, EVIL[0]),
            "seconds": {EVIL[0]: 1.0},
            "encoders": {EVIL[0]: {"name": EVIL[1]}},
        },
        command=EVIL[0],
    )
    page = write_report(tmp_path, evil_report)
    seen = check_alone(page.read_text("utf-8"))
    assert EVIL[0] in seen.text
    assert "alert(1)" in seen.text
    assert "7 * 7" in seen.text
    assert EVIL[5] in seen.text
    for figure in (tmp_path / "figures").iterdir():
        root = ElementTree.fromstring(figure.read_text("utf-8"))
        assert {e.tag.rpartition("}")[2] for e in root.iter()} <= SVG_TAGS
    assert len(pd.read_csv(tmp_path / "tables" / "per_class.csv")) == 8


def test_forty_classes_stay_small_and_readable(tmp_path):
    classes = tuple(f"a rather long class name, number {i}" for i in range(40))
    page, found, _ = written(tmp_path, "classification", rows=400, classes=classes)
    text = page.read_text("utf-8")
    assert len(text.encode()) < 1_000_000
    assert len(found.confusion["labels"]) == 21
    drawn = ElementTree.fromstring((tmp_path / "figures" / "confusion.svg").read_text("utf-8"))
    labels = [e.text for e in drawn.iter("{http://www.w3.org/2000/svg}text") if e.text and "…" in e.text]
    assert len(labels) == 40  # 20 down, 20 across
    assert len(set(labels)) == 20  # and each can be told from the others
    assert all(len(label) <= 18 for label in labels)
    assert len(pd.read_csv(tmp_path / "tables" / "per_class.csv")) == 40


@pytest.mark.parametrize("task", TASKS)
def test_little_is_enough(tmp_path, task):
    """One modality, no explanation, no baselines, no history, an empty record, no interval."""
    model, frame = fitted(task, rows=40, names=("words",))
    found = evaluate(model, frame, subsets=False, bootstrap=0)
    page = write_report(tmp_path, FitReport(evaluation=found, schema=model.schema_))
    seen = check_alone(page.read_text("utf-8"))
    assert "nan" not in seen.text.lower().split()
    assert "None" not in seen.text.split()


def test_undefined_scores_are_dashes(tmp_path):
    model, frame = fitted("classification")
    only = frame[frame["kind"] == "ant"]
    found = Evaluation.from_dict(evaluate(model, only, bootstrap=20).to_dict())
    simple = Baselines({"majority": {"accuracy": 1.0, "auc_macro": math.nan}})
    page = write_report(tmp_path, FitReport(evaluation=found, schema=model.schema_, baselines=simple))
    seen = Page(page.read_text("utf-8"))
    assert "–" in seen.texts
    assert "no class has both rows" in seen.text
    assert (
        pd.read_csv(tmp_path / "tables" / "scores.csv")
        .set_index("metric")
        .filter(like="AUC", axis=0)["value"]
        .isna()
        .all()
    )


def test_a_place_that_cannot_be_written_is_said_and_left_clean(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(PlaitError, match=r"taken.*cannot be written"):
        written(tmp_path / "taken", "regression")
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]


def test_a_failed_write_leaves_the_old_page(tmp_path, monkeypatch):
    page, _, _ = written(tmp_path, "regression")
    old = page.read_bytes()

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(PlaitError, match="No space left"):
        written(tmp_path, "regression", rows=70)
    assert page.read_bytes() == old
    assert not list(tmp_path.rglob(".*"))


def test_a_missing_package_names_the_extra(tmp_path, monkeypatch):
    import importlib

    real = importlib.import_module

    def without(name, package=None):
        if name == "jinja2":
            raise ImportError("no jinja2 here")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(MissingDependencyError, match=r"plait\[report\]"):
        written(tmp_path, "regression")
    assert not (tmp_path / "report.html").exists()


def test_an_explanation_alone(tmp_path):
    model, frame = fitted("classification", rows=40)
    found = explain(model, frame, bootstrap=20)
    paths = write_explanation(tmp_path, found)
    assert all(p.exists() for p in paths)
    assert {p.name for p in paths} == {
        "modality-values.svg",
        "modality-values-2.svg",
        "modality_values.csv",
        "interactions.csv",
        "explained_rows.csv",
    }
    values = pd.read_csv(tmp_path / "modality_values.csv")
    np.testing.assert_allclose(values["accuracy"], [w["value"] for w in found.overall])
    assert len(pd.read_csv(tmp_path / "interactions.csv")) == 3


@pytest.mark.parametrize(
    ("gap", "finer", "words"),
    [
        ((0.05, 0.01, 0.09), (0.1, 0.05, 0.2), "certainly beats every baseline; the strongest is boosted trees"),
        (
            (0.02, -0.01, 0.05),
            (0.0, -0.1, 0.1),
            "does not beat boosted trees on the table and the embeddings by more than noise",
        ),
        (
            (0.02, -0.01, 0.05),
            (0.1, 0.05, 0.2),
            "By log loss, which shows smaller differences than accuracy, it certainly beats",
        ),
        ((-0.05, -0.09, -0.01), (0.0, -0.1, 0.1), "certainly worse than boosted trees"),
        (
            (0.05, 0.01, 0.09),
            (-0.1, -0.2, -0.05),
            "the model is certainly worse than a linear model on the same features",
        ),
    ],
)
def test_the_verdict_says_no_more_than_the_paired_interval(gap, finer, words):
    model, frame = fitted("classification")
    found = evaluate(model, frame, bootstrap=50)
    scores_of = {"trees": {"accuracy": 0.5, "log_loss": 1.0}, "linear": {"accuracy": 0.4, "log_loss": 0.9}}
    keys = ("difference", "low", "high")
    against = [
        {"baseline": "trees", "metric": "accuracy", **dict(zip(keys, gap, strict=True))},
        {"baseline": "linear", "metric": "log_loss", **dict(zip(keys, finer, strict=True))},
    ]
    simple = Baselines({**scores_of, "majority": {"accuracy": 0.25, "log_loss": 1.4}}, {}, against)
    assert words in scores.verdict(found, simple)
    assert scores.verdict(found, Baselines({})) == ""
    line = scores.headline(found, simple)
    assert line.startswith("On 240 test rows, accuracy is 0.")
    trees, majority = (
        "boosted trees on the table and the embeddings gives",
        "always answering the most frequent class gives",
    )
    assert line.endswith(f"{trees} 0.500, {majority} 0.250.")


def test_labels_that_begin_alike_stay_apart():
    assert short("a\nb\x00c", 9) == "a b c"
    assert short("", 9) == "(empty)"


def test_a_map_of_one_kind_names_it_once() -> None:
    from plait.report.charts import map_figure

    for kinds, said in ((("place", "place"), "place"), (("true", "answer"), "true ↓ answer →")):
        figure = map_figure([[1.0, 0.0], [0.0, 1.0]], "ab", "ab", axes_are=kinds, texts=[["1", "0"], ["0", "1"]])
        assert " ".join(figure.axes[0].get_xlabel().split()) == said


def test_long_labels_have_two_lines_and_are_seen_whole() -> None:
    long = "number of previous owners of the animal in the city"  # 51 letters
    (found,) = broken([long], 26)
    assert found.replace("\n", " ") == long
    assert line_width([found]) <= 26
    assert line_width(broken(["ab" * 24, "ab" * 60, long, "\u5b57" * 40, "\u5b57" * 12 + " x" * 30], 26)) <= 26
    assert broken(["\u5b57" * 13], 26) == ["\u5b57" * 13]
    assert broken(["\u5b57" * 14], 26) == ["\u5b57" * 13 + "\n" + "\u5b57"]
    drawn = svg(signed_bars([{"name": n, "value": 1.0, "low": 0.5, "high": 1.5} for n in (long, "size")], "worth"))
    assert all(line in drawn for line in found.split("\n"))
    assert len(set(broken([f"{'x' * 60}{i}" for i in range(9)], 26))) == 9
    told = distinct([f"the same beginning of {i}" for i in range(100)], 12)
    assert len(set(told)) == 100
    assert max(map(len, told)) <= 12


def test_no_column_is_hidden_on_a_phone_and_everything_comes_first(report):
    text = report[1]
    phone = text[text.index("@media (max-width: 40rem)") : text.index("@media print")]
    hidden = re.findall(r"([^{}/]+)\{[^{}]*display: none", phone)  # only headings, which stand before each cell there
    assert [h.strip() for h in hidden] == [".marked thead", ".marked td:first-child::before, .marked td:empty"]
    assert "epochs" in text[text.index('<section id="training">') :].split("<figure")[0]
    table = text[text.index('<section id="modalities">') :]
    assert re.search(
        r'<tr class="reference"><td data-label="only these present"><span class="sign">●</span>everything: ', table
    )
