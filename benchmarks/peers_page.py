"""The page of ``against_peers.py``: scores, mean ranks with their critical difference, the 2 % rule, time and size.

python benchmarks/against_peers.py --out runs/peers --page docs/evidence/peers.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from plait.report.canvas import svg
from plait.study.report.sections.ranks import ranks_figure
from plait.study.statistics.compare import Ranks, rank

#: Task -> what is ranked (lower is better), and what is shown beside it (higher is better).
SHOWN = {"classification": ("log_loss", "accuracy"), "regression": ("mae", "r2")}
OURS = ("plait", "plait_light")
#: Worse than the best of the others by more than this share breaks the rule.
MARGIN = 0.02
#: Seeds of every ranked table that a system must have to be ranked.
FEWEST_SEEDS = 3
ABOUT = """# {title}

Written by `python benchmarks/against_peers.py --out {out} --page {page}`; what is compared, and how, stands at the head of
`benchmarks/against_peers.py` and `benchmarks/peers.py`. {runs} runs: {tables} tables, at most {rows:,} rows of a table,
{threads} thread; seeds of each system: {seeds}. Mean and standard deviation over a system's seeds. Settings are defaults
but where `peers.py` says so: those of LightGBM are chosen, and skrub's trees stop, by a part of the training rows. No system has
seen a test row.

{choices} With fewer than five seeds a single table decides nothing: its rows are few of many draws.{note}
"""
SEEN = """plait was developed while rows of most of these tables were looked at, its settings being chosen on validation
rows; no choice was made by this race."""
UNSEEN = """No choice of plait was made on these tables: they are of R's packages, of KEEL (`keel/`) and of "An Introduction to
Statistical Learning" (`ISLP/`); `benchmarks/unseen.py` says how they were chosen, and none was left out afterwards. On as many
others of the same lists, set apart for it, choices were made: how large trees of tables with few columns become, that the linear
map is solved, that rows of equal cells with several targets stay rows, and the branch `kernel`. Tables of R's packages had been
raced on once before the last three, the others before the last."""


def write_page(
    lines: Sequence[Mapping[str, Any]],
    tables: Sequence[str],
    datasets: Mapping[str, str],
    page: Path,
    note: str = "",
    unseen: bool = False,
) -> None:
    """Page and picture from the lines so far.

    Args:
        lines: results.
        tables: in the order of the page.
        datasets: of each table.
        page: to be written.
        note: what else is to be said of them.
        unseen: whether no choice of plait was made on these tables.
    """
    known = pd.DataFrame([line for line in lines if "error" not in line])
    if known.empty:
        raise SystemExit("no results yet")
    known = known.drop_duplicates(["table", "seed", "system"], keep="last")
    known["loss"] = [row[SHOWN[row["task"]][0]] for _, row in known.iterrows()]
    known["score"] = [row[SHOWN[row["task"]][1]] for _, row in known.iterrows()]
    tables = [name for name in tables if name in set(known["table"])]
    counts = known.groupby("system")["seed"].nunique()
    about = {
        "runs": len(known),
        "tables": len(tables),
        "seeds": ", ".join(f"{system} {counts[system]}" for system in order(known)),
        "rows": int(known["rows"].max()),
        "threads": int(known["threads"].max()),
        "note": f"\n\n{note.strip()}" if note.strip() else "",
        "title": "plait beside its peers, tables that it never saw" if unseen else "plait beside its peers",
        "out": "runs/unseen --unseen" if unseen else "runs/peers",
        "choices": UNSEEN if unseen else SEEN,
    }
    text = [ABOUT.format(**about, page=page)]
    page.parent.mkdir(parents=True, exist_ok=True)
    every = ranked(known, tables, datasets, 1)
    if ranks := ranked(known, tables, datasets, FEWEST_SEEDS) or every:
        page.with_suffix(".svg").write_text(svg(ranks_figure(ranks, list(ranks.names))))
        text += [
            "## Mean ranks",
            ranks_text(ranks),
            f"![Critical differences of mean ranks]({page.with_suffix('.svg').name})",
        ]
    if every and ranks and len(every.names) > len(ranks.names):
        text += ["## Mean ranks of every system, on fewer seeds", ranks_text(every)]
    text += ["## Log loss, or mean absolute error (lower is better)", score_table(known, tables, "loss")]
    text += ["## Accuracy, or R²", score_table(known, tables, "score")]
    text += ["## The 2 % rule", rule_table(known, tables)]
    text += ["## Seconds of the processor for a fit, and megabytes of its folder", cost_table(known, tables)]
    if failed := [line for line in lines if "error" in line]:
        text += ["## Runs that failed", "\n".join(failures(failed))]
    page.write_text("\n\n".join(part.strip() for part in text) + "\n")


def ranked(known: pd.DataFrame, tables: Sequence[str], datasets: Mapping[str, str], fewest: int) -> Ranks | None:
    """Ranks of the systems with so many seeds of all or nearly all data sets, over one target of each, the first."""
    first = {datasets[name]: name for name in reversed(tables)}
    shown = [name for name in tables if name in first.values()]
    seeds = known.pivot_table(index="table", columns="system", values="seed", aggfunc="nunique").reindex(shown)
    systems = [s for s in order(known) if (seeds[s].fillna(0) >= fewest).sum() == len(shown)]
    if len(systems) < 2:
        return None
    means = alike(known[known["system"].isin(systems)], fewest).pivot_table(
        index="table", columns="system", values="loss"
    )
    means = means.reindex(index=shown, columns=systems).dropna()
    if len(means) < 3:
        return None
    return rank(-means.to_numpy(), list(means.columns), list(means.index))


def alike(known: pd.DataFrame, fewest: int = FEWEST_SEEDS) -> pd.DataFrame:
    """The rows of those seeds of each table that all systems with so many, or the most that there are, have."""
    kept = []
    for _, part in known.groupby("table"):
        counts = part.groupby("system")["seed"].nunique()
        systems = counts.index[counts >= min(fewest, counts.max())]
        seeds = part[part["system"].isin(systems)].groupby("seed")["system"].nunique()
        kept.append(part[part["system"].isin(systems) & part["seed"].isin(seeds.index[seeds == len(systems)])])
    return pd.concat(kept)


def ranks_text(ranks: Ranks) -> str:
    lines = [f"| {name} | {mean:.2f} |" for name, mean in zip(ranks.names, ranks.mean, strict=True)]
    return "\n".join(
        [
            f"By mean log loss or mean absolute error on {len(ranks.datasets)} data sets (the first target of each, where every\n"
            f"system has an answer), over the seeds that all have: {', '.join(ranks.datasets)}.\n"
            f"Friedman's test (Iman and Davenport) p = {ranks.p:.3g}; mean ranks differ significantly by more than\n"
            f"{ranks.critical:.2f} (Nemenyi, 5 %).\n",
            "| system | mean rank |\n|---|---|",
            *lines,
        ]
    )


def order(known: pd.DataFrame) -> list[str]:
    systems = list(dict.fromkeys(known["system"]))
    return [s for s in OURS if s in systems] + sorted(s for s in systems if s not in OURS)


def score_table(known: pd.DataFrame, tables: Sequence[str], value: str) -> str:
    """Tables x systems; the best mean is bold; in brackets of how many seeds, where others have more."""
    systems = order(known)
    lines = [["table", "rows (train, test)", *systems]]
    for name in tables:
        part = known[known["table"] == name]
        stats = part.groupby("system")[value].agg(["mean", "std", "count"]).reindex(systems)
        best = stats["mean"].min() if value == "loss" else stats["mean"].max()
        cells = [_cell(row, best, stats["count"].max()) for _, row in stats.iterrows()]
        lines.append([name, f"{int(part['train'].mean()):,}, {int(part['test'].mean()):,}", *cells])
    return _markdown(lines)


def _cell(row: pd.Series, best: float, most: float) -> str:
    if not np.isfinite(row["mean"]):
        return "-"
    spread = f" ± {row['std']:.3f}" if row["count"] > 1 else ""
    few = f" ({int(row['count'])})" if row["count"] < most else ""
    return (f"**{row['mean']:.3f}**" if row["mean"] == best else f"{row['mean']:.3f}") + spread + few


def rule_table(known: pd.DataFrame, tables: Sequence[str]) -> str:
    """How far plait is from the best of the others, on the seeds that all have."""
    others = [s for s in order(known) if s not in OURS]
    lines = [["table", "best of the others", *(f"{ours}: {what}" for ours in OURS for what in ("loss", "score"))]]
    counts = dict.fromkeys(OURS, 0)
    compared = alike(known)
    for name in tables:
        means = compared[compared["table"] == name].groupby("system")[["loss", "score"]].mean()
        rivals = means.loc[[s for s in others if s in means.index]]
        if rivals.empty:
            continue
        line = [name, f"{rivals['loss'].idxmin()} {rivals['loss'].min():.3f}"]
        for ours in OURS:
            if ours not in means.index:
                line += ["-", "-"]
                continue
            loss = means.loc[ours, "loss"] / rivals["loss"].min() - 1
            score = means.loc[ours, "score"] - rivals["score"].max()
            counts[ours] += loss > MARGIN
            line += [f"**{loss:+.1%}**" if loss > MARGIN else f"{loss:+.1%}", f"{score:+.3f}"]
        lines.append(line)
    run = set(known["system"])
    told = "; ".join(f"{ours}: {n} of {len(lines) - 1} tables" for ours, n in counts.items() if ours in run)
    return (
        "Loss relative to the best of the others (bold: more than 2 % worse), score as a difference, on the seeds of a table\n"
        f"that all have; systems with fewer than {FEWEST_SEEDS} seeds left out. Worse: {told}.\n\n" + _markdown(lines)
    )


def cost_table(known: pd.DataFrame, tables: Sequence[str]) -> str:
    """Seconds and megabytes of each system, and their ratio to AutoGluon's, table by table and in the mean."""
    systems = order(known)
    shown = []
    for value, unit in (("busy_seconds", "s"), ("megabytes", "MB")):
        means = known.pivot_table(index="table", columns="system", values=value).reindex(
            index=list(tables), columns=systems
        )
        lines = [[f"table ({unit})", *systems]]
        lines += [
            [name, *(f"{x:.1f}" if np.isfinite(x) else "-" for x in row)]
            for name, row in zip(tables, means.to_numpy(), strict=True)
        ]
        if "autogluon" in systems:
            ratio = means.div(means["autogluon"], axis=0)
            lines.append(
                ["ratio to autogluon (geometric mean)", *(f"{np.exp(np.log(ratio[s]).mean()):.3f}" for s in systems)]
            )
        shown.append(_markdown(lines))
    return "\n\n".join(shown)


def failures(failed: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"- {line['table']}, seed {line['seed']}, {line['system']}: {line['error'][:160]}" for line in failed]


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    head, *rest = lines
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rest))
