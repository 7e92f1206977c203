"""Processor seconds of each phase of a warm ``plait fit`` of Hearthstone, beside those of the whole process.

    PLAIT_DATA=... OMP_NUM_THREADS=1 python benchmarks/fit_phases.py --store STORE [--rows 3000]

STORE holds Hearthstone's cells already (``warm_fit.py`` fills one), else they are encoded first. Each phase is a function that is
timed from outside by the thread that runs it: what is done on two cores in a fit is added up here, and the linear baseline, which
runs beside the judging, counts by itself. With ``--rows`` only so many of the table: no figure.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import importlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Phase -> the functions that it is made of, by module.
PHASES = {
    "types of columns": ("plait.cli.options.read_schema",),
    "equal rows, leaks": ("plait.estimators.preparing.distinct", "plait.data.leaks.of_target"),
    "encode training rows from the store": ("plait.estimators.preparing.encode",),
    "standardise and reduce features": ("plait.estimators.preparing.scalers_of",),
    "words of texts": ("plait.estimators.preparing.fit_ngrams",),
    "networks": ("plait.training.crossfit.train_members",),
    "trees": ("plait.training.crossfit.fit_branches",),
    "answers for held-out rows": ("plait.training.crossfit.HeldOut.answers",),
    "mixture": ("plait.training.crossfit.mix",),
    "encode and answer test rows": ("plait.estimators.answering.Answering.predict_subsets",),
    "evaluate, explain": ("plait.workflow.fit.evaluate", "plait.workflow.fit.explain"),
    "worth of columns": ("plait.workflow.fit.importance",),
    "linear baseline": ("plait.workflow.fit.baselines_beside",),
    "files and report": ("plait.workflow.fit.save_outcome",),
}


def timed(function: Callable[..., Any], phase: str, inside: list[str], spent: dict[str, float]) -> Callable[..., Any]:
    """The function, whose seconds count for its phase unless another phase has called it."""

    @functools.wraps(function)
    def wrapped(*values: Any, **named: Any) -> Any:
        if phase != "linear baseline" and inside:
            return function(*values, **named)
        begun = time.thread_time()
        if phase != "linear baseline":
            inside.append(phase)
        try:
            return function(*values, **named)
        finally:
            if phase != "linear baseline":
                inside.pop()
            spent[phase] = spent.get(phase, 0.0) + time.thread_time() - begun

    return wrapped


def main() -> None:
    """Fit once and print the phases."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--store", required=True)
    options.add_argument("--rows", type=int)
    given = options.parse_args()
    gc.set_threshold(100_000, 20, 50)  # as the command line has it
    begun = time.process_time()
    from plait.cli import main as plait

    importlib.import_module("plait.workflow.fit")
    spent, inside = {"imports before the fit": time.process_time() - begun}, list[str]()
    for phase, names in PHASES.items():
        for place, _, name in (each.rpartition(".") for each in names):
            try:
                owner: Any = importlib.import_module(place)
            except ModuleNotFoundError:  # a class
                module, _, kind = place.rpartition(".")
                owner = getattr(importlib.import_module(module), kind)
            setattr(owner, name, timed(getattr(owner, name), phase, inside, spent))
    data = Path(os.environ["PLAIT_DATA"]) / "hearthstone"
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(SystemExit):
        table = data / "hearthstone.csv"
        if given.rows is not None:
            import pandas as pd

            table = Path(folder) / "some.csv"
            pd.read_csv(data / "hearthstone.csv").head(given.rows).to_csv(table, index=False)
        command = [
            "fit",
            str(table),
            "--target",
            "cardClass",
            "--root",
            str(data / "images.zip"),
            "--store",
            given.store,
        ]
        plait([*command, "--out", str(Path(folder) / "model")])
    rest = time.process_time() - sum(spent.values())
    for phase, seconds in {**spent, "all else": rest, "whole process": time.process_time()}.items():
        print(f"{phase:38} {seconds:6.2f}", file=sys.stderr)


if __name__ == "__main__":
    main()
