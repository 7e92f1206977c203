"""A fit that was killed goes on to the same numbers; one that diverges keeps what was good."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save

from plait import FusionClassifier, FusionRegressor, load
from plait.base.errors import ConfigError, ModelError, PlaitError, PlaitWarning
from plait.base.machine import device_of
from plait.data.modality import Modality, Schema
from plait.networks import tasks
from plait.networks.base import Masks
from plait.training import checkpoint, loop
from plait.workflow import fit as workflow

ROWS = 90
STACKED: dict[str, Any] = {"epochs": 4, "members": 4, "width": 8}
SINGLE: dict[str, Any] = {"epochs": 4, "members": 2, "width": 8, "fusion": "gated", "depth": "late"}
LEARNING: dict[str, Any] = {"epochs": 3, "members": 1, "width": 8, "encoders": {"text": "cnn_text"}, "batch_size": 32}
CASES = {"stacked": STACKED, "single": SINGLE, "learning encoder": LEARNING}


def table() -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, ROWS)
    words = [" ".join(rng.choice(["ant", "bee", "cow"], 4, p=(0.6, 0.2, 0.2) if k else (0.2, 0.2, 0.6))) for k in y]
    return pd.DataFrame({"a": y + rng.normal(size=ROWS), "b": rng.normal(size=ROWS), "text": words}), y


def model(case: dict[str, Any], **told: Any) -> FusionClassifier:
    learns = "encoders" in case
    modalities = {
        "tabular": {"kind": "tabular", "columns": ["a", "b"]},
        "text": {"kind": "text", "columns": ["text"], "train": "scratch" if learns else "frozen"},
    }
    encoders = case.get("encoders", {"text": "hashed_ngrams"})
    settings = {k: v for k, v in case.items() if k != "encoders"}
    return FusionClassifier(modalities=modalities, encoders=encoders, store="none", progress=False, **settings, **told)


def fit(case: dict[str, Any], **told: Any) -> FusionClassifier:
    x, y = table()
    return model(case, **told).fit(x, y)


def answers(fitted: FusionClassifier) -> np.ndarray:
    return fitted.predict_proba(table()[0])


def losses(fitted: FusionClassifier) -> list[Any]:
    return [(r["member"], r["epoch"], r["train"], r.get("valid")) for r in fitted.history_]


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every epoch is written."""
    monkeypatch.setattr(checkpoint, "LEAST", 0.0)
    monkeypatch.setattr(checkpoint, "TIMES", 0.0)
    monkeypatch.setattr(checkpoint.Checkpoint, "due", lambda self, ended=False: True)


def killed(case: dict[str, Any], folder: Path, writes: int, torn: bool) -> None:
    """A process that fits and is killed with signal 9 after so many writings, or within the next."""

    def run() -> None:
        seen = 0
        usual = checkpoint.write_file

        def write(path: Path, data: bytes) -> None:
            nonlocal seen
            if path.name.startswith("unit-"):
                if seen == writes:
                    if torn:
                        path.with_name(f".{path.name}.x.part").write_bytes(data[: len(data) // 2])
                    os.kill(os.getpid(), signal.SIGKILL)
                seen += 1
            usual(path, data)

        checkpoint.write_file = write  # type: ignore[assignment]
        fit(case, checkpoint=str(folder))

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize(("writes", "torn"), [(1, False), (3, True)])
@pytest.mark.parametrize("name", CASES)
def test_killed_and_started_again_it_ends_at_the_same_numbers(
    name: str, writes: int, torn: bool, tmp_path: Path, always: None
) -> None:
    case, folder = CASES[name], tmp_path / "kept"
    if name == "learning encoder":
        writes = min(writes, 2)
    expected = fit(case)
    killed(case, folder, writes, torn)
    (unit,) = sorted(folder.glob("*/unit-0.safetensors"))
    assert unit.stat().st_size > 0
    resumed: list[int] = []
    usual = loop.Progress.resume

    def resume(self: loop.Progress) -> bool:
        ended = usual(self)
        resumed.append(len(self.history))
        return ended

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Progress, "resume", resume)
        found = fit(case, checkpoint=str(folder))
    assert max(resumed) > 0, "nothing was taken up: the test would see nothing"
    np.testing.assert_array_equal(answers(found), answers(expected))
    assert losses(found) == losses(expected)
    assert not folder.exists(), "it is done, so nothing is left"


def test_checkpoints_change_no_number(tmp_path: Path, always: None) -> None:
    np.testing.assert_array_equal(answers(fit(STACKED, checkpoint=str(tmp_path / "c"))), answers(fit(STACKED)))


def test_the_checkpoint_of_another_fit_is_left_alone_with_a_warning(tmp_path: Path, always: None) -> None:
    folder = tmp_path / "kept"
    killed(STACKED, folder, 2, False)
    (before,) = folder.glob("*/unit-0.safetensors")
    with pytest.warns(PlaitWarning, match="checkpoint of another fit"):
        other = fit({**STACKED, "dropout": 0.5}, checkpoint=str(folder))
    np.testing.assert_array_equal(answers(other), answers(fit({**STACKED, "dropout": 0.5})))
    assert before.is_file()


def test_a_broken_checkpoint_is_told_and_the_fit_begins_anew(tmp_path: Path, always: None) -> None:
    folder = tmp_path / "kept"
    killed(STACKED, folder, 2, False)
    units = list(folder.glob("*/unit-*"))
    assert units
    for unit in units:
        unit.write_bytes(unit.read_bytes()[:200])
    with pytest.warns(PlaitWarning, match="cannot be read"):
        found = fit(STACKED, checkpoint=str(folder))
    np.testing.assert_array_equal(answers(found), answers(fit(STACKED)))


@pytest.mark.parametrize("way", ["flipped", "field", "array", "history", "older"])
def test_an_altered_checkpoint_is_never_gone_on_with(way: str, tmp_path: Path, always: None) -> None:
    folder = tmp_path / "kept"
    killed(STACKED, folder, 2, False)
    for unit in folder.glob("*/unit-*"):
        data = bytearray(unit.read_bytes())
        if way == "flipped":
            data[-9] ^= 64  # a bit of the last array
            unit.write_bytes(data)
            continue
        with safe_open(unit, framework="numpy") as file:
            told = json.loads(file.metadata()["plait"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if way == "field":
            del told["done"]
        elif way == "array":
            arrays["optimiser.mean.0"] = np.zeros(3, np.float32)
        elif way == "history":
            told["masks"] = [[0.5, "x", 1]]
        words = json.dumps(told)
        about = {"plait": words} | ({} if way == "older" else {"digest": checkpoint.content_digest(words, arrays)})
        unit.write_bytes(save(arrays, about))
    with pytest.warns(PlaitWarning, match="cannot be read .*; trained anew"):
        found = fit(STACKED, checkpoint=str(folder))
    np.testing.assert_array_equal(answers(found), answers(fit(STACKED)))


@pytest.mark.parametrize("name", ["rows.csv", "rows.csv/model"])
def test_a_checkpoint_at_or_below_a_file_is_refused_before_any_work(tmp_path: Path, name: str) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ModelError, match=r"checkpoint .*rows\.csv is a file, no folder; name another place"):
        FusionClassifier(checkpoint=str(tmp_path / name)).fit(
            pd.DataFrame(), []
        )  # an empty table would be refused next
    assert (tmp_path / "rows.csv").read_text() == "a,b\n1,2\n"


def test_it_is_written_no_oftener_than_costs_a_fiftieth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: clock[0])
    unit = checkpoint.Checkpoint(tmp_path / "u")

    def slow(path: Path, data: bytes) -> None:
        clock[0] += 1.0

    monkeypatch.setattr(checkpoint, "write_file", slow)
    assert not unit.due()
    clock[0] += checkpoint.LEAST
    assert unit.due()
    unit.write({"x": torch.zeros(1)}, {})
    clock[0] += checkpoint.TIMES - 0.1
    assert not unit.due()
    clock[0] += 0.2
    assert unit.due()


def test_the_command_keeps_its_checkpoint_until_the_model_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, always: None
) -> None:
    x, y = table()
    frame, kept = x.assign(label=y), tmp_path / "kept"
    settings = {**STACKED, "encoders": {"text": "hashed_ngrams"}, "store": "none", "progress": False}
    told = {**settings, "checkpoint": str(kept)}
    parts = tuple(Modality(*part) for part in (("tabular", "tabular", ("a", "b")), ("text", "text", ("text",))))
    found = Schema(parts, target="label", task="classification")

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(workflow, "save_outcome", fail)
        with pytest.raises(OSError, match="space"):
            workflow.fit_table(frame, found, told, out=tmp_path / "m", report=False)
    assert len(list(kept.glob("*/unit-*.safetensors"))) == 2
    outcome = workflow.fit_table(frame, found, told, out=tmp_path / "m", report=False)
    assert not kept.exists()
    assert load(tmp_path / "m").checkpoint is None
    assert outcome.model.record_["seconds"]["test"] >= 0
    assert outcome.model.record_["stage_peak_mb"].keys() >= {"encode", "train", "test"}


def test_of_several_targets_all_checkpoints_stay_until_the_folder_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, always: None
) -> None:
    x, y = table()
    frame, kept = x[["a", "b"]].assign(label=y, other=np.roll(y, 1)), tmp_path / "kept"
    told = {**STACKED, "store": "none", "progress": False, "checkpoint": str(kept)}

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(workflow, "save_outcomes", fail)
        with pytest.raises(OSError, match="space"):
            workflow.fit_table(frame, None, told, target=["label", "other"], out=tmp_path / "m", report=False)
    assert len(list(kept.iterdir())) == 2
    workflow.fit_table(frame, None, told, target=["label", "other"], out=tmp_path / "m", report=False)
    assert not kept.exists()
    assert list(load(tmp_path / "m")) == ["label", "other"]


def test_masks_drawn_again_are_the_same() -> None:
    generator = torch.Generator().manual_seed(0)
    masks = Masks(generator)
    masks.take((4, 3), 0.3, torch.device("cpu"))
    masks.take((5, 2), 0.1, torch.device("cpu"))
    other = torch.Generator()
    other.set_state(generator.get_state())
    again = Masks(other)
    again.load_state(masks.state())
    for shape, chance in [((4, 3), 0.3), ((5, 2), 0.1), ((30, 3), 0.3)]:
        assert torch.equal(
            masks.take(shape, chance, torch.device("cpu")), again.take(shape, chance, torch.device("cpu"))
        )


# -- a loss that is no number -------------------------------------------------------------------------------------------


def poisoned(monkeypatch: pytest.MonkeyPatch, after: int, calls_long: int = 4) -> None:
    """So many losses are NaN after so many that are not; the weights then are too."""
    calls, usual = [0], tasks.Classification.row_loss

    def row_loss(self: Any, out: torch.Tensor, target: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
        calls[0] += 1
        found = usual(self, out, target, smoothing)
        return found * float("nan") if after < calls[0] <= after + calls_long else found

    monkeypatch.setattr(tasks.Classification, "row_loss", row_loss)


@pytest.mark.parametrize(("name", "after"), [("stacked", 18), ("single", 20)])
def test_a_loss_that_is_no_number_keeps_the_last_good_state(
    name: str, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = {**CASES[name], "epochs": 12}
    with monkeypatch.context() as patch:
        poisoned(patch, after)
        with pytest.warns(PlaitWarning, match=r"training of member 0.* diverged in epoch \d+.*best state.*is kept"):
            found = fit(case)
    assert np.isfinite(answers(found)).all()
    assert any("diverged" in record for record in found.history_)
    assert (answers(found).argmax(1) == table()[1]).mean() > 0.5


@pytest.mark.parametrize("name", ["stacked", "single"])
def test_without_a_good_state_it_is_one_clear_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    poisoned(monkeypatch, 0)
    with pytest.raises(PlaitError, match=r"training diverged in epoch 0 \(loss nan of '.*lower learning_rate"):
        fit(CASES[name])


def test_without_held_out_rows_the_last_state_that_is_a_number_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = table()
    poisoned(monkeypatch, 12)
    told = {"fusion": "gated", "depth": "late", "members": 1, "epochs": 8}
    with pytest.warns(PlaitWarning, match="diverged"):
        found = model(told, width=8).fit(x[:14], y[:14])
    assert np.isfinite(found.predict_proba(x)).all()


# -- device -------------------------------------------------------------------------------------------------------------


def test_a_device_is_chosen_or_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_of("cpu").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of("auto").type == "cpu"
    with pytest.raises(ConfigError, match="device 'cuda': this torch sees no GPU"):
        FusionRegressor(device="cuda", store="none").fit(table()[0][["a", "b"]], np.arange(ROWS, dtype=float))
    with pytest.raises(ConfigError, match="device 'gpu': expected one of auto, cpu, cuda"):
        device_of("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_of("auto").type == "cuda"


def test_leftovers_of_a_removed_folder_do_no_harm(tmp_path: Path) -> None:
    kept = checkpoint.Checkpoints(tmp_path / "c", "digest")
    unit = kept.unit(0)
    assert not (tmp_path / "c").exists()  # not before there is something to keep
    unit.write({"x": torch.zeros(2)}, {"a": 0})
    shutil.rmtree(tmp_path / "c")  # the same fit ended in another process
    unit.write({"x": torch.ones(2)}, {"a": 1})
    found = unit.read()
    assert found is not None
    assert torch.equal(found[0]["x"], torch.ones(2))
    kept.remove()
    assert not (tmp_path / "c").exists()
