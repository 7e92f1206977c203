"""What is predicted: one class, several classes, or a number; each with its loss and how its output is read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from plait.base.errors import TableError, nearest
from plait.data.labels import from_plain, label_array, to_plain
from plait.metrics.base import answered
from plait.networks.transforms import Transform

#: Share of the training targets' range by which an answer may leave it.
BEYOND = 0.1
#: Name -> loss of a number.
LOSSES: dict[str, Callable[..., Tensor]] = {
    "smooth": functional.smooth_l1_loss,
    "absolute": functional.l1_loss,
    "squared": functional.mse_loss,
}


@dataclass(frozen=True)
class Task(ABC):
    """How a target becomes a tensor, how outputs are judged, and how they become answers.

    Shape:
        out: (B, out_dim) raw outputs of a network.
        decoded: (B, C) probabilities, or (B,) values.
    """

    name: ClassVar[str]
    main_metric: ClassVar[str]
    #: The metric that leads, where it is not the usual one.
    lead: str = field(default="", kw_only=True)

    @property
    @abstractmethod
    def out_dim(self) -> int:
        """Raw outputs per row."""

    @classmethod
    @abstractmethod
    def learn(cls, y: np.ndarray, weight: np.ndarray) -> Task:
        """The task for this target (n,) or (n, C) and these row weights (n,)."""

    @abstractmethod
    def encode(self, y: np.ndarray) -> Tensor:
        """The target as the loss takes it; ``y`` are places among the classes (n,), indicators (n, C), or values (n,)."""

    @abstractmethod
    def row_loss(self, out: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
        """Loss of each row (B,)."""

    def answer_loss(self, out: Tensor, target: Tensor) -> Tensor:
        """Loss of each row (B,) by which answers are compared, in the target's own unit."""
        return self.row_loss(out, target)

    @abstractmethod
    def decode(self, out: Tensor) -> Tensor:
        """Raw outputs to probabilities or values."""

    @abstractmethod
    def answer(self, decoded: np.ndarray) -> np.ndarray:
        """Probabilities or values to what ``predict`` gives."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What ``learn`` found, as JSON values."""

    def strata(self, y: np.ndarray) -> np.ndarray:
        """A label (n,) by which folds are kept alike."""
        return np.zeros(len(y), dtype=np.int64)


@dataclass(frozen=True)
class Classification(Task):
    """One class of several: softmax and cross-entropy.

    Attributes:
        classes: in the order of the outputs.
        unlearned: places of classes that no row of a weight above 0 has; their probability is 0.
        costs: what answering a class (second) costs where another one (first) is true; answers keep the expected cost low.
        class_weights: the class of the largest product with its probability is answered; none: the most probable one.
    """

    name: ClassVar[str] = "classification"
    main_metric: ClassVar[str] = "accuracy"
    classes: tuple[Any, ...]
    unlearned: tuple[int, ...] = ()
    costs: tuple[Sequence[float], ...] = ()
    class_weights: tuple[float, ...] = ()

    @property
    def out_dim(self) -> int:
        return len(self.classes)

    @classmethod
    def learn(cls, y: np.ndarray, weight: np.ndarray) -> Classification:
        """As many classes as there are codes; the estimator names them."""
        codes = np.unique(y)
        if len(codes) < 2:
            raise TableError(f"the target holds one class only ({codes[0]!r}); at least two are needed")
        return cls(tuple(range(len(codes))))

    def encode(self, y: np.ndarray) -> Tensor:
        """The place of each row's class (n,)."""
        return torch.from_numpy(np.asarray(y, dtype=np.int64))

    def row_loss(self, out: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
        """Cross-entropy (B,)."""
        # By logsumexp: torch's softmax over a short last axis is four times slower on a CPU.
        learned = self._learned(out)
        total = learned.logsumexp(1)
        chosen = total - out.gather(1, target[:, None])[:, 0]
        return chosen if smoothing <= 0 else (1 - smoothing) * chosen + smoothing * (total - learned.mean(1))

    def decode(self, out: Tensor) -> Tensor:
        if not self.unlearned:
            return out.softmax(-1)
        return out.index_fill(-1, torch.tensor(self.unlearned, device=out.device), -torch.inf).softmax(-1)

    def _learned(self, out: Tensor) -> Tensor:
        places = [i for i in range(len(self.classes)) if i not in self.unlearned]
        return out[..., places] if self.unlearned else out

    def answer(self, decoded: np.ndarray) -> np.ndarray:
        result: np.ndarray = label_array(list(self.classes))[answered(decoded, self.decides)]
        return result

    @property
    def decides(self) -> np.ndarray:
        """Costs (C, C), or weights (C,), by which a class is answered; empty where the most probable one is."""
        return np.asarray(self.costs or self.class_weights, dtype=np.float64)

    def state(self) -> dict[str, Any]:
        facts = {name: list(getattr(self, name)) for name in ("unlearned", "costs", "class_weights")}
        return {"classes": to_plain(self.classes), **{name: fact for name, fact in facts.items() if fact}}

    def strata(self, y: np.ndarray) -> np.ndarray:
        """The class itself."""
        return np.asarray(y, dtype=np.int64)


@dataclass(frozen=True)
class Multilabel(Task):
    """Any number of classes at once: one sigmoid and binary cross-entropy each.

    The target is an indicator matrix (n, C).
    """

    name: ClassVar[str] = "multilabel"
    main_metric: ClassVar[str] = "f1_samples"
    classes: tuple[Any, ...]
    thresholds: tuple[float, ...] = ()

    @property
    def out_dim(self) -> int:
        return len(self.classes)

    @classmethod
    def learn(cls, y: np.ndarray, weight: np.ndarray) -> Multilabel:
        """As many classes as columns; the estimator names them."""
        return cls(tuple(range(y.shape[1])))

    def encode(self, y: np.ndarray) -> Tensor:
        """The indicators as float (n, C)."""
        if y.ndim != 2 or y.shape[1] != len(self.classes):
            raise TableError(f"a multi-label target needs {len(self.classes)} indicator columns, found shape {y.shape}")
        return torch.tensor(y, dtype=torch.float32)

    def row_loss(self, out: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
        """Mean binary cross-entropy over the classes (B,)."""
        soft = target * (1 - smoothing) + smoothing / 2
        return functional.binary_cross_entropy_with_logits(out, soft, reduction="none").mean(-1)

    def decode(self, out: Tensor) -> Tensor:
        return out.sigmoid()

    def answer(self, decoded: np.ndarray) -> np.ndarray:
        thresholds = np.asarray(self.thresholds or [0.5] * self.out_dim)
        return (decoded >= thresholds).astype(np.int64)

    def state(self) -> dict[str, Any]:
        return {"classes": to_plain(self.classes), "thresholds": list(self.thresholds)}

    def strata(self, y: np.ndarray) -> np.ndarray:
        """The rarest class that a row holds: folds keep rare classes apart."""
        order = np.argsort(y.sum(0), kind="stable")
        return np.where(y.any(1), np.argmax(y[:, order], axis=1), len(order))


@dataclass(frozen=True)
class Regression(Task):
    """A number: smooth L1 on the standardised target, which a few wild values do not rule.

    Attributes:
        mean: of the transformed target.
        scale: its standard deviation.
        transform: what is done to the target first (``plait.networks.transforms``).
        parameters: of the transform.
        span: outputs between which a transform is undone: beyond, it would say what no training row comes near to.
        least: below which no answer falls; None: there is no such bound.
        unit: standard deviation of the target itself; 0: ``scale``.
        loss: ``smooth`` L1, ``absolute`` or ``squared``.
        offset: added to an output before the transform is undone: the mean of an amount is not that of its logarithm.
    """

    name: ClassVar[str] = "regression"
    main_metric: ClassVar[str] = "r2"
    mean: float = 0.0
    scale: float = 1.0
    transform: str = "none"
    parameters: tuple[float, ...] = ()
    span: tuple[float, ...] = ()
    least: float | None = None
    unit: float = 0.0
    loss: str = "smooth"
    offset: float = 0.0

    @property
    def out_dim(self) -> int:
        return 1

    @classmethod
    def learn(cls, y: np.ndarray, weight: np.ndarray, transform: str = "none") -> Regression:
        """Weighted mean and standard deviation; a target without negative values has no negative answer."""
        seen = y[weight > 0]
        change = Transform.learn(transform, seen)
        z = change.forward(y)
        mean, scale = _moments(z, weight)
        result = cls(mean, scale, least=0.0 if seen.min() >= 0 else None)
        if transform == "none":
            return result
        room = BEYOND * float(np.ptp(seen))
        low, high = (change.forward(np.array([seen.min() - room, seen.max() + room])) - mean) / scale
        facts: dict[str, Any] = {"parameters": change.parameters, "span": (float(low), float(high))}
        return replace(result, transform=transform, unit=_moments(y, weight)[1], **facts)

    @property
    def _change(self) -> Transform:
        return Transform(self.transform, self.parameters)

    def encode(self, y: np.ndarray) -> Tensor:
        """Transformed and standardised (n, 1)."""
        z = self._change.forward(np.asarray(y, dtype=np.float64))
        return torch.tensor((z - self.mean) / self.scale, dtype=torch.float32)[:, None]

    def row_loss(self, out: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
        """Smooth L1 (B,), or what ``loss`` says."""
        return LOSSES[self.loss](out, target, reduction="none").mean(-1)

    def answer_loss(self, out: Tensor, target: Tensor) -> Tensor:
        """The loss between answers and targets in the target's own unit, by its standard deviation (B,)."""
        if self.transform == "none":
            return self.row_loss(out, target)
        said, true = self.decode(out) / self.unit, self.undone(target) / self.unit
        return LOSSES[self.loss](said, true, reduction="none")

    def decode(self, out: Tensor) -> Tensor:
        return self.undone(out + self.offset if self.offset else out)

    def undone(self, encoded: Tensor) -> Tensor:
        """What ``encode`` gave, back in the target's own unit (B,)."""
        z = encoded[..., 0].clamp(*self.span) if self.span else encoded[..., 0]
        values = self._change.inverse(z * self.scale + self.mean)
        return values if self.least is None else values.clamp_min(self.least)

    def answer(self, decoded: np.ndarray) -> np.ndarray:
        return decoded

    def state(self) -> dict[str, Any]:
        facts = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "lead"}
        usual = {f.name: f.default for f in fields(self)}
        kept = {k: list(v) if isinstance(v, tuple) else v for k, v in facts.items() if v != usual[k]}
        return {"mean": self.mean, "scale": self.scale} | kept

    def strata(self, y: np.ndarray) -> np.ndarray:
        """Quintiles of the target."""
        edges = np.quantile(y, [0.2, 0.4, 0.6, 0.8])
        return np.searchsorted(edges, y).astype(np.int64)


def _moments(y: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Weighted mean and standard deviation; 1 for what does not vary."""
    mean = float(np.average(y, weights=weight))
    scale = float(np.sqrt(np.average((y - mean) ** 2, weights=weight)))
    return mean, scale if scale > max(1e-12 * abs(mean), 1e-150) else 1.0


TASKS: dict[str, type[Task]] = {t.name: t for t in (Classification, Multilabel, Regression)}


def task_class(name: str) -> type[Task]:
    """The task of that name."""
    if name not in TASKS:
        raise TableError(f"unknown task '{name}': {nearest(name, TASKS)}")
    return TASKS[name]


def restore(name: str, state: Mapping[str, Any]) -> Task:
    """A task from its saved state."""
    kind = task_class(name)
    settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in state.items()}
    if "classes" in settings:
        settings["classes"] = tuple(from_plain(settings["classes"]))
    return kind(**settings)
