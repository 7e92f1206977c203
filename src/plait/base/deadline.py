"""A time budget (``minutes``): when work must end, and what was left out for it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from plait.base.errors import ConfigError, warn

#: Share of the budget after which an estimator trains no more, at the latest: the mixture is learned in the rest.
TRAINING = 0.85
#: The same where evaluation, baselines and report follow.
BEFORE_REPORT = 0.65
#: Share of the time that is left for training in which networks end, so that branches that fit themselves have the rest.
NETWORKS = 0.6


#: Seconds of the processor in which one member answers one row under one pattern (Hearthstone: 1,724 features, 13 classes),
#: in which a mixture is learned, and in which a branch makes a row ready for itself; and in which a page and all files are
#: written (rounded up).
ANSWER, MIXTURE, READY, PAGE = 2e-5, 0.4, 1e-4, 1.7
#: Slowest that the machine is taken for: a process that waits for a disk is not slowed down by as much as it seems.
SLOWEST = 20.0


def now() -> float:
    """Seconds of the clock that budgets go by."""
    return time.monotonic()


def busy() -> float:
    """Seconds of the processor that this process has used: how far the clock is ahead shows what else the machine does."""
    return time.process_time()


def duration(seconds: float) -> str:
    """Seconds as people read them.

    Example:
        >>> duration(42), duration(200), duration(7320)
        ('42 s', '3 min 20 s', '2 h 2 min')
    """
    seconds = round(seconds)
    if seconds < 100:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


@dataclass
class Deadline:
    """When work must end; without ``minutes`` never.

    Attributes:
        minutes: of the whole budget.
        training: share of it after which nothing is trained any more.
        clock: in seconds.
        left_out: what was not done for want of time, in words.
        begun: when the budget began; none: now.
        used: seconds of the processor that the process had used then; none where it began before: with the process.
        after: seconds of the processor that what follows training is expected to take.
        encoding: seconds of the clock in which a row is encoded, once that was measured.

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
    after: float = 0.0
    used: float = 0.0
    encoding: float = 0.0

    def __post_init__(self) -> None:
        if self.begun is None and self.minutes is not None:
            self.begun, self.used = self.clock(), busy()

    @property
    def spent(self) -> float:
        """Seconds since the budget began; without one none."""
        return 0.0 if self.begun is None else self.clock() - self.begun

    def lasting(self, seconds: float) -> float:
        """What so many seconds of the processor will take by the clock, as slow as this machine has been so far.

        Example:
            >>> Deadline(1.0, clock=lambda: 1e6, begun=0.0, used=busy()).lasting(2.0)  # it is taken for no slower
            40.0
        """
        return seconds * self._slowness(self.spent) if seconds else 0.0

    def _slowness(self, spent: float) -> float:
        return min(max(spent / max(busy() - self.used, 0.05), 1.0), SLOWEST)

    def left(self, share: float = 1.0) -> float:
        """Seconds until this share of the budget is used up."""
        return math.inf if self.minutes is None else share * 60 * self.minutes - self.spent

    def part_of(self, count: int) -> Deadline:
        """A deadline for the next of so many equal tasks, that share what is left of the budget."""
        left = None if self.minutes is None else max(self.left(), 1.0) / 60 / count
        return Deadline(left, self.training, self.clock, after=self.after)

    def passed(self) -> bool:
        """Whether all of it is used up."""
        return self.left() <= 0

    def for_training(self) -> float:
        """Seconds that are left for training: its share of the budget, and what follows must fit into the rest."""
        if self.minutes is None:
            return math.inf
        spent, whole = self.spent, 60 * self.minutes
        return min(self.training * whole, whole - self.after * self._slowness(spent)) - spent

    @contextmanager
    def expecting(self, seconds: float) -> Iterator[None]:
        """Within the block more is expected to follow training: so many seconds of the processor."""
        self.after += seconds
        try:
            yield
        finally:
            self.after -= seconds

    def training_over(self) -> bool:
        """Whether nothing may be trained any more."""
        return self.for_training() <= 0

    def within(self, share: float) -> Callable[..., bool]:
        """Says, when asked, whether a share of the time that training has left now is used up, or will be in ``more`` seconds."""
        end = self.for_training() * (1 - share)
        return lambda more=0.0: math.isfinite(end) and self.for_training() - more <= end

    def check_encoding(self, name: str, done: int, total: int) -> None:
        """Refuse to go on with an encoding that leaves no time to train."""
        if done < total and self.training_over():
            raise ConfigError(
                f"minutes {self.minutes:g}: too short for encoding '{name}': {done:,} of {total:,} cells after "
                f"{duration(self.spent)}; they are in the store unless that is off, so the next fit goes on from there; "
                "allow more minutes, or name a lighter encoder (plait list encoders), as hashed_ngrams for text"
            )

    def check_begun(self) -> None:
        """Refuse a budget that is too short whatever comes, as soon as that is known: work gets no faster than by now."""
        if self.minutes is None:
            return
        spent, whole = self.spent, 60 * self.minutes
        if min(self.training * whole, whole - self.after) <= spent:
            follows = f", and what follows training takes {duration(self.after)} and more" if self.after else ""
            raise ConfigError(
                f"minutes {self.minutes:g}: too short to train anything: {duration(spent)} of {whole:.3g} s are over"
                f"{follows}; allow more minutes"
            )

    def check_training(self) -> None:
        """Refuse to begin training when its time is used up."""
        if self.training_over():
            raise ConfigError(
                f"minutes {self.minutes:g}: too short to train anything: reading and encoding took "
                f"{duration(self.spent)}{self._busy_words()}; allow more minutes, or take fewer rows"
            )

    def _busy_words(self) -> str:
        """What follows training, and how little of the processor there was for it, where that is why there is no time."""
        slowness = self._slowness(self.spent)
        if self.left(self.training) <= 0 or slowness < 2:
            return ""
        return f" and what follows will take {duration(self.after * slowness)}, as the machine does other things, too"

    def room(self, what: str, seconds: float) -> bool:
        """Whether so many seconds of the processor are left; if not, ``what`` is left out."""
        if self.left() > self.lasting(seconds):
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
            warn(f"minutes {self.minutes:g}: no time was left for {', '.join(self.left_out)}")
