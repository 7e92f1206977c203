"""The card of a model: what it is, what it was made from, how good it was, how to use it."""

from __future__ import annotations

from typing import Any

from plait.base.documents import cell, plain


def card(model: Any) -> str:
    """Markdown text of the model's ``README.md``."""
    record, schema = model.record_, model.schema_
    lines = [
        f"# {type(model).__name__} for {plain(schema.target or 'y')}",
        "",
        f"A plait model ({record['trained_weights']:,} trained weights in {record['members']} members), task: {model.task_}.",
        f"Fitted on {record['rows']:,} rows (data hash `{record['data_hash']}`), seed {record['seed']}.",
        "",
        "## Modalities",
        "",
        "| modality | kind | columns | encoder | licence | absent |",
        "|---|---|---|---|---|---|",
    ]
    for m in schema.modalities:
        encoder = record["encoders"][m.name]
        lines.append(
            f"| {cell(m.name)} | {m.kind} | {', '.join(map(cell, m.columns))} | {cell(encoder['name'])} | {encoder['licence']} "
            f"| {record['absent'][m.name]:.1%} |"
        )
    lines += ["", "## Use", "", "```", "plait predict MODEL_FOLDER table.csv --out predictions.csv", "```", ""]
    lines += ["## Versions", ""] + [f"- {name} {version}" for name, version in record["versions"].items()]
    return "\n".join(lines) + "\n"
