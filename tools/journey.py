"""The journey of a table into a fitted, saved and reported model: ``python tools/journey.py``.

Counts the files of plait that are entered, the pairs of files that call each other, and the calls that go up the layers of
``pyproject.toml`` (objects that were handed down). It runs with PYTHONPATH at the ``src`` of version 0.1.0, too, which has none.
"""

from __future__ import annotations

import sys
import tempfile
import tomllib
import warnings
from pathlib import Path
from types import FrameType

import numpy as np
import pandas as pd

import plait

try:
    from plait.data import schema, table
    from plait.workflow.fit import fit_table
except ImportError:  # version 0.1.0
    from plait import schema, table  # type: ignore[attr-defined, no-redef]
    from plait.workflow import fit_table  # type: ignore[attr-defined, no-redef]

SOURCE = str(Path(plait.__file__).parent)
CONTRACTS = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
LAYERS = next(one["layers"] for one in CONTRACTS if one["type"] == "layers")
#: (caller, called) files, below the package's folder.
PAIRS: set[tuple[str, str]] = set()


def own(frame: FrameType) -> str | None:
    """The file of a frame where it is plait's."""
    name = frame.f_code.co_filename
    return name[len(SOURCE) + 1 :] if name.startswith(SOURCE) and name.endswith(".py") else None


def note(frame: FrameType, event: str, value: object) -> None:
    """Note a call from one of plait's files to another."""
    called = own(frame) if event == "call" else None
    back = frame.f_back
    while called is not None and back is not None and own(back) is None:
        back = back.f_back
    if called is not None and back is not None and own(back) != called:
        PAIRS.add((str(own(back)), called))


def rank(file: str) -> int:
    """The place of a file's package among the layers, the lowest the greatest."""
    name = file.partition("/")[0]
    return LAYERS.index(name) if name in LAYERS else -1


def main() -> None:
    """Fit, judge, save and report on a small table."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=300), "b": rng.normal(size=300), "c": rng.choice(["x", "y", "z"], 300)})
    frame["t"] = np.where(frame["a"] + rng.normal(size=300) > 0, "up", "down")
    settings = {"store": "none", "progress": False, "epochs": 2, "members": 2}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame.to_csv(Path(folder, "t.csv"), index=False)
        sys.setprofile(note)
        read = table.read_table(Path(folder, "t.csv"))
        fit_table(read, schema.infer(read, target="t"), settings, out=Path(folder, "model"))
        sys.setprofile(None)
    up = [pair for pair in PAIRS if rank(pair[0]) > rank(pair[1]) >= 0]
    print(f"{len({file for pair in PAIRS for file in pair})} files entered, {len(PAIRS)} pairs of them call each other")
    print(f"{len(up)} up the layers: " + ", ".join(f"{a} to {b}" for a, b in sorted(up)))


if __name__ == "__main__":
    main()
