"""Stages that learn by gradient from batches of pairs of any size."""

from __future__ import annotations

import copy
import dataclasses
import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from torch.nn import Parameter

from plait.alignment.base import Alignment, LinearMaps, Stop, make_stage, never, reciprocal_rank
from plait.alignment.batches import backward, loss_of
from plait.alignment.losses import LOSSES, Contrast
from plait.alignment.network import COLDEST, HOTTEST, AlignmentNetwork, FrozenNetwork
from plait.alignment.pairs import Pairs
from plait.base.checks import MOST, Count, NonNegative, Part, Positive, Width, Within
from plait.base.errors import PlaitError
from plait.base.progress import track
from plait.networks.base import Masks
from plait.training.loop import Callbacks, Diverged, Learner, Outcome, StatePart, train
from plait.training.optimiser import LIMIT, AdamW, StepRule
from plait.training.rows import batch_edges

#: What is kept of an epoch's record.
_KEPT = ("epoch", "train_loss", "valid_loss")


@dataclasses.dataclass(eq=False, kw_only=True)
class Learned(Alignment):
    """A stage that learns by gradient.

    Attributes:
        epochs: at most so many.
        batch_size: rows per step, each compared with all others of its batch; None: an eighth of the rows, 16 to 256.
        learning_rate: to begin with.
        weight_decay: of AdamW.
        patience: epochs without a better validation loss before training stops.
        held_out: share of things (not rows) whose loss decides when to stop; none where there are fewer than 50 rows.
        rows_at_once: larger batches are computed in pieces of so many rows, with the same gradients.
        temperature: to begin with, or throughout where it is not learned.
        schedule: ``plateau``: the rate is halved when what chooses the epoch was no better for a third of ``patience``; or
            ``constant``.
        optimiser: ``adamw`` or ``adam``.
        clip: the norm of the gradients is held below it; 0: it is not.
        select: the best epoch has the least held-out ``loss``, or finds held-out pairs best (``rank``), as the penalties of the
            stages in closed form are chosen.
        refit: learn once more from all pairs, the held-out ones too, up to the epoch that was best.
    """

    epochs: Count = 100
    batch_size: Annotated[int, Within(2, MOST)] | None = None
    learning_rate: Positive | None = 1e-3
    weight_decay: NonNegative = 0.01
    patience: Count = 9
    held_out: Part = 0.1
    rows_at_once: Count = 1024
    temperature: Annotated[float, Within(COLDEST, HOTTEST)] = 0.07
    schedule: Literal["plateau", "constant"] = "plateau"
    optimiser: Literal["adamw", "adam"] = "adamw"
    clip: NonNegative = LIMIT
    select: Literal["loss", "rank"] = "loss"
    refit: bool = False

    @abstractmethod
    def contrast(self) -> Contrast:
        """The loss between two modalities."""

    def begin(self, network: AlignmentNetwork, pairs: Pairs, seed: int) -> bool:
        """Before training: what the network takes from the pairs; whether it can be used as it is then."""
        network.learn_inputs(pairs)
        return False

    def fit(
        self, network: AlignmentNetwork, pairs: Pairs, *, seed: int, progress: bool | None = None, stopped: Stop = never
    ) -> list[dict[str, Any]]:
        """Train in place; the state with the best validation loss stays."""
        names = self.pairs_of(network.names)
        pairs.check(names)
        usable = torch.stack([pairs.both(a, b) for a, b in names]).any(0)
        pairs = pairs if bool(usable.all()) else pairs.take(usable)
        generator = torch.Generator().manual_seed(seed)
        fold, valid = pairs.split(self.held_out, names, generator)
        drawn = copy.deepcopy(network.state_dict()) if self.refit and valid is not None else None
        started = self.begin(network, fold, seed)
        learner = StageLearner(self, network, fold, valid, generator)
        kept = copy.deepcopy(network.state_dict()) if started else None
        first = float(learner.judge()["loss"]) if started and valid is not None else None
        outcome = self._train(learner, self.epochs, progress, stopped)
        history = [{k: record[k] for k in _KEPT if k in record} for record in outcome.history]
        best = outcome.best[0] + 1
        if kept is not None and first is not None:
            history.insert(0, {"started": True, "valid_loss": first})
            if first <= min(record["valid_loss"] for record in history[1:]):
                network.load_state_dict(kept)
                best = 0
        if drawn is not None:
            network.load_state_dict(drawn)
            self.begin(network, pairs, seed)
            if best:
                again = StageLearner(self, network, pairs, None, torch.Generator().manual_seed(seed), learner.levels)
                self._train(again, best, progress, stopped)
            history.append({"refit": best})
            network.eval()
        return history

    def _train(self, learner: StageLearner, epochs: int, progress: bool | None, stopped: Stop) -> Outcome:
        with track(epochs, "aligning", "epochs", progress) as bar:
            try:
                follow = Callbacks(on_epoch=lambda record: bar.advance(), stopped=stopped)
                outcome = train(learner, epochs, self.patience, follow)
            except Diverged as error:
                raise PlaitError(f"alignment diverged in epoch {error.epoch}; lower learning_rate") from error
        if lost := outcome.diverged:
            raise PlaitError(f"alignment diverged in epoch {lost['epoch']}; lower learning_rate")
        return outcome


class StageLearner(Learner[Tensor]):
    """Trains the network of a stage on pairs; the learning rate falls where the held-out loss does not."""

    def __init__(
        self,
        stage: Learned,
        network: AlignmentNetwork,
        fold: Pairs,
        valid: Pairs | None,
        generator: torch.Generator,
        levels: Sequence[float] = (),
    ) -> None:
        """``valid``: pairs that choose the best state, or None; ``levels``: of the rate, epoch by epoch, as they were before."""
        self.given, self.levels, self.ranked = levels, list[float](), stage.select == "rank"
        self.network, self.fold, self.valid, self.generator = network, fold, valid, generator
        self.masks, self.contrast, self.spec = Masks(generator), stage.contrast(), stage.pairs_of(network.names)
        self.size = stage.batch_size or min(256, max(16, len(fold) // 8))
        self.rows_at_once, patience = stage.rows_at_once, max(1, stage.patience // 3)
        patience = patience if stage.schedule == "plateau" else MOST
        rates = stage.learning_rate or 1e-3, stage.weight_decay
        rule = StepRule(stage.optimiser, "constant", stage.clip)
        self.optimiser = self.plateau = PlateauAdamW(network.parameters(), *rates, patience=patience, rule=rule)
        self.held_batches = int(valid is not None)

    def parts(self) -> list[StatePart]:
        return [StatePart.of(self.network, ["loss"])]

    def begin(self, epoch: int) -> None:
        if self.given:
            self.plateau.level = self.given[min(epoch, len(self.given) - 1)]
        self.levels.append(self.plateau.level)
        self.network.train()

    def batches(self) -> Iterator[Tensor]:
        order = torch.randperm(len(self.fold), generator=self.generator)
        return (order[start:end] for start, end in pairwise(batch_edges(len(self.fold), self.size)))

    def step(self, batch: Tensor) -> dict[str, Tensor]:
        self.optimiser.clear()
        seed = int(torch.randint(2**31, (), generator=self.generator))
        loss = backward(self.network, self.contrast, self.spec, self.fold.take(batch), self.rows_at_once, seed)
        self.optimiser.step()
        if self.network.temperature is not None:
            self.network.temperature.hold()
        return {"loss": torch.tensor(loss, dtype=torch.float64)}

    def judge(self) -> dict[str, Tensor]:
        """The contrast of the held-out pairs, or how far from the top their own are found."""
        assert self.valid is not None
        self.network.eval()
        if self.ranked:
            loss = 1 - reciprocal_rank(self.network, self.valid, self.spec)
        else:
            loss = loss_of(self.network, self.contrast, self.spec, self.valid, self.rows_at_once)
        self.plateau.observe(loss)
        return {"loss": torch.tensor(loss, dtype=torch.float64)}

    def end(self) -> None:
        self.network.draw_from(None)
        self.network.eval()


@dataclasses.dataclass(eq=False, kw_only=True)
class Shared(Learned):
    """A stage with a shared space.

    Attributes:
        width: of the space.
        loss: ``soft_targets`` (Faye et al., equations 3 to 6) or ``infonce``.
        input_dropout: chance that a feature is dropped as it enters; pairs are few, and without it a head learns them by
            heart within three epochs (measured in ``docs/alignment.md``).
        same: what rows of one thing are to each other: ``left_out`` of the comparison, ``positives``, or ``negatives`` like all.
        init: ``random``, or ``cca``: the closed form's maps, to which the network learns what to add, from nothing; the state
            before the first epoch counts among those that are chosen from.
        standardise: features are centred and divided by their deviation (ours); false: they enter as the encoders give them.
        learning_rate: None: 1e-3, and 1e-4 from a closed form.
    """

    learning_rate: Positive | None = None
    width: Width = 256
    loss: Literal["soft_targets", "fixed_targets", "infonce"] = "soft_targets"
    input_dropout: Part = 0.5
    same: Literal["left_out", "positives", "negatives"] = "left_out"
    init: Literal["random", "cca"] = "random"
    standardise: bool = True

    def contrast(self) -> Contrast:
        return LOSSES[self.loss](same=self.same)

    def inputs_as(self) -> dict[str, Any]:
        """How features enter, as a ``FrozenNetwork`` takes it."""
        return {"input_dropout": self.input_dropout, "standardise": self.standardise, "starts": self.init == "cca"}

    def begin(self, network: AlignmentNetwork, pairs: Pairs, seed: int) -> bool:
        network.learn_inputs(pairs)
        if self.init == "random" or not isinstance(network, FrozenNetwork):
            return False
        closed, rows = make_stage({"name": "cca", "components": min(128, self.width)}), pairs.pooled()
        maps = closed.network(rows.dims)
        closed.fit(maps, rows, seed=seed)
        assert isinstance(maps, LinearMaps)
        there = {n: rows.x[n]["x"][rows.present[n]] for n in maps.names}
        network.begin_at({n: maps.map_of(n) for n in maps.names}, there)
        return True

    def __post_init__(self) -> None:
        """A closed form is learned on from at a tenth of the usual rate."""
        super().__post_init__()
        if self.learning_rate is None:
            self.learning_rate = 1e-3 if self.init == "random" else 1e-4


class PlateauAdamW(AdamW):
    """Decoupled weight decay; after ``patience`` epochs without a better loss the learning rate is multiplied by ``factor``.

    Source: Faye et al. say early stopping on the validation loss; the plateau schedule is that of torch's ReduceLROnPlateau.
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        learning_rate: float,
        weight_decay: float,
        patience: int,
        factor: float = 0.5,
        rule: StepRule | None = None,
    ) -> None:
        super().__init__(parameters, learning_rate, weight_decay, steps=1, rule=rule)
        self.patience, self.fall = patience, factor
        self.level, self.best, self.waited = 1.0, math.inf, 0

    def factor(self) -> float:
        return self.level

    def observe(self, loss: float) -> None:
        """Take the loss of an epoch into account."""
        if loss < self.best - 1e-6:
            self.best, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited > self.patience:
            self.level, self.waited = self.level * self.fall, 0
