"""Features that lie in a file: the same numbers, wherever they are; and the steps that look at a sample of many rows say so."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from plait import FusionClassifier, evaluate
from plait.base import mapped
from plait.base.errors import ConfigError, PlaitError, PlaitWarning
from plait.base.tokens import Tokens
from plait.cli import registered
from plait.data.rows import data_hash
from plait.encoders import embed
from plait.encoders.scale import Scaler
from plait.encoders.tabular import Tabular
from plait.evaluation import baselines, predictions
from plait.store import Store
from plait.training import crossfit, units
from plait.training.checkpoint import digest_of
from plait.workflow.fit import fit_table
from plait.workflow.rows import PIECE

QUICK: dict[str, Any] = {
    "store": "none",
    "members": 2,
    "epochs": 3,
    "progress": False,
    "encoders": {"text": "hashed_ngrams"},
}
QUICK |= {"branches": ("joint", "linear")}


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few rows, so that little is enough to have several."""
    monkeypatch.setattr(mapped, "BLOCK", 50_000)


def table(rows: int = 240, seed: int = 0) -> pd.DataFrame:
    """Two numbers, a category, and a text that is missing in some rows."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 2))
    words = rng.choice(["red stone", "green river", "quick winter garden", "slow table of paper"], (rows, 2))
    text = [" and ".join(pair) for pair in words]
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1].round(2), "kind": rng.choice(["u", "v", "w"], rows), "text": text})
    frame["text"] = [f"{t} number {i} of them" for i, t in enumerate(text)]
    frame.loc[::7, "text"] = None
    frame["y"] = np.where(x[:, 0] + (words[:, 0] == "red stone") + rng.normal(size=rows) / 4 > 0.3, "yes", "no")
    return frame


def test_a_large_array_lies_in_a_file_and_keeps_what_it_holds_when_it_is_released() -> None:
    x, small = mapped.zeros((100, 30), limit=1000), mapped.zeros((2, 3), limit=1000)
    assert mapped.is_mapped(x)
    assert not mapped.is_mapped(small)
    x += torch.arange(30)
    mapped.release(x)
    assert torch.equal(x, torch.arange(30).float().expand(100, 30))


def test_a_disk_without_room_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(PlaitError, match=r"no room for .* features .*feature_memory"):
        mapped.zeros((10, 10), limit=10)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("components", [8, 64])
@pytest.mark.parametrize("standardise", [True, False])
def test_a_scaler_learns_the_same_block_by_block(components: int, standardise: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6000, 1, 20, generator=generator) * torch.arange(1, 21)
    mask = torch.rand(6000, 1, generator=generator) > 0.1
    large = mapped.zeros(x.shape, limit=1000)
    large.copy_(x)
    there = Scaler(components, standardise=standardise).fit(Tokens(large, mask))
    scaled = there(Tokens(large, mask))
    here = Scaler(components, standardise=standardise).fit(Tokens(x, mask))
    assert mapped.is_mapped(scaled.x)
    assert len(list(mapped.blocks(large))) > 5
    for name, array in here.state().items():
        assert torch.allclose(there.state()[name], array, rtol=1e-4, atol=1e-4), name
    assert torch.allclose(scaled.x, here(Tokens(x, mask)).x, rtol=1e-3, atol=1e-3)
    assert torch.equal(scaled.narrowed.x, scaled.x.bfloat16())


def test_below_the_limit_statistics_are_those_of_the_plain_formula_to_the_bit() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(9000, 1, 120, generator=generator) + 2
    mask = torch.rand(9000, 1, generator=generator) > 0.1
    there = x[mask]
    mean = there.sum(0) / len(there)
    scale = ((there - mean).square().sum(0) / len(there)).rsqrt()
    scaler = Scaler(200).fit(Tokens(x, mask))
    assert torch.equal(scaler.mean, mean)
    assert torch.equal(scaler.scale, scale)
    assert torch.equal(scaler(Tokens(x, mask)).x, ((x - mean) * scale).clamp(-10, 10))


@pytest.mark.usefixtures("small_blocks")
def test_rows_of_a_file_are_taken_into_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "USUAL", 1000)
    x, rows = torch.rand(500, 1, 40), torch.randperm(500)[:400]
    large = mapped.zeros(x.shape, limit=1000)
    large.copy_(x)
    mask = torch.rand(500, 1) > 0.5
    taken = Tokens(large, mask).take(rows)
    assert mapped.is_mapped(taken.x)
    assert torch.equal(taken.x, x[rows])
    assert torch.equal(taken.mask, mask[rows])
    assert digest_of({}, [large]) == digest_of({}, [x])
    assert torch.equal(mapped.select(large, rows[:9]), x[rows[:9]])


@pytest.mark.usefixtures("small_blocks")
def test_a_model_learns_and_answers_the_same_wherever_its_features_lie() -> None:
    frame = table()
    x, y, new = frame.drop(columns="y"), frame["y"], table(60, seed=1).drop(columns="y")
    settings = {**QUICK, "components": 8}  # directions beyond the rank of so few rows would be anything
    memory = FusionClassifier(**settings).fit(x, y)
    file = FusionClassifier(**settings, feature_memory="1kB").fit(x, y)
    assert np.allclose(memory.predict_proba(new), file.predict_proba(new), atol=1e-3)
    assert file.record_["data_hash"] == memory.record_["data_hash"]


def test_a_long_table_is_judged_in_pieces_as_it_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = table(200)
    model = FusionClassifier(**QUICK).fit(rows.drop(columns="y"), rows["y"])
    whole = evaluate(model, rows, bootstrap=20).to_dict()
    monkeypatch.setattr(predictions, "PIECE", 64)
    most: list[int] = []
    asked = FusionClassifier.predict_subsets
    monkeypatch.setattr(
        FusionClassifier, "predict_subsets", lambda self, X, *rest: [most.append(len(X)), asked(self, X, *rest)][1]
    )
    assert json.dumps(evaluate(model, rows, bootstrap=20).to_dict()) == json.dumps(whole)
    assert most == [64, 64, 64, 8]


def test_a_size_that_is_none_is_refused_before_any_work() -> None:
    with pytest.raises(ConfigError, match="feature_memory.*expected a number and a unit"):
        FusionClassifier(**QUICK, feature_memory="much").fit(table().drop(columns="y"), table()["y"])


def test_rows_of_a_table_become_the_same_features_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = table().drop(columns=["y", "text"])
    encoder = Tabular().fit(rows)  # type: ignore[arg-type]  # rows, not a sequence of cells
    whole, view = embed.embed_rows(encoder, rows)
    monkeypatch.setattr(embed, "ROWS", 50)
    parts, seen = embed.embed_rows(encoder, rows)
    assert np.array_equal(whole.x, parts.x)
    assert np.array_equal(whole.mask, parts.mask)
    assert view is not None
    assert seen is not None
    assert torch.equal(view.numbers, seen.numbers)
    assert torch.equal(view.codes, seen.codes)


def test_a_table_encoded_in_pieces_fills_the_same_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.parquet"
    table().to_parquet(path)
    told = []
    for name, piece in (("whole", PIECE), ("pieces", 50)):
        monkeypatch.setattr("plait.workflow.rows.PIECE", piece)
        command = ["encode", str(path), "--target", "y", "--encoder", "text=hashed_ngrams", "--json"]
        answer = CliRunner().invoke(registered(), [*command, "--store", str(tmp_path / name)])
        assert answer.exit_code == 0, answer.output
        told.append(json.loads(answer.stdout))
    assert told[0] == told[1]
    assert any(record["absent"] == 35 for record in told[0])
    sizes = []
    for name in ("whole", "pieces"):
        with Store(tmp_path / name, make=False) as store:
            sizes.append([{k: v for k, v in facts.items() if k != "last_used"} for facts in store.sizes()])
    assert sizes[0] == sizes[1]
    assert sizes[0][0]["entries"] == 205


def test_what_every_piece_warns_of_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame({"size": [float(i) if i % 9 else np.inf for i in range(120)], "y": list("ab") * 60})
    frame.to_parquet(tmp_path / "t.parquet")
    monkeypatch.setattr("plait.workflow.rows.PIECE", 40)
    monkeypatch.setattr("plait.cli.look.SAMPLE", 100)
    command = ["encode", str(tmp_path / "t.parquet"), "--target", "y", "--store", "none"]
    with pytest.warns(PlaitWarning) as caught:
        answer = CliRunner().invoke(registered(), command)
    assert answer.exit_code == 0
    said = [str(one.message) for one in caught if "infinite or no number" in str(one.message)]
    assert len(said) == 1
    assert said[0].endswith("; likewise in 2 more pieces of the table")


def test_a_store_that_rests_answers_as_before(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.put_many("encoder", {b"k" * 16: np.ones((1, 3), np.float32)})
        store.rest()
        (array,) = store.get_many("encoder", [b"k" * 16])
        assert array is not None
        assert array.tolist() == [[1.0, 1.0, 1.0]]


def test_what_is_done_with_a_sample_of_the_rows_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crossfit, "HELD_ROWS", 20)
    monkeypatch.setattr(units, "GROWN_ROWS", 100)
    monkeypatch.setattr(baselines, "MOST_ROWS", 90)
    settings = {**QUICK, "branches": ("joint", "trees")}
    outcome = fit_table(table(400), None, settings, target="y", out=tmp_path / "model")
    samples = outcome.model.record_["samples"]
    assert samples == {"choosing epochs and mixing branches": [20, 68], "growing trees": [100, 272]}
    page = (tmp_path / "model" / "report.html").read_text()
    assert "sample, growing trees" in page
    assert "100 of 272 rows" in page
    assert "learned from 90 of 340 training rows" in page


def test_numbers_have_the_digest_of_their_text() -> None:
    values = [0.1, -0.0, 3.0, 1e300, 12345678901234567.0, float("inf"), float("nan"), 2.5e-8, 1e19]
    texts = ["0.1", "0", "3", "1e+300", "12345678901234568", "inf", None, "2.5e-08", "1e+19"]
    assert data_hash(pd.DataFrame({"a": values})) == data_hash(pd.DataFrame({"a": texts}, dtype=object))
