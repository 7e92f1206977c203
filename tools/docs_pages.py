"""Pages of the API for the documentation site, made when it is built (MkDocs calls these functions; see ``mkdocs.yml``)."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.files import File, Files

#: Page -> its title, and the public names on it as ``module:name``; ``plait`` alone has every name of ``plait.__all__``.
PAGES = {
    "estimators": (
        "Estimators",
        ["plait:FusionClassifier", "plait:FusionRegressor", "plait.estimators.fit_settings:FitSettings", "plait:load"],
    ),
    "evaluation": ("Evaluate and explain", ["plait:evaluate", "plait:explain", "plait:importance", "plait:inspect"]),
    "tables": (
        "Tables and schemas",
        ["plait:read_table", "plait:infer_schema", "plait:schema", "plait:Schema", "plait:Modality"],
    ),
    "workflow": ("The main job in one call", ["plait:fit_table", "plait:pretrain", "plait:Store"]),
    "production": ("Export, serve, push", ["plait:export", "plait:serve", "plait:push"]),
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


def unlisted() -> list[str]:
    """Public names of plait that are on no page."""
    import plait

    listed = {name for _, names in PAGES.values() for name in names} | {"plait:Cells"}  # an alias, named in Encoder
    return sorted({f"plait:{name}" for name in plait.__all__} - listed)


def on_files(files: Files, config: Any) -> Files:
    """Add one page per group of public names; a public name on no page is an error."""
    if missing := unlisted():
        raise SystemExit(f"tools/docs_pages.py: public names on no page: {', '.join(missing)}")
    for page, (title, names) in PAGES.items():
        text = f"# {title}\n\n" + "\n\n".join(_directive(name) for name in names if _there(name))
        files.append(File.generated(config, f"api/{page}.md", content=text))
    files.append(File.generated(config, "gallery.md", content=_gallery(files, config)))
    return files


#: What is written when the site is built: words of a page -> the link to it.
_WRITTEN = {"the gallery": "[The gallery](gallery.md)", "the API reference": "[API reference](api/estimators.md)"}


def on_page_markdown(markdown: str, page: Any, **kwargs: Any) -> str:
    """Lead from the first page to what is written when the site is built, which nothing in the folder can link to."""
    if page.file.src_uri == "index.md":
        for words, link in _WRITTEN.items():
            markdown = markdown.replace(f"| {words} |", f"| {link} |")
    return markdown


#: Where the scripts lie, and where ``tools/gallery.py`` puts their pictures and notebooks.
_SCRIPTS, _BUILT = Path(__file__).parents[1] / "examples" / "gallery", Path(__file__).parents[1] / "build" / "gallery"


def _gallery(files: Files, config: Any) -> str:
    """The gallery: thumbnails that lead to each script below; pictures and notebooks where they were built."""
    cards, parts = list[str](), list[str]()
    for script in sorted(_SCRIPTS.glob("plot_*.py")):
        name, text = script.stem, script.read_text(encoding="utf-8")
        title, _, rest = text.removeprefix('"""').partition("\n")
        words, _, code = rest.partition('"""')
        picture = links = ""
        for ending in ("png", "ipynb"):
            built = _BUILT / f"{name}.{ending}"
            if built.is_file():
                files.append(File.generated(config, f"gallery/{name}.{ending}", content=built.read_bytes()))
                picture = f"![{title}](gallery/{name}.png)" if ending == "png" else picture
                links = f"[notebook](gallery/{name}.ipynb)" if ending == "ipynb" else links
        anchor = name.removeprefix("plot_").replace("_", "-")
        cards.append("-   " + (f"{picture}\n\n    " if picture else "") + f"[{title}](#{anchor})")
        parts.append(f"## {title} {{#{anchor}}}\n\n{words.strip()}\n\n{picture}\n\n{links}\n\n{_cells(code)}\n")
    head = (
        "# Gallery\n\nScripts of `examples/gallery` that run as they are; their data is generated or comes by pip. "
        "Each takes 6 to 22 processor seconds (`examples/gallery/README.md`).\n\n"
    )
    return f'{head}<div class="grid cards" markdown>\n\n' + "\n\n".join(cards) + "\n\n</div>\n\n" + "\n".join(parts)


def _cells(code: str) -> str:
    """The cells of a script: code between fences, prose (``# %% [markdown]``) as prose."""
    shown = list[str]()
    for cell in re.split(r"^# %%", code, flags=re.MULTILINE):
        kind, _, body = cell.partition("\n")
        if body.strip():
            prose = re.sub(r"^# ?", "", body.strip(), flags=re.MULTILINE)
            shown.append(prose if "[markdown]" in kind else f"```py\n{body.strip()}\n```")
    return "\n\n".join(shown)


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
