"""What neighbouring runs share within a process: tables, splits, and rows that are encoded and scaled."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from plait.estimators.fit_settings import FitSettings
from plait.estimators.prepared import Make, Prepared

T = TypeVar("T")


class Latest:
    """Keeps the last few things that were made.

    Example:
        >>> kept = Latest(1)
        >>> kept.get("a", lambda: 1), kept.get("a", lambda: 2), kept.get("b", lambda: 3), kept.get("a", lambda: 4)
        (1, 1, 3, 4)
    """

    def __init__(self, count: int) -> None:
        """Keep so many."""
        self._count = count
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """What is known under the key, or what ``make`` gives."""
        if key not in self._kept:
            while len(self._kept) >= self._count:  # first, so that both never lie in memory at once
                self._kept.popitem(last=False)
            self._kept[key] = make()
        self._kept.move_to_end(key)
        result: T = self._kept[key]
        return result

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()


class SharedRows:
    """The prepared rows of one group of runs; set as ``plait.estimators.prepared.SHARING`` while one of them is fitted."""

    def __init__(self) -> None:
        """Nothing is prepared yet."""
        self.prepared: Prepared | None = None
        #: Test tables and what they became: see ``FusionEstimator.remembering``.
        self.seen: list[tuple[Any, Any]] = []
        #: Test rows of one modality under a condition: see ``plait.study.models``.
        self.passes: dict[tuple[str, str], Any] = {}
        #: Of baselines: encoders, scalers, training rows and test rows (by the identity of their table), scaled.
        self.features: Any = None
        self.scalers: Any = None
        self.raw: Any = None
        self.raw_test: dict[int, Any] = {}

    def __call__(self, settings: FitSettings, make: Make) -> Prepared:
        """The rows, made by the first run that asks."""
        if settings.train or any(m.train != "frozen" for m in getattr(settings.modalities, "modalities", ())):
            return make()  # an encoder that learns leaves its mark on itself
        if self.prepared is None:
            self.prepared = make()
        return self.prepared
