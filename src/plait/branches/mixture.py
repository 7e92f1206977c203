"""How the branches' outputs become one: weights learned on rows that the branches were not trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from plait.base import checks
from plait.base.errors import ConfigError
from plait.base.inputs import subsets_of
from plait.networks.tasks import Task

Pattern = tuple[str, ...]


def patterns(names: Sequence[str], limit: int = 5) -> list[Pattern]:
    """Patterns of presence that get weights of their own, largest first.

    All non-empty ones up to ``limit`` modalities; beyond that the full one, all but one, and each alone.

    Example:
        >>> patterns(["text", "image"])
        [('text', 'image'), ('text',), ('image',)]
    """
    sizes = range(len(names), 0, -1) if len(names) <= limit else (len(names), len(names) - 1, 1)
    return subsets_of(names, sizes)


class Saved(Protocol):
    """What a model's file says of a mixture."""

    names: Sequence[str]
    sources: Mapping[str, Sequence[str]]
    weights: Sequence[Mapping[str, Any]]
    prior: Sequence[float]
    centred: bool


class SavedWeights(Protocol):
    """Weights saved for one pattern of present modalities."""

    pattern: Sequence[str]
    weights: Mapping[str, float]


class Mixture:
    """A log-linear pool of branches, with weights for every pattern of present modalities.

    Formula: out = c + sum over branches h of w_h(pattern) (log p_h - c), w >= 0 (logits for several labels, values for a
    number); c is the log of the classes' shares, or the mean. The weights minimise the task's loss on held-out predictions;
    since their sum is free they calibrate too (it is the inverse of a temperature), and what is rare stays as rare.

    Source: stacked generalisation (Wolpert 1992); log-linear pooling (Heskes 1998); temperature scaling (Guo et al. 2017).
    """

    def __init__(
        self, names: Sequence[str], sources: Mapping[str, Pattern], prior: Sequence[float] = (), *, centred: bool = True
    ) -> None:
        """What is mixed, and around what.

        Args:
            names: modalities in schema order.
            sources: each branch's modalities.
            prior: raw outputs (out_dim,) where nothing is present; without, every class is as likely.
            centred: weights leave the prior as it is; in files of before they stretched it, too.
        """
        self.names = tuple(names)
        self.sources = dict(sources)
        self.weights: dict[Pattern, dict[str, float]] = {}
        self.prior, self.centred = list(prior), centred
        #: Of several labels: from where on one is answered when just these modalities are present.
        self.thresholds: dict[Pattern, float] = {}

    def available(self, pattern: Pattern) -> list[str]:
        """Branches that can say something when only ``pattern`` is present."""
        return [name for name, needs in self.sources.items() if set(needs) & set(pattern)]

    def fit_pattern(
        self, pattern: Pattern, outputs: Mapping[str, Tensor], task: Task, target: Tensor, weight: Tensor
    ) -> None:
        """Weights of one pattern from held-out outputs (n, out_dim) of its branches under that pattern."""
        branches = self.available(pattern)
        stacked = torch.stack([comparable(outputs[name], task) for name in branches]).double()  # (H, n, O)
        centre = self.centre(task).double()
        stacked -= centre
        target = target.double() if target.is_floating_point() else target
        share = (weight / weight.sum().clamp_min(1e-12)).double()
        start = np.full(len(branches), 1.0 / len(branches))
        pull = 2.0 / max(1, len(weight))  # a gentle pull to the plain mean, gone with many rows

        def objective(w: np.ndarray) -> tuple[float, np.ndarray]:
            leaf = torch.tensor(w, dtype=torch.float64, requires_grad=True)
            mixed = centre + torch.einsum("h,hno->no", leaf, stacked)
            loss = (task.answer_loss(mixed, target) * share).sum() + pull * distance(leaf)
            (gradient,) = torch.autograd.grad(loss, leaf)
            return float(loss.detach()), gradient.numpy()

        result = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * len(branches))
        self.weights[pattern] = {name: float(w) for name, w in zip(branches, result.x, strict=True)}

    def centre(self, task: Task) -> Tensor:
        """What weights do not stretch (out_dim,), as the branches' outputs are compared."""
        if not (self.centred and self.prior):
            return torch.zeros(task.out_dim)
        return comparable(torch.tensor([self.prior]), task)[0]

    def mixed(self, outputs: Mapping[str, Tensor], weights: Mapping[str, float], task: Task) -> Tensor:
        """Raw outputs (n, out_dim) of branches, mixed by these weights; of branches without a weight none need be there."""
        centre = self.centre(task)
        parts = [w * (comparable(outputs[name], task) - centre) for name, w in weights.items() if w]
        rows = len(next(iter(outputs.values()), [0]))
        return centre + (torch.stack(parts).sum(0) if parts else torch.zeros(rows, 1))

    def set_equal(self) -> None:
        """Equal weights for every pattern: what is left when there are no held-out rows."""
        for pattern in patterns(self.names):
            branches = self.available(pattern)
            self.weights[pattern] = dict.fromkeys(branches, 1.0 / len(branches))

    def weights_for(self, pattern: Pattern) -> dict[str, float]:
        """Weights of a pattern; for one that has none, those of the largest known one within it."""
        if pattern in self.weights:
            return self.weights[pattern]
        within = [known for known in self.weights if set(known) <= set(pattern)]
        several = [known for known in within if len(known) > 1] or within
        merged: dict[str, float] = {}
        for known in several:
            for name, w in self.weights[known].items():
                merged[name] = merged.get(name, 0.0) + w / len(several)
        return merged

    def weighing(self, present: Mapping[str, Tensor]) -> set[str]:
        """Branches whose weight is above zero in any of the rows; the others need not be asked."""
        result: set[str] = set()
        for pattern, _ in self._patterns(present):
            result |= {name for name, w in self.weights_for(pattern).items() if w}
        return result

    def _patterns(self, present: Mapping[str, Tensor]) -> Iterator[tuple[Pattern, Tensor]]:
        """Each pattern that rows have, but that of nothing, and which rows (n,) these are."""
        there = torch.stack([present[name] for name in self.names], 1)  # (n, M)
        alike = bool((there == there[:1]).all())  # as nearly always; to look for others takes its time
        for mask in there[:1] if alike else torch.unique(there, dim=0):
            pattern = tuple(name for name, on in zip(self.names, mask.tolist(), strict=True) if on)
            if pattern:
                yield pattern, (there == mask).all(1)

    def combine(self, outputs: Mapping[str, Tensor], present: Mapping[str, Tensor], task: Task) -> Tensor:
        """Mixed raw outputs (n, out_dim); rows with nothing present get the prior. Of branches without a weight none need be."""
        mixed = torch.tensor(self.prior, dtype=torch.float32).repeat(len(next(iter(present.values()))), 1)
        for pattern, rows in self._patterns(present):
            weights = self.weights_for(pattern)
            if not weights:  # of a file that knows no part of this pattern: the prior, as for nothing
                continue
            mixed[rows] = self.mixed({name: out[rows] for name, out in outputs.items()}, weights, task)
        return mixed

    def thresholds_at(self, present: np.ndarray, usual: np.ndarray) -> np.ndarray:
        """Each row's threshold for every label (n, C): that of what is present in it (n, M), or the usual one (C,)."""
        result = np.tile(np.asarray(usual, dtype=np.float64), (len(present), 1))
        for pattern, threshold in self.thresholds.items():
            result[(present == [name in pattern for name in self.names]).all(1)] = threshold
        return result

    def state(self) -> dict[str, Any]:
        """JSON values."""
        weights = [{"pattern": list(p), "weights": w} for p, w in self.weights.items()]
        return {
            "names": list(self.names),
            "sources": {k: list(v) for k, v in self.sources.items()},
            "weights": weights,
            "prior": self.prior,
            "centred": self.centred,
            "thresholds": [{"pattern": list(p), "threshold": t} for p, t in self.thresholds.items()],
        }

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Mixture:
        """Rebuild the mixture from its saved state."""
        state = {"centred": bool(state.get("centre")), **state}  # a list, for a while, of what is the prior
        checks.refuse(checks.problems(Saved, state), "mixture")
        for entry in state["weights"]:
            checks.refuse(checks.problems(SavedWeights, entry), "mixture")
            if not entry["weights"]:
                raise ConfigError(f"mixture: no weights for {', '.join(entry['pattern']) or 'a pattern of nothing'}")
            if unknown := set(entry["weights"]) - set(state["sources"]):
                raise ConfigError(f"mixture: weights of branches that there are not: {', '.join(sorted(unknown))}")
        sources = {k: tuple(v) for k, v in state["sources"].items()}
        mixture = cls(state["names"], sources, state["prior"], centred=state["centred"])
        mixture.weights = {
            tuple(w["pattern"]): {name: float(one) for name, one in w["weights"].items()} for w in state["weights"]
        }
        mixture.thresholds = {tuple(t["pattern"]): float(t["threshold"]) for t in state.get("thresholds", ())}
        return mixture


def distance(weights: Tensor) -> Tensor:
    """How far weights are from the plain mean: squared differences; that of a lone branch, above one, by its logarithm.

    Outputs that were learned in few steps may be many times too small. Of several branches the logarithm was tried, too
    (docs/quality.md): on few rows it was no better anywhere, and once much worse.
    """
    if len(weights) == 1 and weights.sum() > 1.0:
        return weights.log().square().sum()
    return (weights - 1.0 / len(weights)).square().sum()


def comparable(out: Tensor, task: Task) -> Tensor:
    """Outputs on a common scale: log-probabilities for one class of several, as they are otherwise."""
    return out.log_softmax(-1) if task.name == "classification" else out.clamp(-30, 30)
