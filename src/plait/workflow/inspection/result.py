"""``Inspection``: what was found, as plain values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from plait.report.tables import Table
from plait.store.model_files import plain_values
from plait.workflow.inspection.embeddings import Embedding
from plait.workflow.inspection.rows import Rows


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        runs: names, the first being the one that others are compared with.
        task: of the models.
        target: column.
        rows: the rows and their split.
        embeddings: run -> its representations.
        measures: a row per representation (``plait.workflow.inspection.measures``).
        alignment: of each pair of modalities in each run's joint space.
        cka: between all representations: of one run with itself, of two runs with each other.
        comparison: of the runs: scores, each modality alone, costs.
        pictures: run -> way -> name of representation -> (places of rows, their points (n, 2)).
        unseen: run -> whether the test rows are known not to have been training rows.
        command: what to run to do it again, or nothing.
    """

    runs: tuple[str, ...]
    task: str
    target: str
    rows: Rows
    embeddings: Mapping[str, Sequence[Embedding]]
    measures: pd.DataFrame
    alignment: pd.DataFrame
    cka: pd.DataFrame
    comparison: pd.DataFrame
    pictures: Mapping[str, Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]]]
    unseen: Mapping[str, bool]
    command: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; the embeddings themselves are in their files."""
        tables = {n: getattr(self, n).to_dict("records") for n in ("measures", "alignment", "cka", "comparison")}
        options = {
            "runs": list(self.runs),
            "task": self.task,
            "target": self.target,
            "unseen": dict(self.unseen),
            **tables,
        }
        options |= {"train_rows": self.rows.train, "test_rows": len(self.rows.frame) - self.rows.train}
        plain: dict[str, Any] = plain_values(options)
        return plain


def as_table(name: str, frame: pd.DataFrame) -> Table:
    """A frame as what ``csv_text`` takes."""
    return Table(name, [str(c) for c in frame.columns], frame.astype(object).to_numpy().tolist())
