"""The house: no circles, nothing private across packages, variants apart, only two files at the root."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

import plait
from plait.base import registry

#: Lazy imports and imports for types count as well.
GRAPH = grimp.build_graph("plait", exclude_type_checking_imports=False, cache_dir=None)
IMPORTS = {module: GRAPH.find_modules_directly_imported_by(module) for module in GRAPH.modules}


def circles(imports: dict[str, set[str]]) -> list[set[str]]:
    """Sets of modules that reach each other (Tarjan's strongly connected components of more than one module)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    open_: list[str] = []
    result: list[set[str]] = []

    def visit(module: str) -> None:
        number[module] = low[module] = len(number)
        open_.append(module)
        for other in imports[module]:
            if other not in number:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in open_:
                low[module] = min(low[module], number[other])
        if low[module] == number[module]:
            start = open_.index(module)
            result.append(set(open_[start:]))
            del open_[start:]

    for module in imports:
        if module not in number:
            visit(module)
    return [circle for circle in result if len(circle) > 1]


def test_circles_are_seen() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}) == [{"a", "b", "c"}]


def test_there_is_no_circle() -> None:
    assert len(IMPORTS) > 100
    assert circles(IMPORTS) == []


def test_nothing_imports_the_public_face() -> None:
    assert [module for module, found in IMPORTS.items() if "plait" in found and module != "plait.__main__"] == []


def test_no_private_module_is_imported_from_another_package() -> None:
    wrong = []
    for module, found in IMPORTS.items():
        for other in found:
            parts = other.split(".")
            private = next((i for i, part in enumerate(parts) if part.startswith("_")), None)
            if private is not None and not f"{module}.".startswith(".".join(parts[:private]) + "."):
                wrong.append((module, other))
    assert wrong == []


@pytest.mark.parametrize("family", registry.FAMILIES)
def test_variants_do_not_import_each_other(family: str) -> None:
    modules = {registry.find(family, name).__module__ for name in registry.names(family)}
    assert modules
    assert [(m, other) for m in modules if m in IMPORTS for other in IMPORTS[m] & modules] == []


def test_only_two_files_stand_at_the_root() -> None:
    root = Path(plait.__file__).parent
    assert {p.name for p in root.iterdir() if p.suffix == ".py"} == {"__init__.py", "__main__.py"}


def crowded(tree: ast.AST, most: int = 8) -> Iterator[str]:
    """Names of functions with more than ``most`` parameters."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            if len([name for name in names if name not in ("self", "cls", "ctx")]) > most:
                yield node.name


def test_crowded_functions_are_seen() -> None:
    assert list(crowded(ast.parse("def f(self, a, b, *, c): ...\ndef g(a, b): ..."), 2)) == ["f"]


def test_functions_take_at_most_eight_parameters() -> None:
    root = Path(plait.__file__).parent
    places = [path for path in root.rglob("*.py") if path.parent.name != "cli"]
    every = {name for path in places for name in crowded(ast.parse(path.read_text(encoding="utf-8")))}
    assert len(places) > 100
    assert every == set()


def test_no_state_travels_beside_the_arguments() -> None:
    places = list(Path(plait.__file__).parent.rglob("*.py"))
    assert len(places) > 100
    assert [path for path in places if "contextvars" in path.read_text(encoding="utf-8")] == []


def private(source: str) -> list[str]:
    """Modules and names of plait that begin with ``_`` and are imported, patched, or taken from what was imported."""
    result = [m[0] for m in re.finditer(r"plait(?:\.\w+)*\._[a-z]\w*", source)]
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "plait":
            result += [f"{node.module}.{alias.name}" for alias in node.names if re.match("_[a-z]", alias.name)]
            imported |= {alias.asname or alias.name for alias in node.names}
    for name in imported:
        taken = re.finditer(rf'(?<![\w.]){name}(?:\.|, ")_[a-z]\w*', source)
        result += [m[0] for m in taken]
    return result


def test_private_names_are_seen() -> None:
    assert private("from plait.fusion import _attention, sum") == ["plait.fusion._attention"]
    assert private("import plait.fusion._attention") == ["plait.fusion._attention"]
    assert private("from plait.base import checks\nchecks._parts\nself.checks._parts") == ["checks._parts"]
    assert private('from plait.base import checks\npatch(checks, "_parts")') == ['checks, "_parts']


def test_tests_and_examples_use_public_names() -> None:
    top = Path(__file__).parents[1]
    places = [path for folder in ("tests", "benchmarks", "examples") for path in (top / folder).rglob("*.py")]
    wrong = {path.name for path in places if private(path.read_text(encoding="utf-8"))} - {Path(__file__).name}
    assert wrong == set()


#: Modules of the standard library that Windows has not.
UNIX = {"fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"}


def at_import(tree: ast.AST) -> Iterator[str]:
    """Modules that are imported as a file is, outside of functions and of ``try``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Try):
            yield from at_import(node)


def test_imports_of_a_file_are_seen() -> None:
    assert set(at_import(ast.parse("import pwd\nif 1:\n    from pty import fork\ndef f():\n    import tty"))) == {
        "pwd",
        "pty",
    }


def test_nothing_needs_unix_at_import() -> None:
    places = list(Path(plait.__file__).parent.rglob("*.py"))
    assert len(places) > 100
    assert [p for p in places if UNIX & set(at_import(ast.parse(p.read_text(encoding="utf-8"))))] == []
