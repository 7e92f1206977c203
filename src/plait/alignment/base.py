"""The contract of every contrastive stage: pairs in, a network that takes each modality into one space out."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, ClassVar

from plait.alignment.network import AlignmentNetwork
from plait.alignment.pairs import Pairs
from plait.base import checks, config, registry
from plait.base.encoder import Encoder
from plait.base.errors import ConfigError


@dataclasses.dataclass(eq=False, kw_only=True)
class Alignment(ABC):
    """Pulls modalities of one thing towards each other.

    A subclass is a dataclass whose fields are its options (plain JSON values).
    """

    #: Learned by gradient, epoch by epoch; False: solved for.
    learned: ClassVar[bool] = True
    #: Takes the features of frozen encoders; False: what the encoders prepared, to train them too.
    frozen: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse options that are not what their annotations say."""
        checks.check(self, f"alignment {self.name()}")

    @classmethod
    def name(cls) -> str:
        """The name in the registry: the file's name, or the one it was registered by."""
        return registry.name_of(cls)

    @classmethod
    def facts(cls) -> dict[str, str]:
        """What ``plait list alignment`` shows beside name and summary."""
        return {"fitted": "by gradient" if cls.learned else "solved", "encoders": "frozen" if cls.frozen else "trained"}

    def options(self) -> dict[str, Any]:
        """The options this stage was made with, as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def restored(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a saved folder, with what an earlier version meant by leaving one out."""
        return dict(options)

    def takes(self, encoder: Encoder) -> str:
        """What enters of this encoder: its ``vectors``, its own ``tokens``, or what it ``prepared``, to be trained too."""
        return "vectors" if self.frozen else "prepared"

    def pairs_of(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """Which modalities are compared: all pairs; the loss is the mean over them.

        Raises:
            ConfigError: fewer than two modalities.
        """
        if len(names) < 2:
            raise ConfigError(f"alignment needs two modalities or more, found {', '.join(names) or 'none'}")
        return list(combinations(names, 2))

    @abstractmethod
    def network(self, dims: Mapping[str, int]) -> AlignmentNetwork:
        """The network for modalities of these widths, before it has learned; draws from torch's global generator."""

    def network_over(self, encoders: Mapping[str, Encoder], dims: Mapping[str, int]) -> AlignmentNetwork:
        """The network behind these encoders; only a stage that trains them looks at them."""
        return self.network(dims)

    @abstractmethod
    def fit(
        self, network: AlignmentNetwork, pairs: Pairs, *, seed: int, progress: bool | None = None
    ) -> list[dict[str, Any]]:
        """Let the network learn from pairs, in place; one record per epoch.

        Raises:
            TableError: there is nothing to learn from.
        """


def make_stage(spec: str | Mapping[str, Any]) -> Alignment:
    """The stage that a name, or ``{name: ..., option: ...}``, asks for.

    Raises:
        ConfigError: no such stage or option; the message names the nearest one.

    Example:
        >>> make_stage({"name": "cca", "components": 8}).components
        8
    """
    options = {"name": spec} if isinstance(spec, str) else dict(spec) if isinstance(spec, Mapping) else {}
    if "name" not in options:
        known = ", ".join(registry.names("alignment"))
        raise ConfigError(f"stage: name it, as in {{name: context, width: 128}}; known: {known}")
    variant: type[Alignment] = registry.find("alignment", str(options.pop("name")))
    return config.build(variant, options, f"stage {variant.name()}")
