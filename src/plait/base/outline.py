"""Families read from their source, without an import: what ``plait list`` shows of a variant beside name and summary."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from plait.base import config

_ROOT = Path(__file__).parents[1]


class UnreadableError(Exception):
    """The source does not say it in so many words: whoever wants to know imports the class."""


class Outline:
    """A class by its source: its docstring, and what the bodies of it and its bases set, looked up as Python would.

    Of classes of plait alone: anything else is for the import.
    """

    def __init__(self, module: str, name: str) -> None:
        """Of the class ``name`` of ``plait.<module>``, which may have it from elsewhere in plait."""
        # Of a base that several have, the last place counts: Python's order where no two bases disagree.
        self.chain = list(dict.fromkeys(reversed(list(_chain(module, name)))))[::-1]

    @property
    def summary(self) -> str:
        """The first line of the docstring of the class, or of the first base that has one."""
        texts = (ast.get_docstring(node) for _, node in self.chain)
        return next((text.partition("\n")[0] for text in texts if text), "")

    def extends(self, base: Outline) -> bool:
        """Whether it stands below another class."""
        return base.chain[0] in self.chain[1:]

    def defines(self, method: str, below: Outline) -> bool:
        """Whether it, or a base below ``below``, has a method of its own by this name."""
        own = self.chain[: -len(below.chain)]
        return any(isinstance(part, ast.FunctionDef) and part.name == method for _, node in own for part in node.body)

    def fields(self) -> list[str]:
        """Names of the settings of a dataclass, in order."""
        names: dict[str, None] = {}
        for _, node in reversed(self.chain):
            for part in node.body:
                if (
                    isinstance(part, ast.AnnAssign)
                    and isinstance(part.target, ast.Name)
                    and not _is_class_variable(part)
                ):
                    if isinstance(part.value, ast.Call):
                        raise UnreadableError(part.target.id)
                    names[part.target.id] = None
        return list(names)

    def keywords(self) -> list[str]:
        """Names of the keyword-only parameters of its ``__init__``."""
        for _, node in self.chain:
            for part in node.body:
                if isinstance(part, ast.FunctionDef) and part.name == "__init__":
                    return [argument.arg for argument in part.args.kwonlyargs]
        return []

    def __getattr__(self, name: str) -> Any:
        """The value of a class attribute; of a property it is the property, as for the class itself."""
        for module, node in self.chain:
            for part in node.body:
                if isinstance(part, ast.FunctionDef) and part.name == name:
                    return property()
                if (value := _assigned(part, name)) is not None:
                    return _value(module, value)
        raise UnreadableError(name)


def variants(package: str) -> list[str]:
    """Names of the modules of ``plait.<package>`` that hold a variant: public ones that its ``SHARED`` does not name."""
    try:
        said = (value for part in _tree(package).body if (value := _assigned(part, "SHARED")) is not None)
        shared = next((_value(package, value) for value in said), ())
    except UnreadableError:
        shared = getattr(importlib.import_module(f"plait.{package}"), "SHARED", ())
    modules = pkgutil.iter_modules([str(_ROOT.joinpath(*package.split(".")))])
    return [m.name for m in modules if not m.ispkg and m.name not in shared and not m.name.startswith("_")]


def only_class(module: str, base: Outline) -> Outline:
    """The one public class of ``plait.<module>`` that extends the base.

    Raises:
        UnreadableError: there is none, or several, or its bases cannot be followed.
    """
    names = [node.name for node in _tree(module).body if isinstance(node, ast.ClassDef) and node.name[0] != "_"]
    result = [outline for outline in _outlines(module, names) if outline.extends(base)]
    if len(result) != 1:
        raise UnreadableError(module)
    return result[0]


def _outlines(module: str, names: list[str]) -> Iterator[Outline]:
    for name in names:
        try:
            yield Outline(module, name)
        except UnreadableError:  # of something else, beside the variant
            continue


@cache
def _tree(module: str) -> ast.Module:
    file = _ROOT.joinpath(*module.split("."))
    file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
    try:
        return ast.parse(file.read_text(encoding="utf-8"))
    except OSError as error:  # installed without sources
        raise UnreadableError(module) from error


def _chain(module: str, name: str) -> Iterator[tuple[str, ast.ClassDef]]:
    """The class and its bases, nearest first, as far as they are plait's own."""
    for node in _tree(module).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            yield module, node
            plain = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]  # of what it holds
            bases = [base.id for base in plain if isinstance(base, ast.Name) and base.id not in ("ABC", "Generic")]
            for base in bases:
                yield from _chain(module, base)
            return
        if isinstance(node, ast.ImportFrom) and (source := _imported(node, name)):
            yield from _chain(*source)
            return
    raise UnreadableError(f"{module}: {name}")


def _imported(node: ast.ImportFrom, name: str) -> tuple[str, str] | None:
    """Where a name comes from, if this line imports it from plait."""
    package, _, module = (node.module or "").partition(".")
    names = {alias.asname or alias.name: alias.name for alias in node.names}
    return (module, names[name]) if package == "plait" and name in names else None


def _assigned(part: ast.stmt, name: str) -> ast.expr | None:
    if isinstance(part, ast.AnnAssign):
        return part.value if isinstance(part.target, ast.Name) and part.target.id == name else None
    if isinstance(part, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in part.targets):
        return part.value
    return None


def _is_class_variable(part: ast.AnnAssign) -> bool:
    return ast.unparse(part.annotation).startswith("ClassVar")


def _constant(module: str, name: str) -> Any:
    """The value of a name of a module, wherever in plait it was set."""
    for part in _tree(module).body:
        if (value := _assigned(part, name)) is not None:
            return _value(module, value)
        if isinstance(part, ast.ImportFrom) and (source := _imported(part, name)):
            return _constant(*source)
    raise UnreadableError(f"{module}: {name}")


def _value(module: str, node: ast.expr) -> Any:
    """A literal, or what is put together from literals and constants of plait by ``+``, ``-``, f-strings and dictionaries."""
    if isinstance(node, ast.Name):
        return _constant(module, node.id)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(_value(module, part)) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return _value(module, node.value)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        left, right = _value(module, node.left), _value(module, node.right)
        return left + right if isinstance(node.op, ast.Add) else left - right
    if isinstance(node, ast.Tuple | ast.List):
        return tuple(_value(module, part) for part in node.elts)
    if isinstance(node, ast.Dict):
        result: dict[Any, Any] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            result |= _value(module, value) if key is None else {_value(module, key): _value(module, value)}
        return result
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "dict.fromkeys" and not node.keywords:
        return dict.fromkeys(*(_value(module, part) for part in node.args))
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise UnreadableError(ast.unparse(node)) from error


def of_encoder(variant: Any) -> dict[str, str]:
    """Kinds, how it is trained, the extra that it needs, licence."""
    regimes = {
        "frozen": variant.frozen,
        "scratch": variant.trainable,
        "raw": variant.raw,
        "tuned": bool(variant.tunable),
    }
    return {
        "kinds": ", ".join(variant.kinds),
        "train": ", ".join(word for word, has in regimes.items() if has),
        "extra": variant.extra or "-",
        "licence": variant.licence,
    }


def of_fusion(variant: Any) -> dict[str, str]:
    """Where it joins, whether widths are made equal, options."""
    names = [name for name in variant.keywords() if name != "level"] if _is_outline(variant) else variant.options()
    widths = "made equal" if variant.equal_widths else "any"
    return {"level": ", ".join(variant.levels), "widths": widths, "options": ", ".join(names) or "-"}


def of_branch(variant: Any) -> dict[str, str]:
    """How it is trained, options, the extra that it needs, licence."""
    names = variant.fields() if _is_outline(variant) else config.fields_of(variant)
    return {
        "trained": variant.trained,
        "options": ", ".join(names) or "-",
        "extra": variant.extra or "-",
        "licence": variant.licence,
    }


def of_condition(variant: Any) -> dict[str, str]:
    """Kinds that it changes, and what its strength is."""
    return {"kinds": ", ".join(variant.kinds), "strength": variant.measure}


def of_alignment(variant: Any) -> dict[str, str]:
    """How it is fitted, and whether encoders are trained with it."""
    return {
        "fitted": "by gradient" if variant.learned else "solved",
        "encoders": "frozen" if variant.frozen else "trained",
    }


def of_dataset(variant: Any) -> dict[str, str]:
    """Label, targets with their metrics, licence, source."""
    metrics = _metrics(variant)
    targets = [f"{target} ({task}, {metrics[target]})" for target, task in variant.tasks.items()]
    return {
        "label": dataset_label(variant),
        "targets": ", ".join(targets) or "none (pairs)",
        "licence": dataset_licence(variant),
        "source": variant.url,
    }


def usual_metrics(tasks: Mapping[str, str]) -> dict[str, str]:
    """Target -> the metric to report first, of its task."""
    first = {"classification": "accuracy", "multilabel": "f1_samples", "regression": "mae"}
    return {target: first[task] for target, task in tasks.items()}


def _metrics(variant: Any) -> Any:
    """Those of a class; of an outline by the same rule: a class that sets tasks and no metrics has the usual ones."""
    for _, node in variant.chain if _is_outline(variant) else ():
        if any(_assigned(part, "metrics") is not None for part in node.body):
            break
        if any(_assigned(part, "tasks") is not None for part in node.body):
            return usual_metrics(variant.tasks)
    return variant.metrics


def dataset_label(variant: Any) -> str:
    """The name to print beside results: a stand-in says that it is one."""
    return f"{variant.title} (rebuilt)" if variant.rebuilt else str(variant.title)


def dataset_licence(variant: Any) -> str:
    """The licence, and whether it was verified at its source."""
    return str(variant.licence) if variant.licence_from else f"{variant.licence} (not verified)"


def _is_outline(variant: Any) -> bool:
    return isinstance(variant, Outline)


#: Family -> what is told of its variants, where there is anything beside name and summary.
OF_FAMILY = {
    "encoders": of_encoder,
    "fusion": of_fusion,
    "branches": of_branch,
    "conditions": of_condition,
    "alignment": of_alignment,
    "datasets": of_dataset,
}
