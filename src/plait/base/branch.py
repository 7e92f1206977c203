"""The contract of every branch: what predicts from the modalities, beside others, in each cross-fitted member of a model.

Held-out predictions decide how the branches of a model are mixed, under every pattern of present modalities. There are two
kinds: a ``NetworkBranch`` brings networks, which the training loop trains together with those of other branches; a
``FittedBranch`` fits itself, once per member, on the member's own rows.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from plait.base import checks, config, registry
from plait.base.errors import ConfigError, need
from plait.base.inputs import Inputs


@dataclasses.dataclass(frozen=True)
class FoldRows:
    """The rows of a fit, and which of them one member learns from.

    Attributes:
        inputs: all rows.
        target: encoded as the task's loss takes it: places among the classes (n,), indicators (n, C), or standardised
            values (n, 1).
        weight: (n,), their mean about 1.
        fold: places of the training rows.
        valid: places of held-out rows, for stopping early; none where there are too few rows.
        task: ``classification``, ``multilabel`` or ``regression``.
        out_dim: raw outputs per row.
        seed: of everything random.
        stop: asked now and then; true: no time is left, and what is best so far is kept.
        loss: of a number: ``smooth`` L1, ``absolute`` or ``squared``.
        promising: asked once, early, by a branch that takes long, with raw outputs (valid, out_dim) of what it has so far: false
            where the networks of the member gain nothing by them. None: no one can tell.
        member: its number, from 0.
    """

    inputs: Inputs
    target: Tensor
    weight: Tensor
    fold: Tensor
    valid: Tensor
    task: str
    out_dim: int
    seed: int = 0
    stop: Callable[[], bool] = lambda: False
    loss: str = "smooth"
    promising: Callable[[Tensor], bool] | None = None
    member: int = 0


class NotWorthwhile(Exception):  # noqa: N818 - what happened
    """Ends the fit of a branch by which the others gain nothing; it is left out of all members."""


@dataclasses.dataclass(eq=False)
class Branch(registry.Named):
    """Predicts raw outputs from the encoded modalities; extend ``NetworkBranch`` or ``FittedBranch``.

    A subclass is a dataclass whose fields are its options (plain JSON values).
    """

    #: The extra of plait that brings what is imported, and a package of it; None when the base install has it.
    extra: ClassVar[str | None] = None
    package: ClassVar[str | None] = None
    #: Licence of the code and, where they differ, of the weights.
    licence: ClassVar[str] = "Apache-2.0"
    #: How it comes to its weights, as ``plait list branches`` says it.
    trained: ClassVar[str] = "by itself"

    def __post_init__(self) -> None:
        checks.check(self, f"branch {self.name()}")

    def options(self) -> dict[str, Any]:
        """The options this branch was made with, as JSON values."""
        return dataclasses.asdict(self)

    def check(self) -> None:
        """Refuse, before anything is encoded, what it could not be fitted with here; a fitted one may do without."""

    def instead(self, rows: int, features: int, outputs: int, learning: bool) -> str | None:
        """The branch that takes its place in a table of this size, where encoders learn or not.

        None: it is right itself; an empty name: none does, it is left out where others see all modalities.
        """
        return None

    def sources(self, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """The outputs it brings, each with the modalities it sees: one over all of them, unless it says otherwise."""
        return {self.name(): tuple(names)}


class NetworkBranch(Branch, ABC):
    """A branch of networks, trained in one loop with those of other branches; they share no weights."""

    trained: ClassVar[str] = "in the loop"

    def build(
        self, dims: Mapping[str, int], out_dim: int, network: Callable[[Mapping[str, int]], nn.Module]
    ) -> nn.Module:
        """One untrained network, ``forward(dict[str, Tokens]) -> raw outputs (B, out_dim)``: what ``network`` gives, or its own.

        Args:
            dims: width of each modality that this output sees.
            out_dim: raw outputs per row.
            network: makes the network that the estimator's fields (``network``, ``fusion``, ``depth``, ``layers``,
                ``width``) ask for, over modalities of the given widths.
        """
        return network(dims)


class FittedBranch(Branch, ABC):
    """A branch that fits itself on a member's training rows, and is stored as arrays and JSON values.

    Promises, held by ``plait.testing.check_branch``: outputs are finite under every pattern of present modalities, what an
    absent modality holds never matters, nor do other rows; the same seed gives the same numbers; what was saved and read
    again answers the same.
    """

    def declines(self, rows: FoldRows) -> str | None:
        """Why these rows are nothing for it (too many classes, nothing to see), in one line; None: it takes them."""
        return None

    @abstractmethod
    def fit(self, rows: FoldRows) -> None:
        """Learn from the rows ``fold``; the rows ``valid`` may only decide when to stop.

        Raises:
            NotWorthwhile: what it had after a while was not ``rows.promising``.
        """

    @abstractmethod
    def outputs(self, inputs: Inputs) -> Tensor:
        """Raw outputs (n, out_dim) as the task's loss takes them; any modality may be absent in any row."""

    @abstractmethod
    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """What ``fit`` learned: arrays, and JSON values; enough for ``load_state`` to restore it exactly."""

    @abstractmethod
    def load_state(self, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
        """Take back what ``state`` gave."""

    def weights(self) -> int:
        """Numbers that were learned."""
        return sum(array.size for array in self.state()[0].values())


def resolve(spec: str | Mapping[str, object]) -> Branch:
    """The branch of a name, or of ``{name: ..., option: ...}``.

    Example:
        >>> resolve("joint").sources(["text", "image"])
        {'joint': ('text', 'image')}
    """
    options = {"name": spec} if isinstance(spec, str) else dict(spec)
    if "name" not in options:
        raise ConfigError(f"branches: which one is {options}? expected name: {', '.join(registry.names('branches'))}")
    variant: type[Branch] = registry.find("branches", str(options.pop("name")))
    config.check_fields(options, config.fields_of(variant), f"branch '{variant.name()}'")
    if variant.package is not None:
        need(variant.package, variant.extra)
    return variant(**options)


def suited(
    specs: Sequence[str | Mapping[str, object]], rows: int, features: int, outputs: int, learning: bool
) -> tuple[str | Mapping[str, object], ...]:
    """The branches of a model for a table of this size, where encoders learn or not; none of them twice."""
    result: dict[str, str | Mapping[str, object]] = {}
    spared: dict[str, str | Mapping[str, object]] = {}
    for spec in specs:
        branch = resolve(spec)
        other = branch.instead(rows, features, outputs, learning)
        if other == "":
            spared[branch.name()] = spec
        else:
            result.setdefault(other or branch.name(), other or spec)
    whole = any(_sees_all(resolve(spec)) for spec in result.values())
    return tuple((result if whole else {**result, **spared}).values())


def _sees_all(branch: Branch) -> bool:
    """Whether one of its outputs sees all modalities."""
    return any(len(sees) > 1 for sees in branch.sources(("a", "b")).values())


def resolve_all(specs: Sequence[str | Mapping[str, object]]) -> list[Branch]:
    """The branches of a model."""
    branches = [resolve(spec) for spec in specs]
    names = [branch.name() for branch in branches]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"branches: '{twice}' stands twice")
    if not any(map(_sees_all, branches)):
        whole = [
            name for name in registry.names("branches") if name in registry.find("branches", name)().sources(("a", "b"))
        ]
        raise ConfigError(f"branches: one that sees all modalities is needed: {', '.join(whole)}")
    return branches
