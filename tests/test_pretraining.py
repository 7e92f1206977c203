"""Encoders trained alone first: regimes, what pretraining sees, what it leaves, and what the store keeps of it."""

from __future__ import annotations

import dataclasses
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from plait import FusionClassifier, FusionRegressor, Modality, Schema, load
from plait.base.errors import ConfigError, PlaitError, PlaitWarning, TableError
from plait.base.inputs import Inputs
from plait.data.schema_yaml import from_yaml, to_yaml
from plait.networks.tasks import Classification
from plait.store import Store
from plait.training.pretraining import ONLY, PretrainedWeights, kept_or_trained, pretrain_encoder
from plait.training.rows import Examples, Fold, Hiding, folds_of
from plait.training.settings import PRETRAINING_OPTIONS, Pretraining, Training, per_modality, with_regimes
from plait.training.units import encoded_once

CLASSES = 4
SCHEMA = Schema(
    (
        Modality("a", "vector", ("a",), {"name": "mlp", "width": 12, "dropout": 0.0}),
        Modality("b", "vector", ("b",), {"name": "mlp", "width": 12, "dropout": 0.0}),
    )
)
QUICK: dict[str, Any] = {"members": 1, "epochs": 4, "width": 8, "branches": ("joint",), "progress": False}
FIRST = {"epochs": 25, "patience": 25}


def table(n: int = 160, seed: int = 0) -> pd.DataFrame:
    """Each of two vectors says one bit of the class."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, CLASSES, n)
    cells = {}
    for place, name in enumerate(("a", "b")):
        bit = (label >> place) & 1
        x = rng.normal(scale=0.4, size=(n, 6))
        x[:, 0] += 2 * bit - 1
        cells[name] = list(x)
    return pd.DataFrame({**cells, "label": label})


FRAME = table()
Y = FRAME["label"].to_numpy()


def model(**told: Any) -> FusionClassifier:
    return FusionClassifier(**{"modalities": SCHEMA, "store": "none", **QUICK, **told})


def fitted(**told: Any) -> FusionClassifier:
    return model(**told).fit(FRAME, Y)


PRETRAIN = {"train": {"vector": "pretrain"}, "pretrain": FIRST}


# -- what it is for ----------------------------------------------------------------------------------------------------


def test_pretraining_gives_a_better_first_epoch() -> None:
    slow = {"learning_rate": 0.01, "batch_size": 8, "epochs": 1, "warmup": 0.0}
    slow |= {"dropout": 0.0, "input_dropout": 0.0, "modality_dropout": 0.0}
    scratch, pretrained = fitted(train={"vector": "scratch"}, **slow), fitted(**PRETRAIN, **slow)
    assert pretrained.history_[0]["valid_loss"] < scratch.history_[0]["valid_loss"] - 0.2


def test_regimes_are_mixed() -> None:
    found = fitted(train={"a": "scratch", "b": "pretrain"}, pretrain={"epochs": 2})
    assert [m.train for m in found.schema_.modalities] == ["scratch", "pretrain"]
    assert set(found.record_["pretrain"]) == {"b"}
    frozen = Schema((SCHEMA.modalities[0], Modality("v", "vector", ("b",))))
    found = fitted(modalities=frozen, train={"a": "pretrain"}, pretrain={"epochs": 2})
    assert set(found.scalers_) == {"v"}
    assert set(found.members_.members[0].encoders) == {"a"}


def test_the_regime_may_stand_in_the_schema() -> None:
    told = Schema(tuple(dataclasses.replace(m, train="pretrain") for m in SCHEMA.modalities))
    assert from_yaml(to_yaml(told)) == told
    assert set(fitted(modalities=told, pretrain={"epochs": 1}).record_["pretrain"]) == {"a", "b"}


def test_without_an_encoder_the_one_of_the_kind_that_learns_is_taken() -> None:
    told = Schema((Modality("a", "vector", ("a",)),))
    assert (
        fitted(modalities=told, train={"a": "pretrain"}, pretrain={"epochs": 1}).features_.encoders["a"].name() == "mlp"
    )


def test_several_members_each_learn_from_their_own_rows() -> None:
    found = fitted(**{**PRETRAIN, "pretrain": {"epochs": 2}, "members": 2})
    told = found.record_["pretrain"]["a"]
    assert told["epochs"] == [2, 2]
    assert {r["member"] for r in told["history"]} == {0, 1}
    first, second = (m.encoders["a"].state_dict() for m in found.members_.members)
    assert not all(torch.equal(first[k], second[k]) for k in first)


def test_other_tasks_too() -> None:
    several = np.stack([Y & 1, Y >> 1], 1)
    found = model(**{**PRETRAIN, "pretrain": {"epochs": 2}}).fit(FRAME, several)
    assert found.predict_proba(FRAME).shape == (len(FRAME), 2)
    number = FusionRegressor(modalities=SCHEMA, store="none", **QUICK, train={"a": "pretrain", "b": "scratch"})
    assert np.isfinite(number.fit(FRAME, Y * 1.5).predict(FRAME)).all()


# -- what it sees ------------------------------------------------------------------------------------------------------


def _rows(frame: pd.DataFrame, encoder: Any) -> Examples:
    prepared = {k: torch.from_numpy(v) for k, v in encoder.prepare(list(frame["a"])).items()}
    inputs = Inputs({}, {ONLY: prepared}, {ONLY: torch.ones(len(frame), dtype=torch.bool)})
    task, target = Classification(tuple(range(CLASSES))), torch.from_numpy(Y.astype(np.int64))
    return Examples(task, inputs, target, torch.ones(len(frame)))


def test_rows_that_are_held_out_never_enter() -> None:
    encoder = _mlp()
    fold, valid = torch.arange(80), torch.arange(80, 110)  # rows from 110 on belong to nobody
    rows = _rows(FRAME, encoder)
    spoiled = {k: v.clone() for k, v in rows.inputs.prepared[ONLY].items()}
    spoiled["steps"][110:] = float("nan")
    inputs = dataclasses.replace(rows.inputs, prepared={ONLY: spoiled})
    target = rows.target.clone()
    target[110:] = 0
    settings = training(epochs=3)
    clean = pretrain_encoder(encoder, rows, (fold, valid), settings, 0, "a")
    other = pretrain_encoder(
        encoder, dataclasses.replace(rows, inputs=inputs, target=target), (fold, valid), settings, 0, "a"
    )
    assert all(np.array_equal(clean.weights[k], other.weights[k]) for k in clean.weights)
    # Labels of the rows that choose the checkpoint move no weight: only which epoch is kept.
    target = rows.target.clone()
    target[80:110] = (target[80:110] + 1) % CLASSES
    turned = pretrain_encoder(encoder, dataclasses.replace(rows, target=target), (fold, valid), settings, 0, "a")
    assert [r["train_loss"] for r in turned.history] == [r["train_loss"] for r in clean.history]


def test_a_fit_gives_pretraining_the_rows_of_each_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def spy(encoder: Any, examples: Examples, fold: Fold, *rest: Any) -> PretrainedWeights:
        seen.append(fold)
        return pretrain_encoder(encoder, examples, fold, *rest)

    monkeypatch.setattr("plait.training.pretraining.pretrain_encoder", spy)
    found = fitted(train={"a": "pretrain", "b": "scratch"}, pretrain={"epochs": 1}, members=2)
    expected = folds_of(found.members_.task.strata(_in_order(found)), 2, 0)
    assert len(seen) == 2
    for (fold, valid), (rows, held) in zip(seen, expected, strict=True):
        assert torch.equal(fold, rows)
        assert torch.equal(valid, held)
        assert not set(fold.tolist()) & set(valid.tolist())


def _in_order(found: FusionClassifier) -> np.ndarray:
    """The targets in the order in which a fit has its distinct rows."""
    from plait.data.equal_rows import merge_equal

    _, target, _, _ = merge_equal(FRAME[["a", "b"]], Y, np.ones(len(FRAME)), found.features_.column_types)
    return target


def _mlp() -> Any:
    from plait.encoders.mlp import MLP

    return MLP(width=12, dropout=0.0).fit(list(FRAME["a"]))


def training(**told: Any) -> Training:
    usual = {"epochs": 10, "batch_size": 32, "learning_rate": 5e-3, "weight_decay": 0.0, "patience": 10}
    return Training(**{**usual, "smoothing": 0.0, "input_dropout": 0.0, "modality_dropout": Hiding(), **told})


def test_the_best_epoch_by_validation_is_kept() -> None:
    encoder = _mlp()
    rows, fold = _rows(FRAME, encoder), (torch.arange(100), torch.arange(100, 160))
    long = pretrain_encoder(encoder, rows, fold, training(epochs=40, learning_rate=0.05, patience=40), 0, "a")
    losses = [r["valid_loss"] for r in long.history]
    best = int(np.argmin(losses))
    assert best < len(losses) - 1, "the test needs a run that gets worse again"
    # The same run, stopped at its best epoch: the schedule is that of all 40 epochs, so the weights are the same.
    again = pretrain_encoder(encoder, rows, fold, training(epochs=40, learning_rate=0.05, patience=1), 0, "a")
    assert [r["train_loss"] for r in again.history] == [r["train_loss"] for r in long.history][: len(again.history)]
    chosen = min(r["valid_loss"] for r in again.history)
    assert chosen >= min(losses)


def test_it_does_not_move_the_generator_of_torch() -> None:
    encoder = _mlp()
    rows, fold = _rows(FRAME, encoder), (torch.arange(100), torch.arange(100, 160))
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    pretrain_encoder(encoder, rows, fold, training(epochs=1), 0, "a")
    assert torch.equal(torch.rand(3), expected)


def test_too_few_rows_of_a_modality() -> None:
    frame = FRAME.copy()
    frame["a"] = [x if i == 0 else None for i, x in enumerate(frame["a"])]
    with pytest.raises(TableError, match="'a': [01] training rows have it, too few"):
        model(train={"a": "pretrain", "b": "scratch"}).fit(frame, Y)


# -- frozen afterwards -------------------------------------------------------------------------------------------------


def test_frozen_after_pretraining_the_encoder_learns_no_more() -> None:
    told = {**PRETRAIN, "pretrain": {"epochs": 3, "frozen": True}}
    short, long = fitted(**told), model(**{**told, "epochs": 9}).fit(FRAME, Y)
    a, b = (m.members_.members[0] for m in (short, long))
    for name in ("a", "b"):
        for key, value in a.encoders[name].state_dict().items():
            assert torch.equal(value, b.encoders[name].state_dict()[key])
    assert not any(p.requires_grad for p in a.encoders.parameters())
    learning = fitted(**{**PRETRAIN, "pretrain": {"epochs": 3}})
    count = sum(p.numel() for p in a.encoders.parameters())
    assert learning.record_["trained_weights"] == short.record_["trained_weights"] + count
    np.testing.assert_allclose(short.predict_proba(FRAME), _saved(short).predict_proba(FRAME), atol=1e-6)


def _saved(found: FusionClassifier) -> Any:
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        return load(found.save(Path(place) / "m"))


def test_tokens_of_a_settled_encoder_are_computed_ahead() -> None:
    found = fitted(**{**PRETRAIN, "pretrain": {"epochs": 1, "a": {"frozen": True}}})
    member, inputs = found.members_.members[0], found._inputs(FRAME)
    ahead = encoded_once(member, inputs)
    assert set(ahead.prepared) == {"b"}
    member.eval()
    with torch.no_grad():
        torch.testing.assert_close(member.encode(inputs)["a"].x, ahead.tokens["a"].x)
        torch.testing.assert_close(member.outputs(inputs)["joint"], member.outputs(ahead)["joint"])


# -- the store ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the modalities that were really trained."""
    found: list[str] = []

    def count(
        encoder: Any, examples: Examples, fold: Fold, settings: Training, seed: int, name: str, *rest: Any
    ) -> PretrainedWeights:
        found.append(name)
        return pretrain_encoder(encoder, examples, fold, settings, seed, name, *rest)

    monkeypatch.setattr("plait.training.pretraining.pretrain_encoder", count)
    return found


TOLD = {**PRETRAIN, "pretrain": {"epochs": 3}}


def test_the_second_run_takes_it_from_the_store(tmp_path: Path, counted: list[str]) -> None:
    cold = fitted(**TOLD, store=str(tmp_path))
    assert counted == ["a", "b"]
    warm = fitted(**TOLD, store=str(tmp_path))
    assert counted == ["a", "b"]
    np.testing.assert_array_equal(cold.predict_proba(FRAME), warm.predict_proba(FRAME))
    assert [found.record_["pretrain"]["a"]["from_store"] for found in (cold, warm)] == [False, True]
    for name in ("epochs", "trained_weights", "seconds", "valid_loss", "history"):
        assert cold.record_["pretrain"]["a"][name] == warm.record_["pretrain"]["a"][name]


@pytest.mark.parametrize(
    "other", [{"fusion": "gated"}, {"depth": "late"}, {"width": 16}, {"epochs": 2}, {"modality_dropout": 0.0}]
)
def test_runs_that_differ_only_beyond_the_encoders_share_them(
    tmp_path: Path, counted: list[str], other: dict[str, Any]
) -> None:
    fitted(**TOLD, store=str(tmp_path))
    fitted(**{**TOLD, **other}, store=str(tmp_path))
    assert counted == ["a", "b"]


@pytest.mark.parametrize(
    "other",
    [
        {"random_state": 1},
        {"pretrain": {"epochs": 2}},
        {"pretrain": {"epochs": 3, "learning_rate": 1e-3}},
        {"encoders": {"vector": {"name": "mlp", "width": 10}}},
    ],
)
def test_other_settings_are_other_encoders(tmp_path: Path, counted: list[str], other: dict[str, Any]) -> None:
    fitted(**TOLD, store=str(tmp_path))
    fitted(**{**TOLD, **other}, store=str(tmp_path))
    assert counted == ["a", "b"] * 2


def test_other_rows_and_targets_are_other_encoders(tmp_path: Path, counted: list[str]) -> None:
    fitted(**TOLD, store=str(tmp_path))
    model(**TOLD, store=str(tmp_path)).fit(FRAME, (Y + 1) % CLASSES)
    model(**TOLD, store=str(tmp_path)).fit(FRAME[:-1], Y[:-1])
    assert counted == ["a", "b"] * 3


def test_one_encoder_of_two_may_be_shared(tmp_path: Path, counted: list[str]) -> None:
    fitted(**TOLD, store=str(tmp_path))
    fitted(**{**TOLD, "pretrain": {"epochs": 3, "b": {"epochs": 2}}}, store=str(tmp_path))
    assert counted == ["a", "b", "b"]
    fitted(**{**TOLD, "train": {"a": "pretrain", "b": "scratch"}}, store=str(tmp_path))
    assert counted == ["a", "b", "b"]


def _damage(folder: Path, how: str) -> None:
    """Change what lies in the store of a pretrained encoder, with a checksum that fits or not."""
    import lmdb

    with lmdb.open(str(folder), map_size=1 << 28) as env, env.begin(write=True) as txn:
        for key, value in list(txn.cursor()):
            if key[:1] != b"c" or b"weights." not in value:
                continue
            record = bytearray(value)
            if how == "flipped":
                record[-3] ^= 1
            elif how == "short":
                record = record[: len(record) // 2]
            else:  # a whole record of another content: the store's own checksum is right
                record = bytearray(_repacked(bytes(value), how))
            txn.put(key, bytes(record))


def _repacked(record: bytes, how: str) -> bytes:
    head, body = struct.Struct("<B3xIIII"), bytearray(record[20:])
    kind, written, _, tokens, width = head.unpack_from(record)
    if how == "garbage":
        body[:40] = b"\x00" * 40
    else:  # of another key
        place = bytes(body).index(b'"key": "') + 8
        body[place : place + 4] = b"0000" if body[place : place + 4] != b"0000" else b"1111"
    checksum = zlib.crc32(bytes(body), zlib.crc32(struct.pack("<BII", kind, tokens, width)))
    return head.pack(kind, written, checksum, tokens, width) + bytes(body)


@pytest.mark.parametrize("how", ["flipped", "short", "garbage", "stale"])
def test_a_broken_or_stale_entry_is_made_anew_and_never_served(tmp_path: Path, counted: list[str], how: str) -> None:
    cold = fitted(**TOLD, store=str(tmp_path))
    _damage(tmp_path, how)
    again = fitted(**TOLD, store=str(tmp_path))
    assert counted == ["a", "b"] * 2
    np.testing.assert_array_equal(cold.predict_proba(FRAME), again.predict_proba(FRAME))
    fitted(**TOLD, store=str(tmp_path))
    assert counted == ["a", "b"] * 2, "what was made anew is kept beside the broken one"


def test_an_entry_whose_weights_do_not_fit_is_made_anew(tmp_path: Path) -> None:
    encoder, key, made = _mlp(), b"k" * 16, []

    def make() -> PretrainedWeights:
        made.append(1)
        return PretrainedWeights({"w": np.zeros(len(made), np.float32)})

    with Store(tmp_path) as store:
        kept_or_trained(store, encoder, key, make, lambda w: True)
        kept_or_trained(store, encoder, key, make, lambda w: True)
        assert len(made) == 1
        found = kept_or_trained(store, encoder, key, make, lambda w: len(w["w"]) == 2)
        assert len(made) == 2
        assert len(found.weights["w"]) == 2


def test_what_is_kept_is_listed_and_no_pickle(tmp_path: Path) -> None:
    fitted(**TOLD, store=str(tmp_path))
    with Store(tmp_path) as store:
        assert "mlp, pretrained" in {found["label"] for found in store.sizes()}
    data = (tmp_path / "data.mdb").read_bytes()
    assert b"weights." in data
    assert b"torch" not in data


def test_seconds_are_a_stage_of_their_own(tmp_path: Path) -> None:
    found = fitted(**TOLD, store=str(tmp_path))
    assert found.record_["seconds"]["pretrain"] > 0
    assert found.record_["seconds"]["train"] > 0
    told = found.record_["pretrain"]["a"]
    assert told["seconds"] > 0
    assert told["trained_weights"] == sum(p.numel() for p in found.members_.members[0].encoders["a"].parameters())
    assert "pretrain" not in fitted(train={"vector": "scratch"}).record_["seconds"]
    assert _saved(found).record_["pretrain"]["a"]["epochs"] == told["epochs"]


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "match"),
    [
        ({"train": {"c": "pretrain"}}, "train: unknown field 'c'"),
        ({"train": {"a": "pretrained"}}, "unknown regime 'pretrained' .did you mean 'pretrain'"),
        ({"train": "pretrain"}, "train must be a mapping of names to text"),
        ({"train": {"a": "pretrain"}, "encoders": {"a": "vector"}}, "'vector' has nothing to train; set train: frozen"),
        ({"train": {"a": "frozen"}}, "'mlp' has no weights of its own"),
        ({"pretrain": {"epoch": 3}}, "pretrain: unknown field 'epoch' .*epochs"),
        ({"pretrain": {"a": {"epoch": 3}}}, "pretrain.a: unknown field 'epoch'"),
        ({"pretrain": {"a": 3}}, "pretrain.a: expected options"),
        ({"pretrain": 3}, "pretrain must be a mapping"),
        ({"pretrain": {"epochs": 0}}, "epochs must be a whole number from 1, found 0"),
        ({"pretrain": {"learning_rate": -1.0}}, "learning_rate must be a number above 0"),
        ({"pretrain": {"frozen": "yes"}}, "frozen must be true or false"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_trained(told: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        fitted(**{"train": {"vector": "pretrain"}, **told})


def test_raw_cells_have_nothing_to_pretrain() -> None:
    from plait.encoders.featurize import make_encoder

    with pytest.raises(ConfigError, match="'pixels' has nothing to train; set train: scratch"):
        make_encoder(Modality("x", "image", ("x",), "pixels", "pretrain"))


def test_options_for_all_and_for_one() -> None:
    told = with_regimes(SCHEMA, {"vector": "pretrain"})
    found = per_modality(
        Pretraining, told, {"epochs": 5, "vector": {"patience": 2}, "b": {"epochs": 7, "frozen": True}}
    )
    assert found == {"a": Pretraining(epochs=5, patience=2), "b": Pretraining(epochs=7, patience=2, frozen=True)}
    assert set(PRETRAINING_OPTIONS) == {"epochs", "batch_size", "learning_rate", "weight_decay", "patience", "frozen"}


def test_a_loss_that_is_no_number_stops_it_and_the_last_good_state_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = _mlp()
    rows, fold = _rows(FRAME, encoder), (torch.arange(100), torch.arange(100, 160))
    good = pretrain_encoder(encoder, rows, fold, training(epochs=10, patience=1), 0, "a")
    usual, calls = Classification.row_loss, []

    def breaks(self: Any, out: torch.Tensor, target: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
        calls.append(1)
        return usual(self, out, target, smoothing) * (
            float("nan") if len(calls) > 5 * 3 else 1.0
        )  # 4 batches, 1 judged

    monkeypatch.setattr(Classification, "row_loss", breaks)
    with pytest.warns(PlaitWarning, match="pretraining of 'a' diverged in epoch 3 .*state of epoch 2 is kept"):
        found = pretrain_encoder(encoder, rows, fold, training(epochs=10), 0, "a")
    assert [r["epoch"] for r in found.history] == [0, 1, 2]
    assert all(np.isfinite(w).all() for w in found.weights.values())
    assert [r["train_loss"] for r in found.history] == [r["train_loss"] for r in good.history][:3]


def test_a_loss_that_never_was_a_number_is_an_error() -> None:
    frame = FRAME.assign(a=[np.full(6, 1e30) if i % 2 else x for i, x in enumerate(FRAME["a"])])
    encoder = _mlp()
    rows, fold = _rows(frame, encoder), (torch.arange(100), torch.arange(100, 160))
    rows.inputs.prepared[ONLY]["steps"][::2] = float("inf")
    with pytest.raises(PlaitError, match="pretraining of 'a' diverged in epoch 0 .*lower pretrain.learning_rate"):
        pretrain_encoder(encoder, rows, fold, training(epochs=2), 0, "a")


def test_two_processes_train_it_once(tmp_path: Path) -> None:
    """The other one holds the claim; we wait for what it stores."""
    if os.name == "nt":
        pytest.skip("nothing is claimed on Windows")
    import threading

    encoder, key, made = _mlp(), b"x" * 16, []
    begun, go = threading.Event(), threading.Event()

    def slow() -> PretrainedWeights:
        begun.set()
        go.wait(10)
        made.append("slow")
        return PretrainedWeights({"w": np.ones(1, np.float32)})

    def ours() -> PretrainedWeights:
        made.append("ours")
        return PretrainedWeights({"w": np.zeros(1, np.float32)})

    with Store(tmp_path) as store:
        other = threading.Thread(target=lambda: kept_or_trained(store, encoder, key, slow, lambda w: True))
        other.start()
        begun.wait(10)
        threading.Timer(0.05, go.set).start()
        found = kept_or_trained(store, encoder, key, ours, lambda w: True)
        other.join()
    assert made == ["slow"]
    assert found.weights["w"][0] == 1.0
