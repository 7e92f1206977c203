"""The page itself: gathers what there is, renders it, and writes figures and tables beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plait.base import config
from plait.base.version import __version__
from plait.data.modality import Modality, Schema
from plait.data.schema import to_yaml
from plait.evaluation.baselines import ABOUT
from plait.evaluation.evaluate import Evaluation
from plait.evaluation.explain import Explanation
from plait.metrics.base import metrics
from plait.report import sentences, tables
from plait.report.drawings import drawings
from plait.report.page import csv_text, render, write_text
from plait.store.model_files import plain_values


def write_report(
    folder: str | Path,
    *,
    model: Any,
    evaluation: Evaluation,
    explanation: Explanation | None,
    baselines: Mapping[str, Mapping[str, float]],
    schema: Schema,
    record: Mapping[str, Any],
    command: str,
) -> Path:
    """Write ``report.html``, ``figures/*.svg`` and ``tables/*.csv`` (extra ``report``).

    Args:
        folder: is made where it is missing.
        model: the fitted estimator; its history and settings are shown.
        evaluation: on held-out rows.
        explanation: what each modality is worth, or None.
        baselines: name -> metric -> value on the same rows.
        schema: what each column was taken for.
        record: what the fit told: seeds, versions, data hash, seconds, weights, warnings, leaks.
        command: what to run to do it again.

    Returns:
        The path of the page.
    """
    folder = Path(folder)
    history = list(getattr(model, "history_", None) or [])
    drawn = drawings(evaluation, explanation, baselines, history)
    value = _tables(evaluation, explanation, baselines, history)
    page = render(
        "page.html.j2",
        drawn=drawn,
        tables=value,
        evaluation=evaluation,
        sentences=_sentences(
            evaluation, explanation, baselines, history, record, any(m.train == "scratch" for m in schema.modalities)
        ),
        about={name: ABOUT[evaluation.task].get(name, "") for name in baselines},
        glossary=[m for name, m in metrics(evaluation.task).items() if name in evaluation.metrics],
        schema=schema,
        modalities=[_modality(m, schema, evaluation, record) for m in schema.modalities],
        warned=_warned(record),
        note="" if explanation is None else explanation.note,
        facts=_facts(evaluation, schema, record),
        costs=_costs(record),
        origin=_origin(record),
        command=command,
        settings=_settings(model, record),
        schema_yaml=to_yaml(schema),
        version=__version__,
    )
    for drawing in drawn.values():
        write_text(folder / "figures" / f"{drawing.name}.svg", drawing.document)
    for table in value.values():
        write_text(folder / "tables" / f"{table.name}.csv", csv_text(table))
    return write_text(folder / "report.html", page)


def _tables(
    evaluation: Evaluation, explanation: Explanation | None, baselines: tables.Scores, history: list[Mapping[str, Any]]
) -> dict[str, tables.Table]:
    result = [
        tables.scores(evaluation, baselines),
        tables.per_class(evaluation) if evaluation.per_class else None,
        tables.confusion(evaluation),
        tables.reliability(evaluation),
        tables.distribution(evaluation),
        tables.subsets(evaluation),
        tables.learning(history),
    ]
    if explanation is not None:
        result += [tables.worths(explanation), tables.interactions(explanation), tables.explained_rows(explanation)]
    return {table.name: table for table in result if table is not None}


def _sentences(
    evaluation: Evaluation,
    explanation: Explanation | None,
    baselines: tables.Scores,
    history: list[Mapping[str, Any]],
    record: Mapping[str, Any],
    together: bool,
) -> dict[str, str]:
    return {
        "headline": sentences.headline(evaluation, baselines),
        "verdict": sentences.verdict(evaluation, baselines),
        "worth": "" if explanation is None else sentences.worth(explanation),
        "epochs": sentences.kept_epochs(history, record.get("epochs"), together),
    }


def _modality(modality: Modality, schema: Schema, evaluation: Evaluation, record: Mapping[str, Any]) -> dict[str, Any]:
    """One line of the schema's table."""
    used = (record.get("encoders") or {}).get(modality.name)
    encoder = used if used is not None else modality.encoder
    if isinstance(encoder, Mapping):
        encoder = encoder.get("name", "")
    types = schema.types_of(modality)
    return {
        "name": modality.name,
        "kind": modality.kind,
        "columns": [f"{c}: {types[c]}" if c in types else str(c) for c in modality.columns],
        "encoder": encoder if isinstance(encoder, str) else "(default)" if encoder is None else type(encoder).__name__,
        "train": modality.train,
        "absent": 100 * evaluation.absences.get(modality.name, 0) / evaluation.rows,
    }


def _warned(record: Mapping[str, Any]) -> list[str]:
    """Likely leaks first, then every warning of the fit, each once."""
    leaks = [leak.get("message", leak) if isinstance(leak, Mapping) else leak for leak in record.get("leaks") or []]
    return list(dict.fromkeys(str(text) for text in [*leaks, *(record.get("warnings") or [])]))


def _facts(evaluation: Evaluation, schema: Schema, record: Mapping[str, Any]) -> dict[str, Any]:
    """The line of figures under the headline."""
    result: dict[str, Any] = {}
    if record.get("rows"):
        result["training rows"] = int(record["rows"])
    result["test rows"] = evaluation.rows
    result["modalities"] = len(schema.modalities)
    if evaluation.classes:
        result["classes" if evaluation.task == "classification" else "labels"] = len(evaluation.classes)
    if record.get("trained_weights"):
        result["trained weights"] = int(record["trained_weights"])
    return result


def _costs(record: Mapping[str, Any]) -> dict[str, str]:
    """What the fit took."""
    names = {"trained_weights": "trained weights", "frozen_weights": "frozen weights", "members": "members"}
    names |= {"epochs": "epochs at most", "batch_size": "batch size", "peak_memory_mb": "peak memory, MB"}
    result = {label: _counted(record[key]) for key, label in names.items() if record.get(key) is not None}
    return result | {f"{stage}, seconds": f"{s:.1f}" for stage, s in (record.get("seconds") or {}).items()}


def _counted(value: Any) -> str:
    return sentences.number(value) if isinstance(value, int | float) else str(value)


def _origin(record: Mapping[str, Any]) -> dict[str, str]:
    """What the fit started from, versions included."""
    names = {"seed": "seed", "seeds": "seeds", "data_hash": "data hash", "rows": "training rows"}
    names |= {"distinct_rows": "distinct rows"}
    result = {label: str(record[key]) for key, label in names.items() if record.get(key) is not None}
    return result | {str(k): str(v) for k, v in (record.get("versions") or {}).items()}


def _settings(model: Any, record: Mapping[str, Any]) -> str:
    """The estimator's fields as YAML; the schema, which is shown beside them, left out."""
    value = record.get("settings")
    if value is None and hasattr(model, "get_params"):
        value = model.get_params(deep=False)
    kept = {k: v for k, v in (value or {}).items() if k not in ("modalities",)}
    return config.to_yaml({k: _yaml_value(v) for k, v in kept.items()}) if kept else ""


def _yaml_value(value: Any) -> Any:
    plain = plain_values(value)
    if isinstance(plain, dict):
        return {k: _yaml_value(v) for k, v in plain.items()}
    if isinstance(plain, list):
        return [_yaml_value(v) for v in plain]
    return plain if isinstance(plain, str | int | float | bool | type(None)) else str(plain)
