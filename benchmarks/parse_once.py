"""Seconds before training on a wide table of text, and how often each of its words is read on the way there.

    python benchmarks/parse_once.py --before ../earlier/src  # processor seconds, and their ratio
    python benchmarks/parse_once.py --count --rows 5000

It asks for nothing that is new, so that it runs with PYTHONPATH at the ``src`` of an earlier version, too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from plait.data import dates, numbers, schema, table, values
from plait.estimators import fitting
from plait.workflow import fit as fit_workflow

_WORDS = ("red", "green", "quick", "slow", "table", "river", "stone", "paper", "light", "garden", "winter", "market")


def make(rows: int, seed: int = 0) -> pd.DataFrame:
    """Ten numbers, four categories, two dates, two booleans, one short text, one code, and a target of two classes."""
    rng = np.random.default_rng(seed)
    size = rng.normal(size=(rows, 10))
    frame: dict[str, Any] = {f"number{i}": np.char.mod("%.4f", 10 * size[:, i] + i) for i in range(10)}
    frame |= {f"category{i}": rng.choice([f"c{i} {k}" for k in range(5 * 3**i)], rows) for i in range(4)}
    days = np.datetime64("2015-01-01") + rng.integers(0, 3000, (rows, 2))
    frame |= {"day0": days[:, 0].astype(str), "day1": pd.Series(days[:, 1]).dt.strftime("%d/%m/%Y").to_numpy()}
    frame |= {"flag0": rng.choice(["yes", "no"], rows), "flag1": rng.choice(["true", "false"], rows)}
    frame["text"] = [" ".join(words) for words in rng.choice(_WORDS, (rows, 5))]
    frame["code"] = np.char.mod("%05d", rng.choice(rng.integers(0, 99999, 800), rows))
    frame["target"] = np.where(size[:, 0] + rng.normal(size=rows) > 0, "up", "down")
    return pd.DataFrame(frame, dtype=object)


class _Enough(Exception):  # noqa: N818  # no error: training would begin here
    pass


def before_training(path: Path) -> dict[str, float]:
    """Processor seconds of reading, of the schema, and of all that ``fit`` does before training."""
    clock = time.process_time()
    frame = table.read_table(path)
    frame = getattr(table, "typed", lambda frame: frame)(frame)
    read = time.process_time()
    known = schema.infer(frame, target="target")
    inferred = time.process_time()
    step: Any = fitting  # the same in the version before
    prepare = step.prepare

    def stop(*given: Any) -> None:
        prepare(*given)
        raise _Enough

    step.prepare = stop
    try:
        fit_workflow.fit_table(
            frame, known, {"store": "none", "progress": False, "random_state": 0, "encoders": {"text": "hashed_ngrams"}}
        )
    except _Enough:
        pass
    finally:
        step.prepare = prepare
    done = time.process_time()
    return {"read": read - clock, "infer": inferred - read, "fit": done - inferred, "after reading": done - read}


def count(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """How often each distinct word is read, by kind of column (rows) and by what reads it (columns)."""
    kind = {w: c.rstrip("0123456789") for c in frame.columns for w in frame[c].unique()}
    calls: Counter[tuple[str, str]] = Counter()

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(value: Any, *more: Any) -> Any:
            if isinstance(value, str) and value in kind:
                calls[kind[value], name] += 1
            return function(value, *more)

        return wrapper

    readers: dict[str, Callable[..., Any]] = {"number": numbers.read, "date": dates.clean, "text": values.text_of}
    for name, function in readers.items():
        wrapper = counted(name, function)
        for module in [m for n, m in sys.modules.items() if n.startswith("plait.")]:
            for attribute in [a for a, v in vars(module).items() if v is function]:
                setattr(module, attribute, wrapper)
    before_training(path)
    words = Counter(kind.values())
    result = {k: {name: round(calls[k, name] / words[k], 2) for name in readers} for k in words}
    return pd.DataFrame(result).T


def ratio(rows: int, runs: int, before: str) -> None:
    """Seconds of both versions, each run in a process of its own and in turns; the best of each, and their ratio."""
    best: dict[str, dict[str, float]] = {"before": {}, "now": {}}
    for _ in range(runs):
        for version, source in (("before", before), ("now", os.environ.get("PYTHONPATH", ""))):
            command = [sys.executable, __file__, "--rows", str(rows)]
            answer = subprocess.run(
                command, env={**os.environ, "PYTHONPATH": source}, capture_output=True, text=True, check=True
            )
            for name, seconds in json.loads(answer.stdout).items():
                best[version][name] = min(seconds, best[version].get(name, seconds))
    for name, seconds in best["before"].items():
        print(f"{name}: {seconds:.1f} s before, {best['now'][name]:.1f} s now, {seconds / best['now'][name]:.2f} times")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--count", action="store_true", help="count readings instead of seconds")
    parser.add_argument("--before", help="the src of another version to compare with")
    options = parser.parse_args()
    if options.before:
        ratio(options.rows, options.runs, options.before)
        return
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.csv")
        frame = make(options.rows)
        frame.to_csv(path, index=False)
        print(count(frame, path).to_string() if options.count else json.dumps(before_training(path)))


if __name__ == "__main__":
    main()
