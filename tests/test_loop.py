"""The training loop, seen through learners whose losses are written down beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from plait.networks.base import Masks
from plait.training.checkpoint import Checkpoint
from plait.training.loop import Callbacks, Diverged, Learner, StatePart, train
from plait.training.optimiser import AdamW

NAN = float("nan")


class Scripted(Learner[int]):
    """Two batches an epoch; the weights say which epoch they are from, the losses are given (epochs, members)."""

    def __init__(self, valid: Sequence[Sequence[float]], *, held: bool = True) -> None:
        self.valid, self.members = torch.tensor(valid, dtype=torch.float64), len(valid[0])
        self.weight = nn.Parameter(torch.full((self.members, 2), -1.0))
        self.optimiser, self.generator = AdamW([self.weight], 0.1, 0.0, 10), torch.Generator().manual_seed(0)
        self.masks, self.held_batches = Masks(self.generator), 3 if held else 0
        self.epoch, self.ends, self.steps = -1, 0, 0

    def parts(self) -> list[StatePart]:
        return [StatePart(["a", "b"], lambda: [self.weight.detach()])]

    def begin(self, epoch: int) -> None:
        self.epoch = epoch

    def batches(self) -> range:
        return range(2)

    def step(self, batch: int) -> dict[str, Tensor]:
        self.steps += 1
        with torch.no_grad():
            self.weight.fill_(float(self.epoch))
            self.weight[self.valid[self.epoch].isnan()] = NAN
        return {"a": torch.full((self.members,), float(batch)) + 0 * self.valid[self.epoch], "b": torch.ones(1)[0:1]}

    def judge(self) -> dict[str, Tensor]:
        return {"a": self.valid[self.epoch] - 1, "b": self.valid[self.epoch] + 1}

    def end(self) -> None:
        self.ends += 1


class Single(Scripted):
    """One member."""

    def __init__(self, valid: Sequence[float], **options: Any) -> None:
        super().__init__([[loss] for loss in valid], **options)


def test_the_best_epoch_is_kept_and_patience_ends_it() -> None:
    learner = Single([3.0, 1.0, 2.0, 1.0, 0.0])
    outcome = train(learner, 5, 2)
    assert [record["epoch"] for record in outcome.history] == [0, 1, 2, 3]
    assert outcome.best == [1]
    assert learner.weight.tolist() == [[1.0, 1.0]]
    first = outcome.history[0]
    assert (first["train"], first["train_loss"]) == ({"a": 0.5, "b": 1.0}, 0.75)  # means over batches, and over losses
    assert (first["valid"], first["valid_loss"]) == ({"a": 2.0, "b": 4.0}, 3.0)
    assert first["batches"] == {"train": 2, "valid": 3}
    assert "member" not in first
    assert learner.ends == 1
    assert outcome.diverged is None


class Pair(Scripted):
    """Both losses of both members."""

    def step(self, batch: int) -> dict[str, Tensor]:
        return {"a": super().step(batch)["a"]}


def test_a_member_that_diverges_keeps_its_best_while_the_other_goes_on() -> None:
    learner, heard, scored = Pair([[2.0, 1.0], [1.0, NAN], [0.5, NAN], [0.7, NAN]]), [], []

    def score(member: int, model: Any) -> dict[str, Any]:
        scored.append((member, model, learner.epoch))
        return {}

    learner.models = lambda: ("first", "second")  # type: ignore[method-assign, assignment, return-value]
    outcome = train(learner, 4, 4, Callbacks(score=score, on_epoch=heard.append))
    assert outcome.best == [2, 0]
    assert learner.weight.tolist() == [[2.0, 2.0], [0.0, 0.0]]
    assert outcome.diverged is not None
    assert (outcome.diverged["member"], outcome.diverged["epoch"]) == (1, 1)
    assert len(outcome.history) == 8
    assert [(r["member"], r["epoch"]) for r in heard] == [(0, 0), (1, 0), (0, 1), (0, 2), (0, 3)]
    assert scored[:3] == [(0, "first", 0), (1, "second", 0), (0, "first", 1)]
    assert len(scored) == 5


def test_where_all_have_diverged_it_ends_with_what_was_good() -> None:
    learner = Single([2.0, NAN, 1.0])
    outcome = train(learner, 3, 3)
    assert (len(outcome.history), outcome.best, learner.weight.tolist()) == (2, [0], [[0.0, 0.0]])


def test_without_a_state_to_keep_it_is_an_error_and_the_learner_is_ended() -> None:
    learner = Single([NAN, 1.0])
    with pytest.raises(Diverged, match=r"diverged in epoch 0 \(loss nan of 'a', 'b'\); lower learning_rate"):
        train(learner, 2, 2)
    assert learner.ends == 1


def test_without_held_out_rows_the_last_whole_state_is_the_best_and_nothing_stops_it() -> None:
    learner = Single([1.0, 2.0, 3.0, 4.0], held=False)
    outcome = train(learner, 4, 1)
    assert (len(outcome.history), outcome.best, learner.weight.tolist()) == (4, [3], [[3.0, 3.0]])
    assert "valid" not in outcome.history[0]
    assert outcome.history[0]["batches"] == {"train": 2}


def test_what_was_stopped_is_resumed_and_what_had_ended_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Checkpoint, "due", lambda self, ended=False: True)
    losses, unit = [2.0, 1.0, 3.0, 4.0, 0.0], Checkpoint(tmp_path / "unit")
    begun = Single(losses)
    assert len(train(begun, 5, 2, Callbacks(checkpoint=unit, stopped=lambda: begun.epoch == 1)).history) == 2
    resumed = Single(losses)
    outcome = train(resumed, 5, 2, Callbacks(checkpoint=unit))
    assert (resumed.steps, len(outcome.history), outcome.best) == (4, 4, [1])
    assert resumed.weight.tolist() == [[1.0, 1.0]]
    again = Single(losses)
    assert train(again, 5, 2, Callbacks(checkpoint=unit)).history == outcome.history
    assert (again.steps, again.weight.tolist()) == (0, [[1.0, 1.0]])
