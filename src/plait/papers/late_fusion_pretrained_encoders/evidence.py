"""The page on whether task-specific pretraining pays in late fusion, from what was measured.

``python -m plait.papers.late_fusion_pretrained_encoders.evidence --study FOLDER --collapse FILE --out docs/evidence/late_fusion``
takes what the study ``pretraining_regimes`` and ``collapse`` have so far into two small JSONL files, and writes ``page.md`` from
these; without ``--study`` and ``--collapse`` the page is made again from the files that are there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from plait.base.version import __version__
from plait.metrics.base import MAIN
from plait.study.results import Results
from plait.study.statistics.paired import holm, resampled_t

#: A difference of the main metric that would matter, named before anything was measured; also the margin of equivalence.
SMALLEST, LEVEL = 0.02, 0.05
#: The arm that every other is set against, and the others.
BASE, ARMS = "scratch", ("scratch x2", "pretrain", "pretrain frozen", "pretrain slow")
HEAD = """# Does task-specific pretraining pay in late fusion?

Small heads over frozen features, the thesis's network, the epoch chosen on validation rows by one rule for every arm; per seed
the mean over concatenation and five poolings. Positive: the arm is better than training from scratch. Held: better, after
Holm over all rows of the table. Equivalent: the whole interval lies within {smallest}. Needed: seeds that would decide a
difference of {smallest}. plait {version}; `plait study run pretraining_regimes`, then
`python -m plait.papers.late_fusion_pretrained_encoders.evidence`.
"""


def regimes(results: Results) -> list[dict[str, Any]]:
    """A line per run and pattern of modalities: the main metric and what it cost."""
    lines = []
    for line in results.lines:
        if line["status"] != "done":
            continue
        regime, _, fusion = str(line["variant"]).partition(" fusion=")
        metric = MAIN[line["task"]]
        about = {"dataset": line["dataset"], "regime": regime, "fusion": fusion, "seed": line["seed"], "metric": metric}
        about |= {"train_rows": line["train_rows"], "test_rows": line["test_rows"], "seconds": line["seconds"]}
        about |= {"whole": "+".join(line["subset"])}
        lines += [
            about | {"present": "+".join(one["present"]), "value": one["metrics"][metric]}
            for one in line["evaluations"]
        ]
    return lines


def verdicts(lines: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Each arm against training from scratch, on each data set: difference, interval, p after Holm, verdict, seeds needed."""
    frame = pd.DataFrame(lines)
    if frame.empty:
        return frame
    frame = frame[frame["present"] == frame["whole"]]
    rows = []
    for dataset, part in frame.groupby("dataset", sort=False):
        # Only what both arms have under the same operator and seed is compared.
        table = part.pivot_table("value", ["seed", "fusion"], "regime")
        ratio = float((part["test_rows"] / part["train_rows"]).mean())
        for arm in ARMS:
            if BASE not in table or arm not in table:
                continue
            matches = (table[arm] - table[BASE]).dropna().groupby("seed").mean().to_numpy()
            if len(matches) < 2:
                rows.append({"data": dataset, "arm": arm, "seeds": len(matches), "p": np.nan})
                continue
            test = resampled_t(matches, ratio)
            values = {"difference": test.value, "low": test.low, "high": test.high, "p": test.p}
            rows.append({"data": dataset, "arm": arm, "seeds": len(matches)} | values)
    columns = ["data", "arm", "seeds", "difference", "low", "high", "p"]
    result = pd.DataFrame(rows).reindex(columns=columns)
    result["p"] = holm(result["p"].to_numpy(float))
    return result.assign(verdict=[_verdict({str(k): v for k, v in row.items()}) for row in result.to_dict("records")])


def _verdict(row: Mapping[str, Any]) -> str:
    if row["seeds"] < 2 or np.isnan(row["p"]):
        return "not decided (at least 2 unlike seeds needed)"
    if row["p"] < LEVEL:
        return "held" if row["difference"] > 0 else "not held: worse"
    if row["low"] >= -SMALLEST and row["high"] <= SMALLEST:
        return "not held: equivalent"
    needed = int(np.ceil(row["seeds"] * ((row["high"] - row["low"]) / 2 / SMALLEST) ** 2))
    return f"not decided ({max(needed, row['seeds'] + 1)} needed)"


def collapsed(lines: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Means over seeds of what is answered with each pattern of modalities."""
    frame = pd.DataFrame(lines)
    if frame.empty:
        return frame
    kept = [c for c in ("f1_samples", "f1_macro", "empty", "attention_on_absent") if c in frame]
    keys = ["regime", "fusion", "absence", "present"]
    table = frame.groupby(keys, sort=False)[kept].mean()
    return table.assign(seeds=frame.groupby(keys, sort=False)["seed"].nunique()).reset_index()


def page(regime_lines: list[dict[str, Any]], collapse_lines: list[dict[str, Any]]) -> str:
    """The page in Markdown."""
    given, fallen = verdicts(regime_lines), collapsed(collapse_lines)
    parts = [HEAD.format(smallest=SMALLEST, version=__version__)]
    parts += ["## Arms against scratch\n", _table(given) if len(given) else "Nothing was measured yet.\n"]
    parts += [
        "## With one modality alone\n",
        "Movies (rebuilt) without genres on more than 30 %, threshold 0.5, nothing hidden.\n",
    ]
    parts += [_table(fallen) if len(fallen) else "Nothing was measured yet.\n"]
    return "\n".join(parts)


def _table(frame: pd.DataFrame) -> str:
    """A table in Markdown."""
    rows = [[_cell(value) for value in row] for row in frame.itertuples(index=False)]
    head = [" | ".join(map(str, frame.columns)), " | ".join("---" for _ in frame.columns)]
    return "\n".join(f"| {line} |" for line in [*head, *(" | ".join(row) for row in rows)]) + "\n"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.3f}"
    return str(value)


def write(out: Path, study: Path | None, collapse: Path | None) -> Path:
    """Take in what was measured, and write the page."""
    out.mkdir(parents=True, exist_ok=True)
    kept = {"regimes": out / "regimes.jsonl", "collapse": out / "collapse.jsonl"}
    if study is not None:
        kept["regimes"].write_text("".join(f"{json.dumps(line)}\n" for line in regimes(Results.open(study))))
    if collapse is not None and collapse.resolve() != kept["collapse"].resolve():
        kept["collapse"].write_text(collapse.read_text())
    lines = {
        name: [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
        for name, path in kept.items()
    }
    result = out / "page.md"
    result.write_text(page(lines["regimes"], lines["collapse"]))
    return result


def main() -> None:
    """Options of ``python -m``."""
    parser = argparse.ArgumentParser(description="The page on task-specific pretraining in late fusion.")
    parser.add_argument("--out", type=Path, default=Path("docs/evidence/late_fusion"))
    parser.add_argument("--study", type=Path)
    parser.add_argument("--collapse", type=Path)
    given = parser.parse_args()
    print(write(given.out, given.study, given.collapse))


if __name__ == "__main__":
    main()
