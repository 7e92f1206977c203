"""Figures of the code's layout: ``python tools/layout.py [SRC [REVISION]]``.

Files, lines, the lines of the median file, the longest 5 % of functions, functions with more than eight parameters outside the
command line, signatures that hold ``Any``, private words, and the largest set of files that import each other (imports for
types and late imports count). What the lines are: docstrings, imports, code. Of a revision of git: how many of its lines stand
here to the letter, by package; and how long the functions are that both have, by name.
"""

from __future__ import annotations

import ast
import io
import statistics
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PARAMETERS = 8
#: Words that said nothing, as names of things: ``estimator``, ``settings``, ``result`` and the like say what is meant.
PRIVATE = {"told", "found", "asked", "went", "settled", "case", "Lesson"}


def modules(source: Path) -> dict[str, Path]:
    """Dotted name of every module below a folder."""
    found = {}
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(tree: ast.Module, known: dict[str, Path]) -> set[str]:
    """Modules of the same tree that one names, wherever the import stands."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in known}
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in known else str(node.module) for name in names}
    return found


def largest_circle(graph: dict[str, set[str]]) -> int:
    """Size of the largest set of modules that all reach each other; 1 where there is no circle."""
    reach: dict[str, set[str]] = {}
    for start in graph:
        seen, open_ = {start}, [start]
        while open_:
            for other in graph[open_.pop()] - seen:
                seen.add(other)
                open_.append(other)
        reach[start] = seen
    return max(sum(a in reach[b] for b in reach[a]) for a in graph)


def functions(tree: ast.Module) -> Iterator[tuple[int, int]]:
    """Lines and parameters of every function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names = [a.arg for a in arguments(node)]
            count = len([name for name in names if name not in ("self", "cls", "ctx")])
            yield (node.end_lineno or node.lineno) - node.lineno + 1, count


def arguments(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    """All parameters of a function that have a name of their own."""
    return [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]


def loose(tree: ast.Module) -> int:
    """Functions of whose parameters or result one is ``Any``, alone or within another type."""
    count = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            extra = [a for a in (node.args.vararg, node.args.kwarg) if a is not None]
            types = [node.returns, *(a.annotation for a in (*arguments(node), *extra))]
            parts = [part for each in types if each is not None for part in ast.walk(each)]
            count += any(isinstance(part, ast.Name) and part.id == "Any" for part in parts)
    return count


def private_words(tree: ast.Module) -> int:
    """How often one of the private words names a variable, parameter, attribute, function or class."""
    names: list[str] = []
    for node in ast.walk(tree):
        for field in ("id", "arg", "attr", "name"):
            value = getattr(node, field, None)
            names += [value.strip("_")] if isinstance(value, str) else []
    return sum(name in PRIVATE for name in names)


def since(source: Path, revision: str) -> None:
    """Print by package how many lines there are, and how many of them stood in a revision (those of a few letters count)."""
    command = ["git", "grep", "-h", "-e", "", revision, "--", f"{source}/**/*.py"]
    before = set(
        map(str.strip, subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())
    )
    counts: Counter[tuple[str, bool]] = Counter()
    for path in sorted(source.rglob("*.py")):
        package = (*path.relative_to(source).parts[1:2], "")[0]
        counts.update((package, line.strip() in before) for line in path.read_text(encoding="utf-8").splitlines())
    for package in sorted({package for package, _ in counts}):
        print(
            f"{package:14s} {counts[package, True] + counts[package, False]:7,} lines, {counts[package, True]:7,} as then"
        )
    print(f"{'all':14s} {counts.total():7,} lines, {sum(n for (_, then), n in counts.items() if then):7,} as then")


def documented(node: ast.AST) -> set[int]:
    """The lines of the docstrings of a tree."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    result: set[int] = set()
    for each in ast.walk(node):
        if isinstance(each, kinds) and ast.get_docstring(each, clean=False) is not None:
            result |= set(range(each.body[0].lineno, (each.body[0].end_lineno or 0) + 1))
    return result


def coded(text: str, first: int, last: int, left_out: set[int]) -> int:
    """Lines from the first to the last that are neither empty, nor a comment, nor left out."""
    lines = enumerate(text.splitlines()[first - 1 : last], first)
    return sum(1 for i, line in lines if i not in left_out and line.strip() and not line.lstrip().startswith("#"))


def kinds_of_lines(texts: Iterator[str]) -> Counter[str]:
    """How many lines are docstrings, imports, code, and the rest: empty ones and comments."""
    result: Counter[str] = Counter()
    for text in texts:
        tree, count = ast.parse(text), len(text.splitlines())
        strings, brought = documented(tree), set[int]()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                brought |= set(range(node.lineno, (node.end_lineno or 0) + 1))
        code = coded(text, 1, count, strings | brought)
        rest = count - len(strings) - len(brought) - code
        result.update({"docstrings": len(strings), "imports": len(brought), "code": code, "empty and comments": rest})
    return result


def named(texts: Iterator[str]) -> dict[tuple[str, str], list[int]]:
    """(class or nothing, function) -> the lines of code of each of that name."""
    result: dict[tuple[str, str], list[int]] = {}
    for text in texts:
        open_: list[tuple[str, ast.AST]] = [("", ast.parse(text))]
        while open_:
            owner, node = open_.pop()
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.ClassDef):
                    open_.append((child.name, child))
                elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                    code = coded(text, child.lineno, child.end_lineno or 0, documented(child))
                    result.setdefault((owner, child.name), []).append(code)
    return result


def compared(source: Path, revision: str) -> None:
    """Print what the lines were then and are now, and the code of functions that both have, each by a name that is there once."""
    command = ["git", "archive", revision, str(source)]
    packed = subprocess.run(command, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        members = [archive.extractfile(m) for m in archive.getmembers() if m.name.endswith(".py")]
        then = [member.read().decode() for member in members if member is not None]
    now = [path.read_text(encoding="utf-8") for path in sorted(source.rglob("*.py"))]
    for word, texts in (("then", then), ("now", now)):
        print(f"{word}: " + ", ".join(f"{n:,} {kind}" for kind, n in kinds_of_lines(iter(texts)).items()))
    old, new = named(iter(then)), named(iter(now))
    both = [name for name in old.keys() & new.keys() if len(old[name]) == len(new[name]) == 1]
    lengths = [sum(each[name][0] for name in both) for each in (old, new)]
    print(f"functions that both have: {len(both):,}, of {lengths[0]:,} lines of code then and {lengths[1]:,} now")
    for word, own, other in (("then", old, new), ("now", new, old)):
        alone = [lines for name in own.keys() - other.keys() for lines in own[name]]
        print(f"functions {word} alone: {len(alone):,}, of {sum(alone):,} lines of code")


def main(source: Path) -> None:
    """Print the figures of the package below a folder."""
    known = modules(source)
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in known.items()}
    lengths = [len(path.read_text(encoding="utf-8").splitlines()) for path in known.values()]
    every = [(name, *each) for name, tree in trees.items() for each in functions(tree)]
    lines = sorted(each[1] for each in every)
    many = [each for each in every if each[2] > PARAMETERS and ".cli" not in each[0]]
    graph = {name: imports(tree, known) - {name} for name, tree in trees.items()}
    print(f"files {len(known):,}")
    print(f"lines {sum(lengths):,}")
    print(f"median file {statistics.median(lengths):.0f} lines")
    print(f"functions {len(lines):,}, 95 % of them up to {lines[int(0.95 * len(lines))]} lines")
    print(f"functions with more than {PARAMETERS} parameters outside the command line {len(many)}")
    print(f"signatures with Any {sum(loose(tree) for tree in trees.values())}")
    print(f"private words as names {sum(private_words(tree) for tree in trees.values())}")
    print(f"largest circle {largest_circle(graph)} files")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "src"))
    for name in sys.argv[2:]:
        since(Path(sys.argv[1]), name)
        compared(Path(sys.argv[1]), name)
