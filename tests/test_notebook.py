"""What results look like in a notebook, and progress there."""

from __future__ import annotations

import html.parser
import sys
import types
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from plait import FusionClassifier, PlaitWarning, Study, evaluate, explain, fit_table, infer_schema, inspect
from plait.base import notebook, progress

SETTINGS: dict[str, Any] = {"store": "none", "epochs": 2, "members": 2, "branches": ("joint",), "progress": False}
TABLE = pd.DataFrame(
    {
        "size <b>": [float(i * i % 17) for i in range(60)],
        "review": [f"a {'good' if i % 2 else 'bad'} thing, number {i} & more of it" for i in range(60)],
        "id": range(60),
        "kind": ["u", "v"] * 30,
    }
)


class Parsed(html.parser.HTMLParser):
    """Tags that are open, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in ("br", "input", "img", "path", "circle", "meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("path", "circle", "br"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def model() -> FusionClassifier:
    schema = infer_schema(TABLE, target="kind")
    return FusionClassifier(**SETTINGS, modalities=schema).fit(TABLE[["size <b>", "review"]], TABLE["kind"])


def test_a_schema_shows_each_column_and_why() -> None:
    page = infer_schema(TABLE, target="kind")._repr_html_()
    text = Parsed(page).text
    assert "predicts 'kind' (classification)" in text
    assert "size <b>" in text
    assert "<b></td>" not in page  # a column's name is no markup
    assert "not used" in text
    assert "id" in text


def test_scores_and_worths_show_what_their_frames_hold(model: FusionClassifier) -> None:
    judged = evaluate(model, TABLE, bootstrap=10)
    text = Parsed(judged._repr_html_()).text
    assert f"{judged.score['value']:.3f}" in text
    assert "everything: tabular + text" in text
    worth = explain(model, TABLE, bootstrap=10)
    text = Parsed(worth._repr_html_()).text
    assert all(f"{entry['value']:,.3f}" in text for entry in worth.overall)


def test_an_estimator_is_scikit_learns_diagram_with_modalities_encoders_and_branches(model: FusionClassifier) -> None:
    text = Parsed(model._repr_html_()).text
    for word in (
        "tabular: tabular",
        f"text: {model.features_.encoders['text'].name()}",
        "joint",
        "mixture of 2 members",
    ):
        assert word in text
    assert "columns: review" in text
    fresh = FusionClassifier(modalities={"t": {"kind": "text", "columns": ["review"]}}, encoders={"t": "gru_text"})
    assert "t: gru_text" in Parsed(fresh._repr_html_()).text
    assert "FusionClassifier" in Parsed(FusionClassifier()._repr_html_()).text


def test_an_outcome_an_inspection_and_a_studys_results(model: FusionClassifier, tmp_path: Path) -> None:
    with pytest.warns(PlaitWarning, match="'id'"):
        outcome = fit_table(TABLE, target="kind", settings=SETTINGS, report=False)
    assert "worth of each modality" in Parsed(outcome._repr_html_()).text
    assert "worth of each modality" in repr(outcome)
    looked = inspect(outcome.model, TABLE, projections=["pca"])
    assert "representations" in Parsed(looked._repr_html_()).text
    data = {"frame": "t", "target": "kind"}
    spec = {"name": "tiny", "data": data, "seeds": 2, "model": {"epochs": 1, "members": 1, "branches": ["linear"]}}
    frames = {"t": (TABLE, infer_schema(TABLE, target="kind"))}
    results = Study.from_dict(spec, frames).run(tmp_path / "s", engine="inline", store="none", view=False)
    assert "study 'tiny'" in Parsed(results._repr_html_()).text
    assert "2 of 2 runs done" in repr(results)


def test_a_long_table_says_how_much_more_there_is() -> None:
    page = notebook.table([{"n": i, "x": None, "y": float("nan"), "z": True} for i in range(40)])
    text = Parsed(page).text
    assert "... and 10 more" in text
    assert text.startswith("nxyz0--yes")
    assert notebook.table([]) == "<p>(nothing)</p>"


class Shell:
    """Stands for a kernel's shell, and keeps what is shown."""

    def __init__(self) -> None:
        self.shown: list[dict[str, str]] = []

    def display(self, data: dict[str, str], raw: bool = False, display_id: bool = False) -> Shell:
        self.shown.append(data)
        return self

    def update(self, data: dict[str, str], raw: bool = False) -> None:
        self.shown.append(data)


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Shell:
    made = Shell()
    package, displays = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    kernel = type("ZMQInteractiveShell", (), {})()
    package.get_ipython = lambda: kernel  # type: ignore[attr-defined]
    displays.display = made.display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", displays)
    monkeypatch.delenv("PLAIT_QUIET", raising=False)
    return made


def test_progress_is_text_that_is_updated(shell: Shell) -> None:
    stream = sys.stderr
    with progress.session("fit"):
        progress.step("encode text")
        with progress.track(4, "text", "cells") as bar:
            bar.advance(4)
            assert sys.stderr is stream  # nothing is put between a notebook and its output
            progress.step("train")
    shown = [data["text/plain"] for data in shell.shown]
    assert any("encode text" in text for text in shown)
    assert any("4/4 cells" in text for text in shown)
    assert not any(sign in text for text in shown for sign in "\r\x1b\b")
    assert "<pre" in shell.shown[-1]["text/html"]


def test_a_notebook_may_ask_for_silence(shell: Shell) -> None:
    with progress.track(4, "text", enabled=False) as bar:
        bar.advance(4)
    assert not shell.shown


def test_elsewhere_nothing_is_a_notebook() -> None:
    assert not notebook.in_notebook()
