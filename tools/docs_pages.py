"""Pages of the API for the documentation site, made when it is built (MkDocs calls these functions; see ``mkdocs.yml``)."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

import griffe
from mkdocs.structure.files import File, Files

#: Page -> its title, and the public names on it as ``module:name``; ``plait`` alone has every name of ``plait.__all__``.
PAGES = {
    "estimators": (
        "Estimators",
        ["plait:FusionClassifier", "plait:FusionRegressor", "plait.estimators.fit_settings:FitSettings", "plait:load"],
    ),
    "evaluation": ("Evaluate and explain", ["plait:evaluate", "plait:explain", "plait:inspect"]),
    "tables": (
        "Tables and schemas",
        ["plait:read_table", "plait:infer_schema", "plait:schema", "plait:Schema", "plait:Modality"],
    ),
    "workflow": ("The main job in one call", ["plait:fit_table", "plait:pretrain", "plait:Store"]),
    "studies": ("Studies and search", ["plait:Study", "plait:Results", "plait:advise", "plait:search"]),
    "alignment": ("Alignment", ["plait:ModalityAligner"]),
    "families": (
        "Families to extend",
        [
            "plait:Encoder",
            "plait:Fusion",
            "plait:Branch",
            "plait:Condition",
            "plait:Tokens",
            "plait:register",
        ],
    ),
    "errors": ("Errors and warnings", ["plait:PlaitError", "plait:PlaitWarning"]),
    "testing": ("Contracts for tests", ["plait.testing:"]),
    "datasets": ("Data sets", ["plait.datasets:"]),
    "papers": ("Papers", ["plait.papers:reproduce", "plait.papers:Reproduction", "plait.papers:Paper"]),
}


def on_config(config: Any) -> Any:
    """Put the pages of the API into the navigation."""
    for entry in config["nav"]:
        if "API reference" in entry:
            entry["API reference"] = [{title: f"api/{page}.md"} for page, (title, _) in PAGES.items()]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add one page per group of public names; a public name on no page is an error."""
    import plait

    listed = {name for _, names in PAGES.values() for name in names} | {"plait:Cells"}  # an alias, named in Encoder
    if missing := {f"plait:{name}" for name in plait.__all__} - listed:
        raise SystemExit(f"tools/docs_pages.py: public names on no page: {', '.join(sorted(missing))}")
    for page, (title, names) in PAGES.items():
        text = f"# {title}\n\n" + "\n\n".join(_directive(name) for name in names if _there(name))
        files.append(File.generated(config, f"api/{page}.md", content=text))
    return files


def _there(name: str) -> bool:
    module, _, attribute = name.partition(":")
    return not attribute or hasattr(importlib.import_module(module), attribute)


class Examples(griffe.Extension):
    """Reads ``Example:`` as the section of examples, which griffe knows by its plural only."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Before a docstring is parsed."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)


def _directive(name: str) -> str:
    """The place where a public name is defined, for mkdocstrings, which reads sources."""
    module, _, attribute = name.partition(":")
    if not attribute:
        return f"::: {module}"
    value = getattr(importlib.import_module(module), attribute)
    if inspect.ismodule(value):
        return f"::: {value.__name__}"
    return f"::: {value.__module__}.{value.__qualname__}"
