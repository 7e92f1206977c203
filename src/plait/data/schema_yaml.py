"""A schema as plain values and as YAML with comments, there and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from plait.base.config import fields_of, mapping_of
from plait.base.documents import read_yaml_node, value_of, write_yaml
from plait.base.encoder import Encoder
from plait.base.errors import ConfigError, PlaitError, nearest
from plait.data.modality import Modality, Schema, name_problem

_FIELDS = ("target", "task", "root", "modalities", "ignored")
_MODALITY = tuple(f for f in fields_of(Modality) if f != "name")

#: Lines of a list are no longer.
WIDTH = 80

#: Keys and positions that lead to a value.
Place = tuple[str | int, ...]
#: Where, and what is wrong there.
Problem = tuple[Place, str]


def to_dict(schema: Schema) -> dict[str, Any]:
    """A schema as plain values, without notes and doubts; ``from_dict`` takes them back."""
    options: dict[str, Any] = {
        "target": schema.target,
        "task": schema.task if schema.target else None,
        "root": schema.root,
    }
    options["modalities"] = {m.name: _modality_dict(m, schema) for m in schema.modalities}
    options["ignored"] = dict(schema.ignored)
    return {k: v for k, v in options.items() if v or k == "modalities"}


def _modality_dict(modality: Modality, schema: Schema) -> dict[str, object]:
    encoder = modality.encoder
    if isinstance(encoder, Encoder):
        encoder = {"name": encoder.name(), **encoder.options()}
    options = {
        "kind": modality.kind,
        "columns": list(modality.columns),
        "types": schema.types_of(modality) if modality.kind == "tabular" else {},
        "encoder": dict(encoder) if isinstance(encoder, Mapping) else encoder,
        "train": None if modality.train == "frozen" else modality.train,
        "root": modality.root,
    }
    return {k: v for k, v in options.items() if v}


def from_dict(spec: Mapping[str, Any], where: str = "schema") -> Schema:
    """A schema from plain values; unknown fields are refused.

    Raises:
        ConfigError: all problems at once.
    """
    return _built(spec, where, {})


def modalities_from(spec: Mapping[str, object]) -> tuple[Modality, ...]:
    """Modalities from ``name -> {kind, columns, ...}``."""
    return from_dict({"modalities": spec}, "modalities").modalities


def from_yaml(text: str, where: str = "schema") -> Schema:
    """A schema from YAML.

    Raises:
        ConfigError: not YAML, a key given twice, or an unknown field; the message names the line.
    """
    node = read_yaml_node(text, where)
    value = mapping_of(value_of(node, where), where)
    value.pop("settings", None)  # the estimator's fields may stand in the same file
    if isinstance(value.get("target"), list):  # several: whoever asks for them reads them there (plait fit)
        del value["target"]
        value.pop("task", None)
    return _built(value, where, dict(lines_of(node)))


def lines_of(node: yaml.Node | None, place: Place = ()) -> Iterator[tuple[Place, int]]:
    """Every key and item of a YAML text by the keys and positions that lead to it, and its line."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*place, str(key.value))
            yield inner, key.start_mark.line + 1
            yield from lines_of(value, inner)
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            yield (*place, position), value.start_mark.line + 1
            yield from lines_of(value, (*place, position))


def _built(spec: Mapping[str, Any], where: str, lines: Mapping[Place, int]) -> Schema:
    result = list(_problems(spec))
    if result:
        said = (f"line {lines[path]}: {text}" if path in lines else text for path, text in result)
        raise ConfigError(f"{where}: " + "; ".join(said))
    modalities = dict(spec["modalities"])
    types = _types(modalities, where)
    try:
        return Schema(
            tuple(_modality(name, m) for name, m in modalities.items()),
            spec.get("target"),
            spec.get("task") or "classification",
            {str(k): str(v) for k, v in (spec.get("ignored") or {}).items()},
            types,
            spec.get("root"),
        )
    except PlaitError as error:
        raise ConfigError(f"{where}: {error}") from None


def _types(modalities: Mapping[str, Any], where: str) -> dict[str, str]:
    """Column -> type; a column that serves in several modalities has one."""
    types: dict[str, str] = {}
    for name, modality in modalities.items():
        for column, value in (modality.get("types") or {}).items():
            if types.setdefault(column, value) != value:
                raise ConfigError(
                    f"{where}: {name}: column '{column}' is {value} here and {types[column]} in another modality; "
                    "a column has one type"
                )
    return types


def _modality(name: str, spec: Mapping[str, Any]) -> Modality:
    columns = spec["columns"]
    given = {k: v for k, v in spec.items() if k in ("kind", "encoder", "train", "root") and v is not None}
    return Modality(name, columns=(columns,) if isinstance(columns, str) else tuple(columns), **given)


def _problems(spec: Mapping[str, object]) -> Iterator[Problem]:
    for key in spec:
        if key not in _FIELDS:
            yield (str(key),), f"unknown field '{key}' ({nearest(str(key), (*_FIELDS, 'settings'))})"
    for key in ("target", "task", "root"):
        if spec.get(key) is not None and not isinstance(spec[key], str):
            yield (key,), f"{key}: expected text, found {spec[key]!r}; quote it"
    ignored = spec.get("ignored") or {}
    if not isinstance(ignored, Mapping):
        yield ("ignored",), f"ignored: expected a mapping of column to reason, found {type(ignored).__name__}"
    modalities = spec.get("modalities")
    if not isinstance(modalities, Mapping) or not modalities:
        yield (
            ("modalities",),
            "modalities: expected a mapping of name to {kind, columns, ...}, found nothing of that kind",
        )
        return
    for name, modality in modalities.items():
        yield from _modality_problems(name, modality)


def _modality_problems(name: object, value: object) -> Iterator[Problem]:
    path = ("modalities", str(name))
    if said := name_problem(name, value.get("kind", "") if isinstance(value, Mapping) else ""):
        yield path, f"modality {name!r}: {said}"
    if not isinstance(value, Mapping):
        yield path, f"modality '{name}': expected {{kind, columns, ...}}, found {value!r:.40}"
        return
    for key in value:
        if key not in (*_MODALITY, "types"):
            yield (
                (*path, str(key)),
                f"modality '{name}': unknown field '{key}' ({nearest(str(key), (*_MODALITY, 'types'))})",
            )
    for key in ("kind", "columns"):
        if value.get(key) is None:
            yield path, f"modality '{name}': '{key}' is missing"
    yield from _value_problems(name, value, path)


def _value_problems(name: object, spec: Mapping[str, object], path: tuple[str, ...]) -> Iterator[Problem]:
    columns = spec.get("columns")
    columns = [columns] if isinstance(columns, str) else columns
    if columns is not None and not (isinstance(columns, list | tuple) and all(isinstance(c, str) for c in columns)):
        yield (
            (*path, "columns"),
            f"modality '{name}': columns must be a list of names, found {columns!r:.60}; quote numbers",
        )
        return
    for key in ("kind", "train", "root"):
        if spec.get(key) is not None and not isinstance(spec[key], str):
            yield (*path, key), f"modality '{name}': {key} must be text, found {spec[key]!r}"
    if not isinstance(spec.get("encoder"), str | Mapping | Encoder | None):
        yield (*path, "encoder"), f"modality '{name}': encoder must be a name or {{name: ..., option: ...}}"
    types = spec.get("types") or {}
    if not isinstance(types, Mapping) or not all(isinstance(t, str) for t in types.values()):
        yield (
            (*path, "types"),
            f"modality '{name}': types must map columns to words such as number, found {types!r:.60}",
        )
    elif types and spec.get("kind") != "tabular":
        yield (*path, "types"), f"modality '{name}': types are for tabular columns, its kind is {spec.get('kind')}"
    else:
        for column in types:
            if column not in (columns or ()):
                yield (
                    (*path, "types", str(column)),
                    f"modality '{name}': types names '{column}', which is not among its columns",
                )


def to_yaml(schema: Schema, targets: Sequence[str] = ()) -> str:
    """A schema as YAML with comments on what each column was taken for; ``from_yaml`` reads it back.

    ``targets``: several, in place of the schema's one.
    """
    value = to_dict(schema)
    lines = [f"target: [{', '.join(map(_scalar, targets))}]"] if targets else []
    lines += [f"{key}: {_scalar(value[key])}" for key in ("target", "task", "root") if key in value]
    if schema.target in schema.notes:
        lines[0] += _comment(schema, schema.target)
    lines.append("modalities:" if schema.modalities else "modalities: {}")
    for modality in schema.modalities:
        lines += _modality_lines(modality, value["modalities"][modality.name], schema)
    if schema.ignored:
        lines.append("ignored:  # column: why it is left out")
        lines += [f"  {_scalar(c)}: {_scalar(reason)}{_comment(schema, c)}" for c, reason in schema.ignored.items()]
    return "\n".join(lines) + "\n"


def _modality_lines(modality: Modality, spec: Mapping[str, Any], schema: Schema) -> list[str]:
    lines = [f"  {_scalar(modality.name)}:", f"    kind: {modality.kind}"]
    if "types" in spec:
        lines += _list_lines("    columns: [", [_scalar(c) for c in modality.columns])
        lines.append("    types:")
        lines += [f"      {_scalar(c)}: {_scalar(t)}{_comment(schema, c)}" for c, t in spec["types"].items()]
    else:
        lines.append("    columns:")
        lines += [f"      - {_scalar(c)}{_comment(schema, c)}" for c in modality.columns]
    rest = {k: v for k, v in spec.items() if k in ("encoder", "train", "root")}
    return lines + [f"    {k}: {_scalar(v)}" for k, v in rest.items()]


def _list_lines(head: str, values: Sequence[str]) -> list[str]:
    """A list in brackets, on as many lines as a screen of usual width asks for."""
    lines = [head]
    for i, value in enumerate(values):
        piece = value + ("]" if i == len(values) - 1 else ",")
        if len(lines[-1]) + len(piece) + 1 > WIDTH and lines[-1] != head:
            lines.append(" " * 6 + piece)
        else:
            lines[-1] += piece if lines[-1] == head else f" {piece}"
    return lines


def _comment(schema: Schema, column: str | None) -> str:
    said = [schema.notes.get(str(column), "")]
    if column is not None and column in schema.doubts:
        said.append(f"CHECK: {schema.doubts[column]}")
    text = "; ".join(" ".join(s.split()) for s in said if s)
    return f"  # {text}" if text else ""


def _scalar(value: object) -> str:
    """One value on one line; a list of one shows what needs quotes inside brackets."""
    style = '"' if isinstance(value, str) and "\n" in value else None
    dumped = write_yaml([value], default_flow_style=True, default_style=style, width=10**9)
    return dumped.strip()[1:-1]
