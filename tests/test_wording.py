"""What is said needs no decoding: names that are meant, tables that can be read, commands that can be pasted."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from plait import FusionClassifier, FusionRegressor
from plait.base.documents import cell, plain
from plait.base.errors import ConfigError, TableError
from plait.cli import main
from plait.cli.show import show_command
from plait.data.write import formulas
from plait.evaluation.baselines import Baselines
from plait.evaluation.evaluate import evaluate
from plait.evaluation.explain import explain
from plait.report.sections.modalities import worth
from plait.report.sections.training import kept_epochs

QUICK: dict[str, Any] = {"store": "none", "epochs": 2, "members": 1, "width": 8, "branches": ("joint",)}
MODALITIES = {"text": {"kind": "text", "columns": ["story"]}, "tabular": {"kind": "tabular", "columns": ["size"]}}


def table() -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60)
    story = [f"{'hot' if v else 'cold'} thing {i}" for i, v in enumerate(y)]
    return pd.DataFrame({"story": story, "size": rng.normal(size=60) + y}), y


@pytest.fixture(scope="module")
def fitted() -> FusionClassifier:
    x, y = table()
    return FusionClassifier(modalities=MODALITIES, encoders={"text": "hashed_ngrams"}, **QUICK).fit(x, y)


# -- names ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [FusionClassifier, FusionRegressor])
def test_a_field_that_is_none_names_the_nearest(kind: type[Any]) -> None:
    with pytest.raises(TypeError, match=rf"{kind.__name__}: unknown field 'dept' \(did you mean 'depth'\?\)"):
        kind(dept="late")
    with pytest.raises(ConfigError, match=r"unknown field 'dept' \(did you mean 'depth'\?\)"):
        kind().set_params(dept="late")
    assert kind().set_params(depth="late").depth == "late"


def test_a_part_of_a_field_says_how_to_set_it() -> None:
    with pytest.raises(ConfigError, match=r"set_params\(encoders=\{'text': ...\}\)"):
        FusionClassifier().set_params(encoders__text="minilm")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("minlm", "did you mean 'minilm'?"),
        ("bert", "{name: transformers_text, model: bert}"),
        ("bert-base-uncased", "of the kind text there are"),
        ("resnet50", "of the kind text there are"),
    ],
)
def test_an_unknown_encoder_names_those_of_its_kind(name: str, said: str) -> None:
    x, y = table()
    with pytest.raises(ConfigError) as error:
        FusionClassifier(modalities=MODALITIES, encoders={"text": name}, **QUICK).fit(x, y)
    assert said in str(error.value)
    assert "yamnet" not in str(error.value)


def test_an_unknown_encoder_of_a_modality_by_another_name_names_those_of_its_kind() -> None:
    x, y = table()
    parts = {"summary": MODALITIES["text"], "tabular": MODALITIES["tabular"]}
    with pytest.raises(
        ConfigError, match="modality 'summary': unknown name 'bert-base-uncased'.*of the kind text there are"
    ) as error:
        FusionClassifier(modalities=parts, encoders={"summary": "bert-base-uncased"}, **QUICK).fit(x, y)
    assert "yamnet" not in str(error.value)


@pytest.mark.parametrize("rows", [np.zeros((3, 2)), np.zeros((3, 8)), [[1, 2]], table()[0].to_numpy()])
def test_an_array_for_a_model_of_named_columns_is_one_problem(fitted: FusionClassifier, rows: Any) -> None:
    with pytest.raises(TableError, match=r"fitted on a table with named columns \(story, size\); give a DataFrame"):
        fitted.predict(rows)


# -- results --------------------------------------------------------------------------------------------------------------


def test_an_evaluation_is_a_table(fitted: FusionClassifier) -> None:
    x, y = table()
    found = evaluate(fitted, x, y=y, bootstrap=20)
    told = str(found)
    assert len(told.splitlines()) < 30
    assert "accuracy" in told
    assert "everything: text + tabular" in told
    assert found.frame.loc["accuracy", "value"] == found.metrics["accuracy"]["value"]
    assert found.subset_frame.loc["text", "value"] == found.subsets[0]["value"]
    assert found._repr_html_().count("<table") == 2
    worths = explain(fitted, x, bootstrap=20)
    assert worths.frame.index.tolist() == ["text", "tabular"]
    assert "text" in str(worths)
    assert "<table" in worths._repr_html_()


def score(value: float, low: float, high: float) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "note": "", "resamples": 100}


class Told:
    """As much of an evaluation as a verdict looks at."""

    task, main_metric, rows = "classification", "accuracy", 100

    def __init__(self, **metrics: Any) -> None:
        self.metrics, self.score = metrics, metrics["accuracy"]


def worths(**values: tuple[float, float, float]) -> list[dict[str, Any]]:
    return [{"modality": n, "modalities": [n], "value": v, "low": a, "high": b} for n, (v, a, b) in values.items()]


def test_what_accuracy_leaves_open_and_log_loss_decides_is_said_of_both() -> None:
    class Known:
        note = ""
        games = (
            {"name": "accuracy", "label": "accuracy", "base": 0.84, "full": 0.88}
            | {"values": worths(text=(0.03, -0.01, 0.07), tabular=(0.01, -0.02, 0.03))},
            {"name": "log_loss", "label": "minus log loss", "base": -0.5, "full": -0.3}
            | {"values": worths(text=(0.15, 0.1, 0.2), tabular=(0.05, -0.01, 0.1))},
            {"name": "confidence", "label": "", "base": 0, "full": 0, "values": []},
        )

    known: Any = Known()
    assert worth(known) == (
        "The best constant answer has accuracy 0.840; the model with all modalities, 0.880. "
        "By accuracy, no modality is certain to help. "
        "By minus log loss, which shows smaller differences than accuracy: text (+0.150) certain to help."
    )


def test_the_kept_epoch_counts_from_one() -> None:
    history = [
        {"member": m, "epoch": e, "valid_loss": loss, "valid": {"joint": loss}}
        for m, losses in enumerate([[0.9, 0.5, 0.4, 0.6], [0.9, 0.3, 0.5]])
        for e, loss in enumerate(losses)
    ]
    told = "Of at most 4 epochs, 3 to 4 were run. Kept was the epoch with the least loss on held-out rows: 2 to 3."
    assert kept_epochs(history, 4) == told
    assert kept_epochs(history, 4, together=True) == told
    alone = [{k: v for k, v in record.items() if not k.startswith("valid")} for record in history[:4]]
    assert kept_epochs(alone, 4) == "Of at most 4 epochs, 4 were run. Kept was the last: there were no held-out rows."


def test_an_interval_is_never_cut_off() -> None:
    pytest.importorskip("matplotlib")
    from plait.report.sections.scores import headline_figure

    class Wide(Told):
        task, main_metric = "regression", "r2"

        def __init__(self) -> None:
            self.score = score(0.2, -3.5, 0.6)
            self.metrics = {"r2": self.score}

    wide: Any = Wide()
    (ax,) = headline_figure(wide, Baselines({"linear": {"r2": -5.0}, "majority": {"r2": 0.0}})).axes
    low, high = ax.get_xlim()
    assert low < -5.0
    assert high > 1.0


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e6, 3e7])
def test_axes_are_plain_numbers(scale: float) -> None:
    pytest.importorskip("matplotlib")
    from plait.report.sections.calibration import values_figure

    points: Any = SimpleNamespace(points=[[scale * v, scale * (v + 0.1)] for v in (0.0, 1.0, 2.5)])
    (ax,) = values_figure(points).axes
    ax.figure.canvas.draw()
    for axis in (ax.xaxis, ax.yaxis):
        labels = [label.get_text() for label in axis.get_ticklabels()]
        assert all(re.fullmatch(r"−?\d{1,3}(,\d{3})*(\.\d+)?", label) for label in labels), labels
        assert not axis.get_offset_text().get_text()


# -- commands and files -----------------------------------------------------------------------------------------------------


def test_what_is_next_can_be_pasted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, y = table()
    place = tmp_path / "a table; it's $HOME.csv"
    x.assign(**{"my label": y}).to_csv(place, index=False)
    command = ["fit", str(place), "--target", "my label", "--out", str(tmp_path / "the model"), "--no-report"]
    quick = [
        "--encoder",
        "text=hashed_ngrams",
        "--store",
        "none",
        "--epochs",
        "1",
        "--members",
        "1",
        "--set",
        "width=8",
    ]
    with pytest.raises(SystemExit) as stop:
        main([*command, *quick])
    assert not stop.value.code
    told = capsys.readouterr().out
    hints = [shlex.split(line, comments=True) for line in told.splitlines() if line.startswith("  plait ")]
    assert [hint[:2] for hint in hints] == [["plait", c] for c in ("predict", "explain", "schema", "fit")]
    assert all(str(place) in hint for hint in hints)
    assert hints[0][2] == str(tmp_path / "the model")
    show_command("fit", "x y.csv", then="  # again")
    assert capsys.readouterr().out == "  plait fit 'x y.csv'   # again\n"


def test_formulas_in_predictions_are_noted_and_quoted() -> None:
    cells = ["=HYPERLINK(1)", "@x", "+cmd", "-3.5", "-x", "plain", "\tx", ""]
    piece = pd.DataFrame({"prediction": cells, "p(a)": np.full(8, -0.5)})
    assert formulas(piece, quote=False) == 5
    assert piece["prediction"].tolist() == cells
    assert formulas(piece, quote=True) == 5
    assert piece["prediction"].tolist() == ["'=HYPERLINK(1)", "'@x", "'+cmd", "-3.5", "'-x", "plain", "'\tx", ""]


def test_no_html_of_the_user_is_left_in_markdown(tmp_path: Path) -> None:
    x, y = table()
    x = x.rename(columns={"story": "<script>s|t</script>"})
    told = {"words": {"kind": "text", "columns": ["<script>s|t</script>"]}}
    FusionClassifier(modalities=told, encoders={"text": "hashed_ngrams"}, **QUICK).fit(x, y).save(tmp_path / "m")
    card = (tmp_path / "m" / "README.md").read_text()
    assert "<script>" not in card
    assert cell("<script>s|t</script>") in card
    assert plain('<img src="x"> &lt;b&gt; a > b') == '&lt;img src="x"&gt; &amp;lt;b&amp;gt; a &gt; b'
