"""Tuning: parts equal the whole, updates begin at nothing, held-out rows never enter, round trip, store, bad input."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from plait import FusionClassifier, FusionRegressor, load
from plait.base import registry
from plait.base.encoder import Cut
from plait.base.errors import ConfigError, MissingDependencyError, ModelError, PlaitWarning
from plait.base.tokens import Tokens
from plait.data.media.given import cell_key
from plait.data.modality import Modality, Schema
from plait.encoders import efficientnet_lite0, minilm_network
from plait.encoders.embed import Column
from plait.networks.tasks import Classification
from plait.training import finetuning, tuned
from plait.training.finetuning import dealt, together, validation_part
from plait.training.lora import CellExamples, LoraLearner, Rows, States, batches, embedded, learn
from plait.training.settings import Tuning, per_modality
from plait.training.tuned import Adapted, Tuned, as_stored
from tiny_tunable import WIDTH, Tiny

QUICK: dict[str, Any] = {"epochs": 3, "members": 2, "width": 8, "branches": ("linear",), "progress": False}
TUNE: dict[str, Any] = {"layers": 2, "rank": 2, "epochs": 3, "batch_size": 8}
MODALITIES = {"text": {"kind": "text", "columns": ["story"], "encoder": {"name": "tiny"}, "train": "tuned"}}
needs_peft = pytest.mark.usefixtures("peft")


@pytest.fixture
def peft() -> Any:
    return pytest.importorskip("peft")


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._REGISTERED, ("encoders", "tiny"), Tiny)  # for the test, not for those after it


def table(n: int = 60, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    words = [("aab" if v else "zzy") * int(rng.integers(1, 4)) + f" {i}" for i, v in enumerate(y)]
    return pd.DataFrame({"story": words, "size": rng.normal(size=n)}), np.where(y, "A", "Z")


def model(store: Path | str, **told: Any) -> FusionClassifier:
    told = {"modalities": MODALITIES, "store": str(store), "tune": TUNE, **QUICK, **told}
    return FusionClassifier(**told)


def lesson(cells: int = 24) -> tuple[States, Rows]:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(int(rng.integers(1, 5)), WIDTH)).astype(np.float16) for _ in range(cells)]
    target = torch.tensor([int(a.mean() > 0) for a in arrays])
    return States(arrays), Rows(np.arange(cells), target, torch.ones(cells))


# -- the two parts ---------------------------------------------------------------------------------------------------


def random_minilm(monkeypatch: pytest.MonkeyPatch) -> minilm_network.MiniLM:
    monkeypatch.setattr(minilm_network, "autocast", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(minilm_network, "HIDDEN", 32)
    monkeypatch.setattr(minilm_network, "_VOCABULARY", 50)
    torch.manual_seed(0)
    return minilm_network.MiniLM().eval().requires_grad_(False)


@pytest.mark.parametrize("layers", [1, 3, 6])
def test_minilm_over_its_lower_layers_is_the_whole_network(monkeypatch: pytest.MonkeyPatch, layers: int) -> None:
    whole = random_minilm(monkeypatch)
    ids = torch.randint(0, 50, (5, 7))
    batch = {"ids": ids, "length": torch.tensor([[7], [3], [1], [5], [7]])}
    expected = whole(batch).x
    upper = minilm_network.Above(whole, layers)
    lower = minilm_network.Below(whole, layers)
    between = lower(batch)
    assert between.mask.sum(1).tolist() == [7, 3, 1, 5, 7]
    torch.testing.assert_close(upper(between).x, expected, atol=1e-5, rtol=0)
    rounded = Tokens(as_stored(between), between.mask)
    assert 0 < float((upper(rounded).x - expected).abs().max()) < 2e-3, "half precision in between costs little"


@pytest.mark.parametrize("layers", [1, 3])
def test_efficientnet_over_its_lower_layers_is_the_whole_network(layers: int) -> None:
    torch.manual_seed(0)
    whole = efficientnet_lite0.EfficientNetLite0().eval().requires_grad_(False)
    pixels = torch.randint(0, 255, (2, 96, 96, 3), dtype=torch.uint8)
    expected = whole({"pixels": pixels}).pooled()
    upper = efficientnet_lite0.Above(whole, layers)
    between = efficientnet_lite0.below(whole, layers)({"pixels": pixels})
    assert between.x.shape[1] == 9
    torch.testing.assert_close(upper(between).x[:, 0], expected, atol=1e-5, rtol=0)
    assert all(upper.get_submodule(name).groups == 1 for name in upper.targets())


def test_the_tiny_encoder_is_cut_rightly_at_every_layer() -> None:
    encoder = Tiny()
    batch = {k: torch.from_numpy(v) for k, v in encoder.prepare(["abc", "a", "zebra"]).items()}
    for layers in (1, 2, 3):
        cut = encoder.cut(layers)
        torch.testing.assert_close(cut.upper(cut.lower(batch)).x, encoder.module()(batch).x, atol=1e-6, rtol=0)


# -- LoRA ------------------------------------------------------------------------------------------------------------


@needs_peft
def test_lora_begins_as_the_identity_and_merges_to_what_it_was_trained_as() -> None:
    cut, (cells, _) = Tiny().cut(2), lesson()
    tokens, told = cells.batch(np.arange(6)), Tuning(layers=2, rank=2, alpha=6.0)
    network = tuned.with_lora(cut, told)
    assert torch.equal(network(tokens).x, cut.upper(tokens).x)
    weights = tuned.weights_of(network)
    assert sorted(weights) == ["layers.0.A", "layers.0.B", "layers.1.A", "layers.1.B"]
    learns = {name for name, p in network.named_parameters() if p.requires_grad}
    assert len(learns) == 4
    assert all("lora_" in name for name in learns)
    torch.manual_seed(1)
    load_updates(network, {k: torch.randn_like(v) for k, v in weights.items()})
    plain = tuned.merged(cut.upper, tuned.weights_of(network), told.alpha / told.rank)
    assert not torch.allclose(plain(tokens).x, cut.upper(tokens).x, atol=1e-2)
    torch.testing.assert_close(plain(tokens).x, network(tokens).x, atol=1e-5, rtol=0)


@needs_peft
@pytest.mark.parametrize("learning", [True, False])
def test_the_product_is_what_pefts_own_layer_gives_and_so_are_its_derivatives(learning: bool) -> None:
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    base = torch.nn.Sequential(torch.nn.Linear(5, 7))
    theirs = peft.inject_adapter_in_model(peft.LoraConfig(r=2, lora_alpha=6.0, target_modules=["0"]), base)[0]
    ours = Adapted(theirs, 3.0)
    with torch.no_grad():
        for parameter in [*theirs.lora_A.parameters(), *theirs.lora_B.parameters()]:
            parameter.normal_()
    learned = [p for name, p in theirs.named_parameters() if "lora_" in name]
    assert [id(p) for name, p in ours.named_parameters() if "lora_" in name] == [id(p) for p in learned]
    x, weight = torch.randn(2, 3, 5, requires_grad=learning), torch.randn(2, 3, 7)
    wanted = [x, *learned] if learning else learned
    torch.testing.assert_close(ours(x), theirs(x))
    found = torch.autograd.grad((ours(x) * weight).sum(), wanted)
    torch.testing.assert_close(found, torch.autograd.grad((theirs(x) * weight).sum(), wanted))


def load_updates(network: torch.nn.Module, weights: dict[str, torch.Tensor]) -> None:
    values = {f"{k[:-2]}.lora_{k[-1]}.default.weight": v for k, v in weights.items()}
    assert not network.load_state_dict(values, strict=False).unexpected_keys


@needs_peft
def test_merging_holds_for_convolutions() -> None:
    torch.manual_seed(0)
    upper = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.ReLU(), torch.nn.Conv2d(5, 4, 1))
    told, x = Tuning(rank=2), torch.randn(2, 3, 6, 6)
    network = tuned.with_lora(Cut(torch.nn.Identity(), upper, ("0", "2")), told)
    weights = {k: torch.randn_like(v) for k, v in tuned.weights_of(network).items()}
    load_updates(network, weights)
    torch.testing.assert_close(
        tuned.merged(upper, weights, told.alpha / told.rank)(x), network(x), atol=1e-4, rtol=1e-4
    )


# -- learning --------------------------------------------------------------------------------------------------------


def learned(told: Tuning, seed: int = 0, **changed: Any) -> Any:
    cells, rows = lesson()
    held = rows.take(np.arange(18, 24))
    held = Rows(held.cell, changed.get("held", held.target), held.weight)
    examples = CellExamples(TASK, cells, rows.take(np.arange(18)), held)
    return learn(Tiny().cut(2), WIDTH, examples, told, seed, "text")


TASK = Classification(("A", "Z"))
TOLD = Tuning(layers=2, rank=2, epochs=6, batch_size=6, patience=6, learning_rate=1e-2, head_rate=1e-2)


@needs_peft
def test_tuning_lowers_the_loss_the_same_way_each_time() -> None:
    first, again = learned(TOLD), learned(TOLD)
    assert first.history == again.history
    assert first.history[-1]["train_loss"] < 0.9 * first.history[0]["train_loss"]
    assert all(torch.equal(v, again.weights[k]) for k, v in first.weights.items())
    assert first.best == int(np.argmin([r["valid_loss"] for r in first.history]))


@needs_peft
def test_validation_rows_stop_but_never_teach() -> None:
    flipped = 1 - lesson()[1].target[18:24]
    first, other = learned(TOLD), learned(TOLD, held=flipped)
    assert [r["train_loss"] for r in first.history] == [r["train_loss"] for r in other.history]
    assert [r["valid_loss"] for r in first.history] != [r["valid_loss"] for r in other.history]


@needs_peft
def test_a_loss_that_is_no_number_keeps_the_last_good_state(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.warns(PlaitWarning, match=r"tuning 'text' diverged in epoch 0.*the encoder as it was is kept"):
        found = learned(Tuning(layers=2, rank=2, epochs=3, batch_size=6, learning_rate=1e30, head_rate=1e30))
    assert found.diverged
    assert found.best == -1
    assert all(not v.any() for k, v in found.weights.items() if k.endswith(".B"))
    real, count = LoraLearner.step, iter(range(3 * 6))  # three batches an epoch
    nothing = {"loss": torch.tensor(float("nan"))}
    monkeypatch.setattr(LoraLearner, "step", lambda *a: real(*a) if next(count) < 6 else nothing)
    with pytest.warns(PlaitWarning, match=r"diverged in epoch 2 \(loss nan\); what epoch [01] gave is kept"):
        found = learned(TOLD)
    assert found.best >= 0
    assert all(bool(torch.isfinite(v).all()) for v in found.weights.values())


@needs_peft
def test_equal_cells_are_computed_once_and_count_as_often_as_they_stand_there() -> None:
    cells, rows = lesson()
    twice = Rows(np.array([0, 1, 1, 2]), rows.target[[0, 1, 1, 2]], torch.tensor([1.0, 2.0, 0.5, 1.0]))
    learner = LoraLearner(Tiny().cut(2), WIDTH, CellExamples(TASK, cells, rows, rows), TOLD, torch.Generator())
    network, head = learner.network.eval(), learner.head.eval()
    loss, weight = learner.loss(twice)
    loss = loss.detach()
    one_by_one = 0.0
    for i in range(4):
        out = head(network(cells.batch(twice.cell[i : i + 1])).pooled()).detach()
        one_by_one += float(TASK.row_loss(out, twice.target[i : i + 1])) * float(twice.weight[i])
    assert weight == 4.5
    assert float(loss) == pytest.approx(one_by_one, abs=1e-5)


def test_batches_hold_every_cell_once_and_cells_of_like_length() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 83)
    generator = torch.Generator().manual_seed(0)
    first, second = list(batches(lengths, 8, generator)), list(batches(lengths, 8, generator))
    assert sorted(np.concatenate(first)) == list(range(83)) == sorted(np.concatenate(second))
    assert [b.tolist() for b in first] != [b.tolist() for b in second]
    padded = sum(lengths[b].max() * len(b) for b in first)
    assert padded < 1.35 * lengths.sum()


def test_embedding_is_the_mean_of_the_uppers_in_the_order_asked_for() -> None:
    cells, _ = lesson()
    parts = [Tiny().cut(2).upper, torch.nn.Sequential(Tiny().cut(2).upper)]
    chosen = np.array([5, 0, 7])
    found = embedded(parts, cells, chosen, size=2)
    for i, cell in enumerate(chosen):
        np.testing.assert_allclose(found[i], parts[0](cells.batch(np.array([cell]))).x[0].detach(), atol=1e-6)


# -- who learns from whom ---------------------------------------------------------------------------------------------


def test_rows_of_one_group_or_cell_stay_together() -> None:
    rng = np.random.default_rng(0)
    cells, groups = rng.integers(0, 40, 60), rng.integers(0, 50, 60)
    units = together(cells, groups)
    for i in range(60):
        for j in range(60):
            if cells[i] == cells[j] or groups[i] == groups[j]:
                assert units[i] == units[j]
    strata = rng.integers(0, 3, 200)
    units = rng.integers(0, 50, 200)
    parts = dealt(strata, units, 4, 0)
    assert sorted(set(parts)) == [0, 1, 2, 3]
    assert all(len(set(parts[units == u])) == 1 for u in set(units))
    held = validation_part(strata, units, 0.2, 0)
    assert 0.1 < held.mean() < 0.3
    assert not set(units[held]) & set(units[~held])
    with pytest.raises(ConfigError, match="2 distinct cells"):
        dealt(np.zeros(4, int), np.array([0, 0, 1, 1]), 3, 0)


@needs_peft
def test_no_row_is_embedded_by_an_encoder_that_knew_its_label(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    frame, y = table()
    frame.loc[50, "story"] = frame.loc[3, "story"]
    groups = np.arange(60) // 2
    seen: list[set[int]] = []
    used: list[tuple[int, list[int]]] = []
    real_learn, real_embedded = finetuning.learn, finetuning.embedded

    def spied(cut: Any, dim: int, examples: CellExamples, *rest: Any) -> Any:
        assert not set(examples.rows.cell) & set(examples.valid.cell)
        seen.append(set(examples.rows.cell.tolist()) | set(examples.valid.cell.tolist()))
        return real_learn(cut, dim, examples, *rest)

    def noted(uppers: Any, cells: Any, chosen: np.ndarray) -> Any:
        used.append((len(used), chosen.tolist()))
        return real_embedded(uppers, cells, chosen)

    monkeypatch.setattr(finetuning, "learn", spied)
    monkeypatch.setattr(finetuning, "embedded", noted)
    ran: list[finetuning.Single] = []
    run = finetuning.Single.run
    monkeypatch.setattr(finetuning.Single, "run", lambda self: (ran.append(self), run(self))[1])
    model(tmp_path).fit(frame, y, groups=groups)
    assert len(seen) == len(used) == 3
    assert sorted(cell for _, chosen in used for cell in chosen) == list(range(59))
    for number, chosen in used:
        assert not seen[number] & set(chosen)
    fold = {cell: number for number, chosen in used for cell in chosen}
    row_fold = np.array([fold[ran[0].keys.index(cell_key(text))] for text in frame["story"]])
    assert (row_fold[::2] == row_fold[1::2]).all(), "rows of one group are in one fold"


@needs_peft
def test_a_changed_label_changes_nothing_of_what_its_own_row_gets() -> None:
    frame, y = table()
    before, told = _tokens(frame, y), 0
    for row in range(6):
        other = y.copy()
        other[row] = "A" if y[row] == "Z" else "Z"
        changed = (_tokens(frame, other) != before).any(1)
        assert not changed[row]
        told += int(changed.any())
    assert told > 2, "rows of the other fold learned from it"


def _tokens(frame: pd.DataFrame, y: np.ndarray) -> np.ndarray:
    """Tuned on half the rows each, cut by hand so that the changed label moves no row to the other half."""
    column = Column(list(frame["story"]), name="text")
    target = TASK.encode((y == "Z").astype(int))
    known = finetuning.FinetuningTarget(TASK, target, torch.ones(60), np.arange(60) % 2, None, 0)
    # Several steps: the first one of AdamW asks for the signs of the gradients alone.
    tuning = Tuning(layers=1, rank=1, epochs=2, folds=2, batch_size=8, learning_rate=0.01)
    one = finetuning.Single(column, Tiny(), tuning, known, None, False)
    return one.run()[1].x[:, 0].numpy()


# -- as part of an estimator -------------------------------------------------------------------------------------------


@needs_peft
def test_second_run_tunes_nothing_and_gives_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    frame, y = table()
    first = model(tmp_path).fit(frame, y)
    record = first.record_["tuned"]["text"]
    assert not record["from_store"]
    assert len(record["epochs"]) == 3
    assert record["trained_weights"] == 3 * 2 * (2 * WIDTH * 2)
    assert first.record_["trained_weights"] > record["trained_weights"]
    expected = first.predict_proba(frame)
    monkeypatch.setattr(finetuning, "learn", lambda *a: pytest.fail("tuned again"))
    monkeypatch.setattr(finetuning, "embedded", lambda *a: pytest.fail("embedded again"))
    Tiny.computed = 0
    again = model(tmp_path).fit(frame, y)
    assert again.record_["tuned"]["text"]["from_store"]
    assert again.record_["tuned"]["text"]["seconds"] == record["seconds"]
    np.testing.assert_array_equal(again.predict_proba(frame), expected)
    assert Tiny.computed == 0


@needs_peft
@pytest.mark.parametrize("change", ["label", "seed", "rank", "group"])
def test_other_content_is_tuned_anew(tmp_path: Path, change: str) -> None:
    frame, y = table()
    told: dict[str, Any] = {"tune": {**TUNE, "epochs": 1, "folds": 0}}
    model(tmp_path, **told).fit(frame, y)
    other, groups = y.copy(), None
    if change == "label":
        other[0] = "A" if y[0] == "Z" else "Z"
    elif change == "seed":
        told["random_state"] = 1
    elif change == "rank":
        told["tune"] = {**told["tune"], "rank": 3}
    else:
        groups = np.arange(60) // 4
    assert not model(tmp_path, **told).fit(frame, other, groups=groups).record_["tuned"]["text"]["from_store"]


@needs_peft
@pytest.mark.parametrize("final", ["mean", "all"])
def test_round_trip_without_peft(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, final: str) -> None:
    frame, y = table()
    fitted = model(tmp_path / "store", tune={**TUNE, "final": final}).fit(frame, y)
    fresh = table(20, seed=5)[0]
    expected = fitted.predict_proba(fresh)
    folder = fitted.save(tmp_path / "model")
    import plait.base.errors

    monkeypatch.setattr(plait.base.errors, "need", lambda *a: pytest.fail("peft is not needed to predict"))
    monkeypatch.setattr(tuned, "need", lambda *a: pytest.fail("peft is not needed to predict"))
    back = load(folder)
    back.store = "none"
    np.testing.assert_allclose(back.predict_proba(fresh), expected, atol=2e-3)
    told = json.loads((folder / "model.json").read_text())
    assert told["encoders"]["text"]["name"] == "tuned"
    assert back.schema_.modalities[0].train == "tuned"
    assert len(back.features_.encoders["text"].weights) == (3 if final == "mean" else 1)
    assert sum(p.stat().st_size for p in folder.iterdir()) < 200_000
    assert back.features_.encoders["text"].fingerprint() == fitted.features_.encoders["text"].fingerprint()


@needs_peft
def test_tuned_beside_a_frozen_one_with_holes_and_unreadable_cells(tmp_path: Path) -> None:
    frame, y = table()
    frame = frame.astype(object)
    frame.loc[::7, "story"] = None
    frame.loc[5, "story"] = "bro\0ken"
    both = {**MODALITIES, "tabular": {"kind": "tabular", "columns": ["size"]}}
    for _ in range(2):  # made, then from the store
        with pytest.warns(PlaitWarning, match="1 of 51 cells of 'text' cannot be read"):
            fitted = model(tmp_path, modalities=both).fit(frame, y)
        assert fitted.record_["tuned"]["text"]["rows"] == 50
    with pytest.warns(PlaitWarning, match="1 of 51 cells of 'text'"):
        assert np.isfinite(fitted.predict_proba(frame)).all()


@needs_peft
def test_the_field_train_says_it_too_and_regression_works(tmp_path: Path) -> None:
    frame, y = table()
    frozen = {"text": {k: v for k, v in MODALITIES["text"].items() if k != "train"}}
    told = {"modalities": frozen, "train": {"text": "tuned"}, "tune": {"text": TUNE}, "store": "none", **QUICK}
    found = FusionRegressor(**told).fit(frame, (y == "A") * 3.0)
    assert found.schema_.modalities[0].train == "tuned"
    assert found.record_["tuned"]["text"]["layers"] == 2


# -- bad input ---------------------------------------------------------------------------------------------------------


def test_an_encoder_that_cannot_be_tuned_is_named(tmp_path: Path) -> None:
    frame, y = table()
    told = {"text": {**MODALITIES["text"], "encoder": "hashed_ngrams"}}
    with pytest.raises(ConfigError, match=r"encoder of modality 'text': 'hashed_ngrams' cannot be tuned"):
        model(tmp_path, modalities=told).fit(frame, y)
    with pytest.raises(ConfigError, match="it cannot be tuned"):
        registry.find("encoders", "hashed_ngrams")().cut(1)


def test_more_layers_than_the_network_has(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"modality 'text': tune.layers is 4, but 'tiny' has only 3"):
        model(tmp_path, tune={"layers": 4}).fit(*table())


def test_without_peft_it_is_said_before_anything_is_computed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    Tiny.computed = 0
    with pytest.raises(MissingDependencyError, match=r'pip install "plait\[tune\]"'):
        model(tmp_path).fit(*table())
    assert Tiny.computed == 0


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"layrs": 2}, "layrs"),
        ({"text": {"rnk": 2}}, "did you mean 'rank'"),
        ({"text": 3}, "tune.text: expected options"),
        ({"rank": 0}, "rank must be a whole number from 1 to 1,000,000, found 0"),
        ({"folds": 1}, "folds must be 0, or a whole number from 2"),
        ({"validation": 1.0}, "validation must be a number above 0 to below 1"),
        ({"validation": 0}, "validation must be a number above 0 to below 1"),
        ({"learning_rate": 0}, "learning_rate must be a number above 0"),
        ({"dropout": "much"}, "dropout must be a number from 0"),
        ({"final": "best"}, "final must be mean or all"),
        (3, "tune: expected options"),
    ],
)
def test_options_that_there_are_not(told: Any, said: str) -> None:
    found = Schema((Modality("text", "text", ("story",), train="tuned"),))
    with pytest.raises(ConfigError, match=said.replace("(", r"\(")):
        per_modality(Tuning, found, told)


@needs_peft
def test_updates_that_are_damaged_or_missing_are_refused() -> None:
    encoder = Tuned(
        Tiny(), Tuning(layers=1, rank=1), [{"layers.0.A": torch.ones(1, 4), "layers.0.B": torch.ones(4, 1)}]
    )
    state = encoder.state()
    with pytest.raises(ModelError, match="not finite"):
        Tuned(Tiny(), encoder.settings).load_state({**state, "0.layers.0.A": np.full((1, 4), np.nan, np.float32)})
    with pytest.raises(ModelError, match="no updates"):
        Tuned(Tiny(), encoder.settings).load_state({})


def test_several_columns_or_no_cell_at_all(peft: Any, tmp_path: Path) -> None:
    frame, y = table()
    with pytest.raises(ConfigError, match="no cell can be read"):
        model(tmp_path).fit(frame.assign(story=None).astype(object), y)
