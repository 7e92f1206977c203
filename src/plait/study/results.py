"""The results of a study as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from plait.base import checks, config, notebook, registry
from plait.base.documents import read_json
from plait.base.errors import ConfigError, nearest
from plait.study.folder import RUNS, STUDY, StudyFolder, read_arrays
from plait.study.reading import read_spec
from plait.study.spec import Spec
from plait.study.state import merged

#: Columns that name a run.
NAMES = ("run", "dataset", "task", "variant", "subset", "train_condition", "seed", "split", "train_rows", "test_rows")
_COLUMNS = (
    *("run", "status", "reason", *NAMES[1:]),
    *("fit_seconds", "test_seconds", "peak_mb", "trained_weights", "frozen_weights"),
)


@dataclass(frozen=True)
class Predictions:
    """Outputs of one evaluation of one run.

    Attributes:
        rows: (n,) positions in the data set's table.
        target: (n,) class indices, (n, C) indicators or (n,) values.
        output: (n, C) probabilities or (n,) values.
        threshold: of several labels: the probability from which on each is answered, of each row (n, C) or of all; else None.
    """

    rows: np.ndarray
    target: np.ndarray
    output: np.ndarray
    threshold: np.ndarray | None = None


class Results:
    """All that a study's folder holds."""

    def __init__(self, folder: Path, about: Mapping[str, Any], spec: Spec, lines: Iterable[Mapping[str, Any]]) -> None:
        """Use ``open``."""
        self.folder, self.about, self.spec = folder, about, spec
        self.lines = list(merged(lines).values())

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Read a study's folder, finished or not.

        Raises:
            ConfigError: it is none.
        """
        place = StudyFolder(Path(folder))
        about = place.about()
        spec, _ = read_spec(config.read_yaml(place.path / STUDY), str(about["name"]))
        return cls(place.path, about, spec, place.lines())

    @property
    def name(self) -> str:
        """The study's name."""
        return str(self.about["name"])

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row per run: the latest done attempt, else the latest."""
        fields = list(dict.fromkeys(key for line in self.lines for key in line["settings"]))
        columns = [*_COLUMNS, *(f"set.{field}" for field in fields)]
        return pd.DataFrame([_run(line) for line in self.lines], columns=columns)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row per done run, evaluation and metric."""
        records = []
        for line in self.lines:
            if line["status"] != "done":
                continue
            run = _run(line)
            named = {key: run[key] for key in run if key in NAMES or key.startswith("set.")}
            for number, setting in enumerate(line["evaluations"]):
                axes = {f"axis.{key}": value for key, value in setting.get("axes", {}).items()}
                place = {"condition": setting["condition"], "present": "+".join(setting["present"])}
                for metric, value in setting["metrics"].items():
                    number_of = {"metric": metric, "value": np.nan if value is None else value}
                    records.append({**named, "evaluation": number, **place, **number_of, **axes})
        if not records:
            return pd.DataFrame(columns=[*NAMES, "evaluation", "condition", "present", "metric", "value"])
        return pd.DataFrame(records)

    def status(self) -> dict[str, Any]:
        """How many runs are done, failed, stopped and still waiting, and why runs failed."""
        counts = Counter(line["status"] for line in self.lines)
        count = {status: counts[status] for status in ("done", "failed", "stopped")}
        reasons = Counter(line["reason"] for line in self.lines if line["status"] == "failed")
        total = max(int(self.about["runs"]), len(self.lines))
        return {"name": self.name, "runs": total, **count, "waiting": total - len(self.lines), "reasons": dict(reasons)}

    def summary(self) -> pd.DataFrame:
        """Means over seeds and splits, one row for everything that is compared: a variant, an evaluation of a space."""
        result: pd.DataFrame = registry.find("subjects", self.spec.subject)(self.spec).summary(self)
        return result

    def __repr__(self) -> str:
        return f"{self._said}\n{self.summary().to_string()}"

    def _repr_html_(self) -> str:
        """The same in a notebook."""
        return notebook.box(self._said, notebook.table(notebook.records_of(self.summary())))

    @property
    def _said(self) -> str:
        status = self.status()
        return f"study '{self.spec.name}' in {self.folder}: {status['done']} of {status['runs']} runs done"

    def line(self, run: str) -> Mapping[str, Any]:
        """What results.jsonl says of a run."""
        for line in self.lines:
            if line["run"] == run:
                return line
        raise ConfigError(f"{self.folder}: no run '{run}'; {nearest(run, (line['run'] for line in self.lines))}")

    def predictions(self, run: str, evaluation: int = 0) -> Predictions:
        """Outputs of one evaluation of a run that is done."""
        path = self.folder / RUNS / run / "predictions.npz"
        try:
            result = read_arrays(path)
        except FileNotFoundError:
            raise ConfigError(f"{path}: is not there; run {run} is not done, or its predictions were removed") from None
        output = f"output_{evaluation}"
        if output not in result:
            count = sum(name.startswith("output_") for name in result)
            raise ConfigError(f"run {run}: no evaluation {evaluation}; it has {count}, counted from 0")
        if not {"rows", "target"} <= set(result) or len({result[n].shape[:1] for n in ("rows", "target", output)}) != 1:
            raise ConfigError(f"{path}: is damaged (rows, target and {output} do not belong together); run it again")
        names = (f"threshold_{evaluation}", "threshold")  # the second is of before version 0.2: one for all
        threshold = next((result[name] for name in names if name in result), None)
        return Predictions(result["rows"], result["target"], result[output], threshold)

    def epochs(self, run: str) -> pd.DataFrame:
        """History of the training of a run, without what encoders did alone before; empty where none was kept."""
        path = self.folder / RUNS / run / "epochs.jsonl"
        if not path.is_file():
            return pd.DataFrame()
        try:
            values = [read_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
            checks.refuse(text for record in values if (text := checks.problem(record, dict[str, Any])))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{path}: cannot be read ({error}); remove the folder of the run and run it again"
            ) from None
        return pd.DataFrame([record for record in values if record.get("stage", "train") == "train"])


def _run(line: Mapping[str, Any]) -> dict[str, Any]:
    seconds, weights = line.get("seconds", {}), line.get("weights", {})
    plain = {key: line.get(key) for key in ("run", "status", "reason", *NAMES[1:])}
    return {
        **plain,
        "subset": "+".join(line["subset"]),
        "fit_seconds": seconds.get("fit"),
        "test_seconds": seconds.get("test"),
        "peak_mb": line.get("memory", {}).get("peak_mb"),
        "trained_weights": weights.get("trained"),
        "frozen_weights": weights.get("frozen"),
        **{f"set.{key}": value for key, value in line["settings"].items()},
    }
