"""Stages whose modalities all move into one new space, with one of the symmetric losses and a learned temperature."""

from __future__ import annotations

import dataclasses

from plait.alignment._learned import Learned
from plait.alignment._losses import Contrast
from plait.alignment._soft_targets import LOSSES
from plait.errors import ConfigError, nearest


@dataclasses.dataclass(eq=False, kw_only=True)
class Shared(Learned):
    """A stage with a shared space.

    Attributes:
        width: of the space.
        loss: ``soft_targets`` (Faye et al., equations 3 to 6) or ``infonce``.
        input_dropout: chance that a feature is dropped as it enters; pairs are few, and without it a head learns them by
            heart within three epochs (measured in ``docs/alignment.md``).
    """

    width: int = 256
    loss: str = "soft_targets"
    input_dropout: float = 0.5

    def __post_init__(self) -> None:
        """Refuse a loss that there is not, and widths that cannot be."""
        super().__post_init__()
        if self.loss not in LOSSES:
            raise ConfigError(f"alignment {self.name()}: unknown loss '{self.loss}': {nearest(self.loss, LOSSES)}")
        if self.width < 1:
            raise ConfigError(f"alignment {self.name()}: width {self.width}; expected at least 1")

    def contrast(self) -> Contrast:
        """The loss between two modalities."""
        return LOSSES[self.loss]()
