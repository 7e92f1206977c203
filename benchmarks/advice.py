"""What advice is worth: how often the advised design is level with the best of all tried, against always taking the default.

    PLAIT_DATA=... python benchmarks/advice.py --out runs/advice-worth [--minutes 2] [--advised 1] [--seeds 3]

For each data set all designs that advice may try are fitted on 85 % of the rows and judged on the rest (a study). For
the first seeds advice is asked on those 85 % alone; what it names is looked up in the study. A design is level with the
best when the study does not say that it is worse (corrected resampled t-test, Holm); loss is the best's mean score minus its
own. Killed, the same command goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import pandas as pd

from plait.metrics.base import MAIN
from plait.study import Study
from plait.study.advice import advise
from plait.study.designs import DEFAULT, candidates
from plait.study.splits import group_column, rows_of
from plait.study.statistics.compare import compare

DATA = {
    "pokemon/type_1": {"dataset": "pokemon", "target": "type_1"},
    "pokemon/type_2": {"dataset": "pokemon", "target": "type_2"},
    "issues/label": {"dataset": "issues", "target": "label"},
    "mosi/binary": {"dataset": "mosi", "target": "binary", "rows": 1000},
    "movies/genres": {"dataset": "movies", "target": "genres", "rows": 800},
    "hearthstone/cardClass": {"dataset": "hearthstone", "target": "cardClass", "rows": 1000},
}


def judged(label: str, seeds: int, minutes: float, out: Path, workers: int | None) -> tuple[Study, pd.DataFrame]:
    """All designs on held-out rows: the study, and each design against the best."""
    told = {"name": label.replace("/", "_"), "data": DATA[label], "seeds": seeds}
    told["split"] = {"kind": "holdout", "fractions": [0.85, 0.15]}
    schema = next(iter(Study.from_dict(told).tables.values())).schema
    told["variants"] = {c.name: dict(c.settings) for c in candidates(schema) if c.minutes <= minutes}
    told["metrics"] = [MAIN[schema.task]]
    study = Study.from_dict(told)
    found = study.run(out / "judged", workers=workers, view=False)
    return study, compare(found, MAIN[schema.task])


def advised(study: Study, seed: int, minutes: float, out: Path) -> str:
    """The design that advice takes on the training rows of a seed."""
    kept = out / f"advised-{seed}.json"
    if not kept.is_file():
        table = next(iter(study.tables.values()))
        train, _ = rows_of(table, study.spec.split, seed, 0)
        rows = table.frame.iloc[train].reset_index(drop=True)
        schema = dataclasses.replace(table.schema, target=table.target)
        group = group_column(table, study.spec.split)
        found = advise(rows, schema, minutes=minutes, out=out / f"advice-{seed}", group=group, view=False)
        kept.write_text(json.dumps(found.to_dict()))
    return str(json.loads(kept.read_text())["variant"])


def main() -> None:
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("--out", type=Path, required=True)
    told.add_argument("--minutes", type=float, default=2.0)
    told.add_argument("--advised", type=int, default=1, help="seeds for which advice is asked")
    told.add_argument("--seeds", type=int, default=3)
    told.add_argument("--workers", type=int)
    told.add_argument("--data", nargs="*", default=list(DATA))
    given = told.parse_args()
    found = []
    for label in given.data:
        out = given.out / label.replace("/", "_")
        study, table = judged(label, given.seeds, given.minutes, out, given.workers)
        table = table.set_index("label")
        best = float(table["mean"].iloc[0])
        for seed in range(given.advised):
            name = advised(study, seed, given.minutes, out)
            rows = {"advised": table.loc[name], "default": table.loc[DEFAULT]}
            line = {"data": label, "seed": seed, "design": name, "best": table.index[0], "best_score": round(best, 4)}
            for who, row in rows.items():
                line |= {f"{who}_loss": round(abs(best - row["mean"]), 4), f"{who}_level": row["verdict"] != "worse"}
            found.append(line)
            print(json.dumps(line, default=bool), flush=True)
    if not found:
        return
    told_all = pd.DataFrame(found)
    for who in ("advised", "default"):
        level, loss = told_all[f"{who}_level"], told_all[f"{who}_loss"]
        print(
            f"{who}: level with the best in {int(level.sum())} of {len(level)}; loss {loss.mean():.4f}, at most {loss.max():.4f}"
        )


if __name__ == "__main__":
    main()
