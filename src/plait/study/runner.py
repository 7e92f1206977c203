"""The loop that keeps every worker busy and every result: claims, lines, limits, and what is left when it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from plait.study.engine import Engine, Event, about_run, encoder_key, encoder_of
from plait.study.folder import StudyFolder
from plait.study.runs import Run, Schedule
from plait.study.spec import Budget
from plait.study.state import State

#: Looks at all lines so far and names the variants that need no more runs.
Race = Callable[[Sequence[Mapping[str, Any]]], Collection[str]]
#: Seconds between looks at limits, and at what other runners have done.
TICK, ELSEWHERE = 0.25, 1.0


class Runner:
    """Does the runs of one study that are not done yet."""

    def __init__(
        self,
        folder: StudyFolder,
        engine: Engine,
        schedule: Schedule,
        state: State,
        *,
        budget: Budget,
        weights: dict[str, int],
        kinds: Mapping[tuple[int, str], str],
        race: Race | None = None,
    ) -> None:
        """Take what is needed.

        ``weights`` of frozen encoders by ``encoder_key`` grow on the way; ``kinds``: (table, modality) -> kind.
        """
        self._folder, self._engine, self._state, self._budget = folder, engine, state, budget
        self._weights, self._kinds, self._race = weights, kinds, race
        self._schedule = schedule
        self._elsewhere: dict[str, Run] = {}
        self._looked = 0.0
        #: Worker -> its run, and when that began.
        self._flying: dict[int, tuple[Run, float]] = {}
        self._left_out = self._stuck = False
        #: Pieces of encodings that are done, of so many; a race whose pieces are all done tries one run in any case.
        self.encoded = (0, 0)
        state.deadline = None if self._budget.minutes is None else state.begun + 60 * self._budget.minutes

    # -- encoding ----------------------------------------------------------------------------------------------------

    def encode(self, jobs: Sequence[Mapping[str, object]]) -> None:
        """All pieces, on all workers; one that fails is left to the runs that need it, which will say why."""
        waiting, begun, done = list(jobs), 0, 0
        self._state.encoding = self._state.encodings = len(jobs)
        while waiting or begun:
            for worker in self._engine.idle():
                if waiting and not self._over():
                    self._engine.submit(worker, waiting.pop(0))
                    begun += 1
            for event in self._engine.events(TICK):
                begun, done = begun - 1, done + (event.died is None)
                self._state.encoding -= 1
                if "weights" in event.facts:
                    self._weights[str(event.facts["key"])] = int(event.facts["weights"])
            if self._over() and not begun:
                break
        self._state.encoding, self.encoded = 0, (done, len(jobs))

    # -- running -----------------------------------------------------------------------------------------------------

    def run(self, share: float = 1.0) -> None:
        """Until nothing is left, or a share of the budget is spent: a run that would not end in time is not begun.

        But the first one of a race whose cells are all encoded: another call would have to start as long, and come no further.
        """
        if self._state.deadline is not None:
            self._state.deadline -= (1 - share) * (self._state.budget_left() or 0)
        while True:
            if not self._over() or self._first():
                self._begin()
            elif not self._flying:
                self._state.spent = bool(len(self._schedule) or self._elsewhere)
                return
            if not self._flying and not self._elsewhere and (self._stuck or not len(self._schedule)):
                self._state.spent = self._left_out
                return
            for event in self._engine.events(TICK if self._flying else ELSEWHERE / 4):
                self._end(event)
            self._limits()

    def _first(self) -> bool:
        done, pieces = self.encoded
        return self._race is not None and done == pieces and not self._flying and not self._state.latest()

    def _over(self) -> bool:
        return self._state.budget_left() == 0

    def _too_long(self, run: Run) -> bool:
        """It would end after the time given, by what runs like it took; one that nothing is known of is tried."""
        left = self._state.budget_left()
        return left is not None and (self._state.seconds_of(run) or 0.0) > left

    def _begin(self) -> None:
        """Give every idle worker a run that nobody has; without one although all are idle, nothing more will come."""
        self._stuck = False
        for worker in self._engine.idle():
            run = self._claimed(worker)
            if run is None:
                self._stuck = True
                return
            self._flying[worker] = run, time.monotonic()
            self._state.flying = len(self._flying)
            self._engine.submit(worker, {"kind": "run", "run": run.to_dict()})

    def _claimed(self, worker: int) -> Run | None:
        while (run := self._schedule.next(worker)) is not None:
            if self._too_long(run):
                self._left_out = True
                continue
            if not self._folder.claim(run.name):
                self._elsewhere[run.name] = run
                continue
            if self._still_waits(run):
                return run
        return self._from_elsewhere()

    def _still_waits(self, run: Run) -> bool:
        """Another runner may have finished it between our last look and the claim."""
        self._state.add(self._folder.lines())
        if self._state.waits(run.name):
            return True
        self._folder.give_back(run.name)
        return False

    def _from_elsewhere(self) -> Run | None:
        """Runs that other runners claimed: done by now, or free again because their runner was killed."""
        if not self._elsewhere or time.monotonic() - self._looked < ELSEWHERE:
            return None
        self._looked = time.monotonic()
        self._state.add(self._folder.lines())
        for name, run in list(self._elsewhere.items()):
            if not self._state.waits(name):
                del self._elsewhere[name]
            elif self._folder.claim(name):
                del self._elsewhere[name]
                if self._still_waits(run):
                    return run
        return None

    def _end(self, event: Event) -> None:
        if event.worker not in self._flying:
            return  # a piece of encoding that outlived its stage
        run, began = self._flying.pop(event.worker)
        if event.finished is not None:
            line = dict(event.finished.line)
            self._folder.keep(run.name, event.finished.arrays, event.finished.epochs, event.finished.trace)
        else:
            line = {**about_run(run, datetime.now(UTC)), "reason": event.died}
            line["seconds"] = {"total": round(time.monotonic() - began, 3)}
        if "weights" in line:
            line["weights"] = {**line["weights"], "frozen": self._frozen(run)}
        self._folder.append(line)
        self._folder.give_back(run.name)
        self._state.flying = len(self._flying)
        self._state.add(self._folder.lines())
        self._stop_poor()

    def _frozen(self, run: Run) -> int:
        keys = [encoder_key(run.data, name, encoder_of(run, name, self._kinds[run.data, name])) for name in run.subset]
        return sum(self._weights.get(key, 0) for key in keys)

    def _stop_poor(self) -> None:
        """Racing: variants that need no more runs."""
        poor = set(self._race(self._state.latest())) if self._race is not None else set()
        for run in self._schedule.drop(poor) if poor else ():
            if self._folder.claim(run.name):
                line = {**about_run(run, datetime.now(UTC)), "status": "stopped", "reason": "stopped by racing"}
                self._folder.append(line)
                self._folder.give_back(run.name)
        if poor:
            self._state.add(self._folder.lines())

    def _limits(self) -> None:
        """Stop runs that take too long or too much memory."""
        for worker, (_, began) in self._flying.items():
            minutes, most = (time.monotonic() - began) / 60, self._budget.run_minutes
            if most is not None and minutes > most:
                self._engine.stop(worker, f"stopped after {minutes:.1f} minutes; budget: run_minutes allows {most:g}")
            memory = self._budget.memory_mb
            used = self._engine.memory_mb(worker) if memory is not None else None
            if memory is not None and used is not None and used > memory:
                self._engine.stop(worker, f"used {used:,.0f} MB of memory; budget: memory allows {memory:,.0f} MB")
