"""Stages whose modalities all move into one new space, with one of the symmetric losses and a learned temperature."""

from __future__ import annotations

import dataclasses
from typing import Literal

from plait.alignment._learned import Learned
from plait.alignment._losses import Contrast
from plait.alignment._soft_targets import LOSSES
from plait.checks import Part, Width


@dataclasses.dataclass(eq=False, kw_only=True)
class Shared(Learned):
    """A stage with a shared space.

    Attributes:
        width: of the space.
        loss: ``soft_targets`` (Faye et al., equations 3 to 6) or ``infonce``.
        input_dropout: chance that a feature is dropped as it enters; pairs are few, and without it a head learns them by
            heart within three epochs (measured in ``docs/alignment.md``).
    """

    width: Width = 256
    loss: Literal["soft_targets", "fixed_targets", "infonce"] = "soft_targets"
    input_dropout: Part = 0.5

    def contrast(self) -> Contrast:
        """The loss between two modalities."""
        return LOSSES[self.loss]()
