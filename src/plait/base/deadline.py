"""A time budget (``minutes``): when work must end, and what was left out for it."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from plait.base.errors import ConfigError, PlaitWarning
from plait.base.progress import duration

#: Share of the budget after which an estimator trains no more: the mixture is learned in the rest.
TRAINING = 0.85
#: The same where evaluation, baselines and report follow.
BEFORE_REPORT = 0.65
#: Share of the time that is left for training in which networks end, so that branches that fit themselves have the rest.
NETWORKS = 0.6


def now() -> float:
    """Seconds of the clock that budgets go by."""
    return time.monotonic()


@dataclass
class Deadline:
    """When work must end; without ``minutes`` never.

    Attributes:
        minutes: of the whole budget.
        training: share of it after which nothing is trained any more.
        left_out: what was not done for want of time, in words.
        clock: in seconds.
        begun: when the budget began; none: now.

    Example:
        >>> seconds = iter([0.0, 30.0, 55.0])
        >>> end = Deadline(1.0, clock=lambda: next(seconds))
        >>> end.training_over(), end.training_over()
        (False, True)
    """

    minutes: float | None = None
    training: float = TRAINING
    clock: Callable[[], float] = field(default=lambda: now(), repr=False)
    left_out: list[str] = field(default_factory=list)
    begun: float | None = None

    def __post_init__(self) -> None:
        """The clock runs."""
        if self.begun is None and self.minutes is not None:
            self.begun = self.clock()

    @property
    def spent(self) -> float:
        """Seconds since the budget began; without one none."""
        return 0.0 if self.begun is None else self.clock() - self.begun

    def left(self, share: float = 1.0) -> float:
        """Seconds until this share of the budget is used up."""
        return math.inf if self.minutes is None else share * 60 * self.minutes - self.spent

    def part_of(self, count: int) -> Deadline:
        """A deadline for the next of so many equal tasks, that share what is left of the budget."""
        left = None if self.minutes is None else max(self.left(), 1.0) / 60 / count
        return Deadline(left, self.training, self.clock)

    def passed(self) -> bool:
        """Whether all of it is used up."""
        return self.left() <= 0

    def training_over(self) -> bool:
        """Whether nothing may be trained any more."""
        return self.left(self.training) <= 0

    def within(self, share: float) -> Callable[[], bool]:
        """Says, when asked, whether a share of the time that training has left now is used up."""
        left = self.left(self.training)
        if math.isinf(left):
            return lambda: False
        end = left * (1 - share)
        return lambda: self.left(self.training) <= end

    def check_encoding(self, name: str, done: int, total: int) -> None:
        """Refuse to go on with an encoding that leaves no time to train.

        Raises:
            ConfigError: the time for training is used up, or will be before the cells are encoded.
        """
        if done < total and self.training_over():
            raise ConfigError(
                f"minutes {self.minutes:g}: too short for encoding '{name}': {done:,} of {total:,} cells after "
                f"{duration(self.spent)}; they are in the store unless that is off, so the next fit goes on from there; "
                "allow more minutes, or take a lighter encoder (quality: light)"
            )

    def check_training(self) -> None:
        """Refuse to begin training when its time is used up.

        Raises:
            ConfigError: it is.
        """
        if self.training_over():
            raise ConfigError(
                f"minutes {self.minutes:g}: too short to train anything: reading and encoding took "
                f"{duration(self.spent)}; allow more minutes, or take fewer rows"
            )

    def room(self, what: str, share: float) -> bool:
        """Whether less than this share of the budget is used up; if not, ``what`` is left out."""
        if self.left(share) > 0:
            return True
        self.left_out.append(what)
        return False

    def note(self, record: dict[str, Any]) -> None:
        """Write into a fit's record what was given and left out."""
        if self.minutes is not None:
            record["minutes"] = {"given": self.minutes, "left_out": list(self.left_out)}

    def tell(self) -> None:
        """Warn of what was left out, in one line."""
        if self.left_out:
            said = f"minutes {self.minutes:g}: no time was left for {', '.join(self.left_out)}"
            warnings.warn(said, PlaitWarning, stacklevel=3)
