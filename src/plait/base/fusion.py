"""The contract of every fusion operator: the modalities' Tokens in, one vector per row out."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from plait.base import checks, config, registry
from plait.base.errors import ConfigError, nearest
from plait.base.tokens import Tokens

#: What stands for an absent modality: ``masked``: it takes no part; ``zeros``: zeros do, as if it were there.
ABSENCE = ("masked", "zeros")


class Fusion(registry.Named, nn.Module, ABC):
    """Joins modalities. Keyword arguments of a subclass are its options.

    Promises, held by ``plait.testing.check_fusion``: what an absent modality holds never matters, other rows never matter,
    the order of the dict and padding never matter, all absent is finite, every parameter gets a gradient.
    """

    #: ``feature``: joins features; ``decision``: joins the outputs of one head per modality, raw, as the task's loss takes them.
    levels: ClassVar[tuple[str, ...]] = ("feature",)
    #: Every modality must have the same width; the network maps them to one where they have not.
    equal_widths: ClassVar[bool] = False
    #: A linear head on what it gives learns an XOR of two modalities. Where not, as with any weighted sum of what each
    #: modality gives alone, the network puts at least one joint block behind it.
    interacts: ClassVar[bool] = True
    #: A loss of its own beside the task's, of the batch that was just joined while training; None: it has none.
    own_loss: Tensor | None = None
    #: It takes single tokens; the others take each modality's mean token.
    sequences: ClassVar[bool] = False

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        """Refuse options that are not what the annotations of ``__init__`` say, before anything is built."""
        checks.check_call(cls.__init__, options, f"fusion '{cls.name()}'")
        return super().__new__(cls)

    def __init__(self, dims: Mapping[str, int], *, level: str | None = None) -> None:
        """Build for modalities of these widths, at the first of ``levels`` unless told."""
        super().__init__()
        self.level = level or self.levels[0]
        if self.level not in self.levels:
            others = [name for name in registry.names("fusion") if self.level in registry.find("fusion", name).levels]
            value = "outputs of heads (depth 'decision')" if self.level == "decision" else "features"
            only = "features" if self.level == "decision" else "outputs of heads (depth 'decision')"
            raise ConfigError(f"fusion '{self.name()}' joins {only}, not {value}; for those take {', '.join(others)}")
        self.names = sorted(dims)
        self.dims = {name: dims[name] for name in self.names}
        if self.equal_widths and len(set(self.dims.values())) > 1:
            raise ConfigError(
                f"fusion '{self.name()}' needs equal widths, found {self.dims}; "
                f"map each modality to one width first, as FusionNetwork does, or take 'concat'"
            )

    @property
    def out_dim(self) -> int:
        """Width of what comes out: that of the modalities, unless an operator says otherwise."""
        return self.width

    @abstractmethod
    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        """(B, out_dim)."""

    @classmethod
    def options(cls) -> list[str]:
        """Names of its options, beside the name in ``{name: ..., option: ...}``."""
        value = inspect.signature(cls).parameters.values()
        return [p.name for p in value if p.kind is p.KEYWORD_ONLY and p.name != "level"]

    @property
    def width(self) -> int:
        """The width of the modalities, which is one."""
        return self.dims[self.names[0]]

    def pooled(self, tokens: Mapping[str, Tokens]) -> tuple[Tensor, Tensor]:
        """Modalities of equal widths: (B, M, D) mean tokens, zeros where absent, and (B, M) bool, True where present."""
        x = torch.stack([tokens[name].pooled() for name in self.names], 1)
        return x, torch.stack([tokens[name].present for name in self.names], 1)


def shares(scores: Tensor, present: Tensor) -> Tensor:
    """Softmax over the present modalities, 0 for the absent ones: scores (B, M, ...), present (B, M) bool."""
    absent = ~present.view(*present.shape, *[1] * (scores.ndim - 2))
    return scores.masked_fill(absent, torch.finfo(scores.dtype).min).softmax(1).masked_fill(absent, 0.0)


def resolve(spec: str | Mapping[str, object]) -> tuple[type[Fusion], dict[str, Any], str]:
    """The operator, its options and the treatment of absence, from a name or ``{name: ..., absence: ..., option: ...}``.

    Example:
        >>> operator, options, absence = resolve({"name": "low_rank", "rank": 2})
        >>> operator.__name__, options, absence
        ('LowRank', {'rank': 2}, 'masked')
    """
    options = {"name": spec} if isinstance(spec, str) else dict(spec)
    if "name" not in options:
        raise ConfigError(
            f"fusion {options}: which operator? expected name: one of {', '.join(registry.names('fusion'))}"
        )
    operator: type[Fusion] = registry.find("fusion", str(options.pop("name")))
    absence = str(options.pop("absence", ABSENCE[0]))
    if absence not in ABSENCE:
        raise ConfigError(f"fusion '{operator.name()}': unknown absence '{absence}': {nearest(absence, ABSENCE)}")
    config.check_fields(options, operator.options(), f"fusion '{operator.name()}'")
    checks.check_call(operator.__init__, options, f"fusion '{operator.name()}'")
    return operator, options, absence


class Adviser(ABC):
    """Chooses settings of an estimator from the rows that it is fitted on; a dataclass whose fields are its options."""

    @abstractmethod
    def settings(self, estimator: Any, frame: pd.DataFrame, target: np.ndarray) -> dict[str, Any]:
        """What to set; the estimator's own other settings hold for every design that is looked at; target (n,) or (n, C)."""


def adviser(fusion: object) -> Adviser | None:
    """The adviser that the field ``fusion`` names, as ``auto`` or ``{name: auto, option: ...}``; None: an operator is named."""
    options = dict(fusion) if isinstance(fusion, Mapping) else {"name": fusion}
    name = options.pop("name", None)
    if not isinstance(name, str) or name not in registry.names("advisers"):
        return None
    chosen: Adviser = config.build(registry.find("advisers", name), options, f"fusion '{name}'")
    return chosen
