"""What to run to do it again, and what the fit started from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plait.base import config
from plait.data.schema_yaml import to_yaml
from plait.report.blocks import Facts, Section, Text
from plait.report.fit import FitReport
from plait.store.model_files import plain_values

PLACE = 90


def section(report: FitReport) -> Section:
    """Command, settings, schema, seeds and versions."""
    result = Section("again", "Run it again", "")
    result.add(Text(report.command, code=True) if report.command else None)
    settings = {k: _yaml_value(v) for k, v in report.settings.items() if k != "modalities"}  # the schema, shown below
    result.add(Text(config.to_yaml(settings), "Settings (YAML)", code=True) if settings else None)
    result.add(Text(to_yaml(report.schema), "Schema (YAML; edit it and pass it back)", code=True))
    result.add(Facts(list(_origin(report.record).items())))
    return result


def _origin(record: Mapping[str, Any]) -> dict[str, str]:
    """What the fit started from, versions included."""
    names = {"seed": "seed", "seeds": "seeds", "data_hash": "data hash", "rows": "training rows"}
    names |= {"distinct_rows": "distinct rows"}
    result = {label: str(record[key]) for key, label in names.items() if record.get(key) is not None}
    samples: Mapping[str, tuple[int, int]] = record.get("samples") or {}
    result |= {f"sample, {what}": f"{used:,} of {rows:,} rows" for what, (used, rows) in samples.items()}
    return result | {str(k): str(v) for k, v in (record.get("versions") or {}).items()}


def _yaml_value(value: object) -> object:
    plain = plain_values(value)
    if isinstance(plain, dict):
        return {k: _yaml_value(v) for k, v in plain.items()}
    if isinstance(plain, list):
        return [_yaml_value(v) for v in plain]
    return plain if isinstance(plain, str | int | float | bool | type(None)) else str(plain)
