"""Templates to pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from plait.errors import need
from plait.report import sentences

TEMPLATES = Path(__file__).parent / "templates"
#: Rows of a table that are shown at once; longer ones are folded.
UNFOLDED = 25


def render(template: str, **told: Any) -> str:
    """One page from a template of this package and what it names."""
    jinja2 = need("jinja2", "report")
    # Escaping is on for every template: names of columns and classes are a stranger's text.
    surroundings = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    markup = need("markupsafe", "report").Markup
    surroundings.filters["number"] = sentences.number
    surroundings.filters["drawn"] = lambda drawing: markup(drawing.markup)
    surroundings.tests["a_number"] = lambda value: isinstance(value, int | float) and not isinstance(value, bool)
    surroundings.globals["unfolded"] = UNFOLDED
    return str(surroundings.get_template(template).render(**told))
