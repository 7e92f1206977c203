"""The sections of what failed or was left out, and of how to do it all again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from plait.base import config
from plait.report.blocks import Facts, Section, Sheet, Table, Text
from plait.report.words import counted
from plait.study.report.evidence import Evidence, records
from plait.study.statistics.scores import StudyResults

#: Failed runs that the page names; the CSV file names all.
NAMED = 30


def left_out_section(results: StudyResults, reasons: Mapping[str, str]) -> Section:
    """Runs without a result, and parts of the report that there was nothing for.

    Args:
        results: of the study.
        reasons: part of the report -> why it is not there.
    """
    runs = results.runs
    counts = Counter(runs["status"]) if len(runs) else Counter[str]()
    waiting = max(int(results.about.get("runs", len(runs))) - len(runs), 0)
    whole = len(runs) + waiting
    parts = [f"{counts[status]} {status}" for status in ("failed", "stopped") if counts[status]]
    parts += [f"{waiting} not begun"] if waiting else []
    sentence = (
        f"All {counted(whole, 'run')} are done." if not parts else f"Of {counted(whole, 'run')}, {', '.join(parts)}."
    )
    if parts:
        sentence += " Comparisons use the seeds and splits that both sides have."
    section = Section("left-out", "Failed and left out", sentence)
    section.add(_failures(results))
    if reasons:
        section.add(Facts([(name, reason) for name, reason in reasons.items()]))
    return section


def _failures(results: StudyResults) -> Sheet | None:
    runs = results.runs
    gone = runs[runs["status"] != "done"] if len(runs) else runs
    if gone.empty:
        return None
    columns = ["run", "status", "dataset", "variant", "subset", "train_condition", "seed", "split", "reason"]
    full = gone[columns].astype(object).to_numpy().tolist()
    grouped = (
        gone.fillna({"reason": ""}).groupby(["status", "reason", "variant"], sort=False).size().reset_index(name="runs")
    )
    value = grouped.sort_values("runs", ascending=False, kind="stable").head(NAMED)
    rows = [[r["status"], str(r["runs"]), str(r["variant"]), r["reason"] or "–"] for r in records(value)]
    more = f"{len(grouped) - len(value)} more in tables/failures.csv." if len(grouped) > len(value) else ""
    shown = ["status", "runs", "variant", "reason"]
    return Sheet(Table("failures", columns, full), "", shown, rows, (1,), (), more)


def origin_section(results: StudyResults, evidence: Sequence[Evidence]) -> Section:
    """Versions, seeds, data hashes, the command and the study file."""
    about: Mapping[str, Any] = results.about
    seeds = (
        about.get("seeds") or sorted(set(results.runs["seed"].tolist()))
        if len(results.runs)
        else about.get("seeds", [])
    )
    data = dict(about.get("data", {}))
    message = f"{counted(len(seeds or []), 'seed')} on {counted(len(data) or len(evidence), 'data set')}"
    section = Section("again", "Run it again", f"{message}, drawn and trained as told below, give these numbers again.")
    if about.get("command"):
        section.add(Text(str(about["command"]), code=True))
    pairs = [
        ("study", f"{results.name}, identity {about.get('identity', '–')}"),
        ("seeds", ", ".join(map(str, seeds or []))),
    ]
    pairs += [(f"data hash of {name}", str(digest)) for name, digest in data.items()]
    pairs += [(str(name), str(version)) for name, version in dict(about.get("versions", {})).items()]
    pairs += _source(results.spec)
    section.add(Facts(pairs))
    if hasattr(results.spec, "to_dict"):
        section.add(Text(config.to_yaml(results.spec.to_dict()), "Study file (YAML)", code=True))
    return section


def _source(spec: Any) -> list[tuple[str, str]]:
    options = dict(getattr(spec, "source", None) or {})
    return [(f"source, {key}", str(value)) for key, value in options.items()]
