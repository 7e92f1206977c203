"""AdamW whose learning rate falls when the validation loss stands still."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch.nn import Parameter

from plait.optimiser import AdamW


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
    ) -> None:
        """Train ``parameters``, at the full rate to begin with."""
        super().__init__(parameters, learning_rate, weight_decay, steps=1)
        self.patience, self.fall = patience, factor
        self.level, self.best, self.waited = 1.0, math.inf, 0

    def factor(self) -> float:
        """Share of the learning rate at this step."""
        return self.level

    def observe(self, loss: float) -> None:
        """Tell the loss of an epoch."""
        if loss < self.best - 1e-6:
            self.best, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited > self.patience:
            self.level, self.waited = self.level * self.fall, 0
