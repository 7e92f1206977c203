"""Members trained on all folds but one; their held-out predictions choose, weigh and calibrate, so the test never has to."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from torch import Tensor

from plait.base.errors import ConfigError
from plait.base.inputs import Inputs
from plait.base.precision import seeded
from plait.branches.branches import Branches
from plait.branches.mixture import Mixture, Pattern, patterns
from plait.networks.tasks import Multilabel, Task
from plait.training.history.follow import Follow, warn_diverged
from plait.training.loop import Learner, train
from plait.training.member import MemberLearner, Training
from plait.training.pretraining.stage import settled
from plait.training.rows import Examples
from plait.training.stacked import StackedLearner, stackable

#: Rows, drawn once, on which the weights of a pattern are learned: more would not move six numbers.
_MIXTURE_ROWS = 3000
#: Held-out rows that a pattern needs for a threshold of its own.
_THRESHOLD_ROWS = 20


@dataclasses.dataclass
class Members:
    """Trained members and how their branches are mixed."""

    task: Task
    members: list[Branches]
    mixture: Mixture
    history: list[dict[str, Any]]

    def raw(self, inputs: Inputs) -> Tensor:
        """Mixed raw outputs (n, out_dim), the mean over the members."""
        if not len(inputs):
            return torch.zeros(0, self.task.out_dim)
        total: dict[str, Tensor] = {}
        for member in self.members:
            for name, out in member.outputs(inputs).items():
                total[name] = total[name] + out if name in total else out
        mean = {name: out / len(self.members) for name, out in total.items()}
        return self.mixture.combine(mean, inputs.present, self.task)

    def answer(self, decoded: np.ndarray, present: np.ndarray) -> np.ndarray:
        """What ``predict`` gives for probabilities or values, with what is present in each row (n, M)."""
        if isinstance(self.task, Multilabel):
            return (decoded >= self.thresholds(present)).astype(np.int64)
        return self.task.answer(decoded)

    def thresholds(self, present: np.ndarray) -> np.ndarray:
        """Of several labels: from where on each is answered, in rows of which this is present (n, M): (n, C)."""
        usual = getattr(self.task, "thresholds", ()) or (0.5,) * self.task.out_dim
        return self.mixture.thresholds_at(present, np.asarray(usual))


def folds_of(
    strata: np.ndarray, members: int, seed: int, groups: np.ndarray | None = None
) -> list[tuple[Tensor, Tensor]]:
    """(training rows, held-out rows) per member, classes spread evenly; no held-out rows where there are too few rows.

    There are at least five folds; fewer members leave the later ones to training. Rows of one group are held out together,
    so that what is learned from held-out rows holds for groups never seen.

    Shape: strata (n,) integers; groups (n,) integers, or None.
    """
    n, count = len(strata), max(5, members)
    if groups is not None:
        count = min(count, len(np.unique(groups)))
        if count < 2:
            raise ConfigError("groups: all rows belong to one group; at least two are needed")
    everything = torch.arange(n)
    if n < 4 * count:
        return [(everything, everything[:0]) for _ in range(min(members, 3))]
    _, place, size = np.unique(strata, return_inverse=True, return_counts=True)
    rare = size[place] < count  # too rare to be spread: dealt out together, or with the largest class
    kept = np.where(rare, -1 if int(rare.sum()) >= count else int(size.argmax()), place)
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    splitter = kind(count, shuffle=True, random_state=seed)
    parts = splitter.split(np.zeros(n), kept, groups)
    pairs = [(torch.from_numpy(a), torch.from_numpy(b)) for a, b in parts if len(a) and len(b)]
    return pairs[:members]


def crossfit(
    make: Callable[[], Branches],
    task: Task,
    inputs: Inputs,
    target: Tensor,
    weight: Tensor,
    strata: np.ndarray,
    names: Sequence[str],
    settings: Training,
    members: int,
    seed: int,
    advance: Callable[[int], None] = lambda n: None,
    groups: np.ndarray | None = None,
    before: Callable[[Branches, int, Tensor, Tensor], None] = lambda model, number, fold, valid: None,
    follow: Follow | None = None,
) -> Members:
    """Train ``members`` networks by cross-fitting, then learn the mixture on what each had not seen.

    ``advance`` is called with the epochs of members that are done, of ``members`` times ``settings.epochs`` in all;
    ``before`` is called with each untrained member, its number, and its training and held-out rows;
    ``follow`` says where training runs, what judges it after every epoch, and where it is kept so that it can go on.
    """
    follow = follow or Follow()
    folds = folds_of(strata, members, seed, groups)
    trained = []
    for number in range(len(folds)):
        with seeded(seed + number):
            trained.append(make())
    for number, rows in enumerate(folds):
        before(trained[number], number, *rows)
    examples = Examples(task, inputs, target, weight)
    follow.open(trained, folds, examples, settings)
    trained = [model.to(follow.device) for model in trained]

    halt = threading.Event()
    batches = _batches(trained, folds, settings)

    def run(number: int) -> list[dict[str, Any]]:
        batch, epochs = batches[number], 0

        def stopped() -> bool:  # asked after every epoch
            nonlocal epochs
            epochs += 1
            advance(len(batch))
            return halt.is_set()

        first, generator = batch[0], torch.Generator().manual_seed(seed + batch[0])
        learner: Learner[Tensor]
        if len(batch) > 1:
            models, rows = [trained[i] for i in batch], [folds[i] for i in batch]
            learner = StackedLearner(models, examples, rows, settings, generator)
        else:
            prepared = dataclasses.replace(examples, inputs=settled(trained[first], inputs))
            learner = MemberLearner(trained[first], prepared, folds[first], settings, generator)
        callbacks = follow.callbacks(number, first, folds, stopped)
        records = train(learner, settings.epochs, settings.patience, callbacks).history
        advance(len(batch) * (settings.epochs - epochs))  # what early stopping has saved
        return [{**record, "member": first + record.get("member", 0)} for record in records]

    with seeded(seed):  # plait's own dropout has its generator; an encoder of another package may draw from torch's
        results = side_by_side(run, len(batches), halt, learning=bool(trained[0].encoders))
    history = [record for records in results for record in records]
    warn_diverged(history, settings)
    result = _mixed(trained, folds, task, inputs, target, weight, names, history, seed)
    result.members = [model.cpu() for model in trained]
    return result


def _mixed(
    trained: list[Branches],
    folds: Sequence[tuple[Tensor, Tensor]],
    task: Task,
    inputs: Inputs,
    target: Tensor,
    weight: Tensor,
    names: Sequence[str],
    history: list[dict[str, Any]],
    seed: int,
) -> Members:
    """The members with the mixture that their held-out rows ask for."""
    held_out: dict[Pattern, dict[str, Tensor]] = {}
    for model, (_, valid) in zip(trained, folds, strict=True):
        _collect(model, inputs, valid, names, held_out, task)
    mixture = Mixture(names, trained[0].sources)
    mixture.prior = prior(task, target, weight)
    covered = torch.cat([valid for _, valid in folds])
    if len(covered):
        _fit_mixture(mixture, task, held_out, inputs, target, weight, covered, seed)
        task = _with_thresholds(task, mixture, held_out, inputs, target, covered)
    else:
        mixture.set_equal()
    return Members(task, trained, mixture, history)


def _batches(trained: Sequence[Branches], folds: Sequence[tuple[Tensor, Tensor]], settings: Training) -> list[range]:
    """Members that are trained together: two batches of them, however many cores there are, so that numbers stay the same."""
    middle = (len(folds) + 1) // 2
    if stackable(trained[:middle], folds[:middle], settings):
        return [range(middle), range(middle, len(folds))]
    return [range(number, number + 1) for number in range(len(folds))]


def side_by_side(
    run: Callable[[int], list[dict[str, Any]]], count: int, halt: threading.Event, *, learning: bool
) -> list[list[dict[str, Any]]]:
    """Batches of members on a thread each, one core per batch: matrices this small gain nothing from more (twice as fast).

    Where encoders learn too, the matrices are large: then one member after another, on all cores.
    """
    cores = torch.get_num_threads()
    if learning or cores == 1 or count == 1:
        return [run(number) for number in range(count)]
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(min(cores, count), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            try:
                return list(pool.map(run, range(count)))
            except BaseException:  # Ctrl-C, or a member that diverged: the others stop after their epoch
                halt.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        torch.set_num_threads(cores)


def _collect(
    model: Branches,
    inputs: Inputs,
    valid: Tensor,
    names: Sequence[str],
    held_out: dict[Pattern, dict[str, Tensor]],
    task: Task,
) -> None:
    """Write the member's outputs for its held-out rows, under every pattern, into their places."""
    if not len(valid):
        return
    held = inputs.take(valid)
    own: dict[str, Tensor] = {}
    for pattern in patterns(names):
        full = len(pattern) == len(names)
        outputs = model.outputs(held if full else held.only(pattern)) if full or _several(model) else own
        own = outputs if full else own
        for name, out in outputs.items():
            place = held_out.setdefault(pattern, {})
            if name not in place:
                place[name] = torch.zeros(len(inputs), task.out_dim)
            place[name][valid] = out


def _several(model: Branches) -> bool:
    return any(len(sources) > 1 for sources in model.sources.values())


def _fit_mixture(
    mixture: Mixture,
    task: Task,
    held_out: Mapping[Pattern, Mapping[str, Tensor]],
    inputs: Inputs,
    target: Tensor,
    weight: Tensor,
    covered: Tensor,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    for pattern, outputs in held_out.items():
        whole = torch.stack([inputs.present[name][covered] for name in pattern]).all(0)
        rows = covered[whole]
        rows = rows[torch.randperm(len(rows), generator=generator)[:_MIXTURE_ROWS]]
        if len(rows) >= 10:
            chosen = {name: out[rows] for name, out in outputs.items()}
            mixture.fit_pattern(pattern, chosen, task, target[rows], weight[rows])
        else:
            branches = mixture.available(pattern)
            mixture.weights[pattern] = dict.fromkeys(branches, 1.0 / len(branches))


def _with_thresholds(
    task: Task,
    mixture: Mixture,
    held_out: Mapping[Pattern, Mapping[str, Tensor]],
    inputs: Inputs,
    target: Tensor,
    covered: Tensor,
) -> Task:
    """For several labels: the thresholds with the best sample-wise F1 on held-out rows, one for each pattern of presence."""
    if not isinstance(task, Multilabel) or task.thresholds:  # those that are there were given
        return task
    target = target[covered]
    present = {name: result[covered] for name, result in inputs.present.items()}
    nothing = {name: torch.zeros_like(result) for name, result in present.items()}
    chosen = _best_threshold(task, mixture, held_out[mixture.names], present, target, covered)
    for pattern in (*held_out, ()):
        outputs = held_out[pattern or mixture.names]
        rows = torch.stack([present[name] for name in pattern]).all(0) if pattern else torch.ones(len(covered)).bool()
        if int(rows.sum()) >= _THRESHOLD_ROWS:
            there = {name: result[rows] for name, result in (present if pattern else nothing).items()}
            there = {name: result & (name in pattern) for name, result in there.items()}
            best = _best_threshold(task, mixture, outputs, there, target[rows], covered[rows])
            mixture.thresholds[pattern] = best
    return dataclasses.replace(task, thresholds=(chosen,) * task.out_dim)


def _best_threshold(
    task: Task,
    mixture: Mixture,
    outputs: Mapping[str, Tensor],
    present: Mapping[str, Tensor],
    target: Tensor,
    rows: Tensor,
) -> float:
    probabilities = task.decode(mixture.combine({name: out[rows] for name, out in outputs.items()}, present, task))
    best, chosen = -1.0, 0.5
    for threshold in np.linspace(0.1, 0.6, 26):
        result = (probabilities >= threshold).float()
        both = (result * target).sum(1)
        score = float((2 * both / (result.sum(1) + target.sum(1)).clamp_min(1)).mean())
        if score > best + 1e-6:
            best, chosen = score, float(threshold)
    return chosen


def prior(task: Task, target: Tensor, weight: Tensor) -> list[float]:
    """Raw outputs that say what is known of a row of which nothing is present: class shares, or the mean."""
    share = weight / weight.sum().clamp_min(1e-12)
    if task.name == "classification":
        counts = torch.zeros(task.out_dim).index_add_(0, target, share)
        return [float(v) for v in counts.clamp_min(1e-6).log()]
    mean = (target * share[:, None]).sum(0)
    if task.name == "multilabel":
        return [float(v) for v in torch.logit(mean, eps=1e-6)]
    return [float(v) for v in mean]
