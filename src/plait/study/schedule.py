"""Which run a worker does next: neighbours that share rows stay with one worker."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from plait.study.runs import Run


class Schedule:
    """Runs that nobody has begun, by what they share."""

    def __init__(self, runs: Iterable[Run]) -> None:
        """In the order of the plan."""
        self._groups: dict[str, deque[Run]] = {}
        for run in runs:
            self._groups.setdefault(run.share, deque()).append(run)
        self._at: dict[int, str] = {}

    def __len__(self) -> int:
        """Runs that wait."""
        return sum(map(len, self._groups.values()))

    def __iter__(self) -> Iterator[Run]:
        """All that wait."""
        return (run for group in self._groups.values() for run in group)

    def next(self, worker: int) -> Run | None:
        """The next of the group that the worker is at; else of one that nobody is at; else of the longest."""
        if not self._groups:
            return None
        at = self._at.get(worker)
        if at not in self._groups:
            others = {share for other, share in self._at.items() if other != worker}
            free = [share for share in self._groups if share not in others]
            at = free[0] if free else max(self._groups, key=lambda share: len(self._groups[share]))
            self._at[worker] = at
        group = self._groups[at]
        run = group.popleft()
        if not group:
            del self._groups[at]
        return run

    def drop(self, variants: set[str]) -> list[Run]:
        """Take out all runs of these variants."""
        dropped = [run for group in self._groups.values() for run in group if run.variant in variants]
        for share, group in list(self._groups.items()):
            self._groups[share] = deque(run for run in group if run.variant not in variants)
            if not self._groups[share]:
                del self._groups[share]
        return dropped
