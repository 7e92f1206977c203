"""Seconds before training on a wide table of text, and how often each of its words is read on the way there.

    python benchmarks/parse_once.py                     # seconds, best of three
    python benchmarks/parse_once.py --count --rows 20000

Run it a second time with PYTHONPATH at the ``src`` of an earlier version for the ratio; it asks for nothing that is new.
"""

from __future__ import annotations

import argparse
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
    frame = {f"number{i}": np.char.mod("%.4f", 10 * size[:, i] + i) for i in range(10)}
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
    """Seconds until the rows are ready to be learned from: reading, schema, and all that ``fit`` does before training."""
    clock = time.perf_counter()
    frame = table.read_table(path)
    frame = getattr(table, "typed", lambda frame: frame)(frame)
    read = time.perf_counter()
    known = schema.infer(frame, target="target")
    inferred = time.perf_counter()
    prepare = fitting.prepare

    def stop(*given: Any) -> None:
        prepare(*given)
        raise _Enough

    fitting.prepare = stop  # type: ignore[assignment]
    try:
        fit_workflow.fit_table(
            frame, known, {"store": "none", "progress": False, "random_state": 0, "encoders": {"text": "hashed_ngrams"}}
        )
    except _Enough:
        pass
    finally:
        fitting.prepare = prepare
    done = time.perf_counter()
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

    readers = {"number": numbers.read, "date": dates.clean, "text": values.text_of}
    for name, function in readers.items():
        wrapper = counted(name, function)
        for module in [m for n, m in sys.modules.items() if n.startswith("plait.")]:
            for attribute in [a for a, v in vars(module).items() if v is function]:
                setattr(module, attribute, wrapper)
    before_training(path)
    words = Counter(kind.values())
    result = {k: {name: round(calls[k, name] / words[k], 2) for name in readers} for k in words}
    return pd.DataFrame(result).T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--count", action="store_true", help="count readings instead of seconds")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.csv")
        frame = make(options.rows)
        frame.to_csv(path, index=False)
        if options.count:
            print(count(frame, path).to_string())
            return
        runs = [before_training(path) for _ in range(3)]
        for name in runs[0]:
            print(f"{name}: {min(run[name] for run in runs):.2f} s")


if __name__ == "__main__":
    main()
