"""The front page: a form made from the schema, which asks the service and draws its answer."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

from plait.data.modality import Modality
from plait.encoders.tabular import Tabular
from plait.estimators.base import FusionEstimator
from plait.exporting.columns import features_of

ASSETS = Path(__file__).parent / "assets"
#: Levels of a category that a field suggests.
_SUGGESTED = 200
#: All that the page may load: itself.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def front_page(models: dict[str, FusionEstimator]) -> str:
    """The HTML of the form for all modalities of the models."""
    modalities = {m.name: (m, model) for model in models.values() for m in model.schema_.modalities}
    fields = "\n".join(_fieldset(m, model) for m, model in modalities.values())
    page = (ASSETS / "form.html").read_text(encoding="utf-8")
    title = escape(", ".join(models))
    return page.replace("{{title}}", title).replace("{{fields}}", fields)


def _fieldset(modality: Modality, model: FusionEstimator) -> str:
    legend = f"{escape(modality.name)} <small>{escape(modality.kind)}</small>"
    rows = "\n".join(_labelled(column, field) for column, field in _fields(modality, model))
    return f"<fieldset><legend>{legend}</legend>\n{rows}\n</fieldset>"


def _labelled(column: str, field: str) -> str:
    return f"<label><span>{escape(column)}</span>{field}</label>"


def _fields(modality: Modality, model: FusionEstimator) -> Iterator[tuple[str, str]]:
    """Each column with its field."""
    encoder = model.features_.encoders[modality.name]
    parts = features_of(encoder) if isinstance(encoder, Tabular) else []
    for column in modality.columns:
        name = f'name="{escape(column, quote=True)}"'
        if modality.kind in ("image", "audio", "video"):
            yield column, f'<input type="file" {name} accept="{modality.kind}/*">'
        elif modality.kind in ("text", "code"):
            yield column, f'<textarea {name} rows="3"></textarea>'
        elif modality.kind == "vector":
            yield column, f'<input type="text" {name} placeholder="numbers, with commas">'
        else:
            own = [part for part in parts if part.name == column]
            yield column, _tabular({part.type for part in own}, name, [w for p in own for w in p.vocabulary])


def _tabular(types: set[str], name: str, levels: list[str]) -> str:
    if "boolean" in types:
        return f'<select {name}><option value=""></option><option>yes</option><option>no</option></select>'
    if levels:
        listed = f"levels-{abs(hash(name)):x}"
        options = "".join(f'<option value="{escape(level, quote=True)}">' for level in levels[:_SUGGESTED])
        return f'<input type="text" {name} list="{listed}"><datalist id="{listed}">{options}</datalist>'
    if "date" in types:
        return f'<input type="text" {name} placeholder="2026-01-31">'
    kind = ' inputmode="decimal"' if "number" in types else ""
    return f'<input type="text" {name}{kind}>'
