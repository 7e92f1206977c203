"""Change the code in small ways, one at a time, and say which changes no test notices.

Each change is made in a temporary copy of the project, never in the working tree, and the tests run on that copy until the
first fails. A change that no test notices is a behaviour without a test.

    python tools/mutate.py src/plait/scaling.py --number 20 --seed 0 --tests tests/test_training.py
    python tools/mutate.py src/plait/networks --number 40           # the test files that import the module, nearest first
    python tools/mutate.py src/plait/tasks.py --list                # which changes there are

With ``--results FILE`` each outcome is written as it is known, and the same command goes on where it was stopped (take
another file once there are new tests). Some changes have no effect (a guard that is never needed): judge what survives.
The exit code is 0 when at least the share ``--least`` was noticed, 1 when not, 2 when nothing could be tried.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_PYTEST = ("-o", "addopts=", "-p", "no:cacheprovider", "-x", "-q", "--tb=no")
KINDS = ("comparison", "arithmetic", "number", "boolean", "argument", "statement")
_LEFT_OUT = [
    ".git",
    ".venv",
    "__pycache__",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    "dist",
    "build",
    "*.egg-info",
]
#: Smaller numbers only keep a division from failing: no result shows how small they are.
_GUARD = 1e-5
#: Arguments that only refuse what never comes, or say where a warning points.
_CHECKS = ("strict", "stacklevel", "check_finite")
_COMPARE: dict[type[ast.cmpop], list[type[ast.cmpop]]] = {
    ast.Lt: [ast.LtE, ast.Gt],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.Lt],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}


@dataclass(frozen=True)
class Change:
    """One small change of one file.

    Attributes:
        file: path from the project's root.
        line: where the changed expression begins.
        kind: one of ``KINDS``.
        before: the expression as it stands.
        after: as it is changed to.
        node: its number among the nodes of the file, in the order of ``ast.walk``.
        way: which of the changes of this node.
    """

    file: str
    line: int
    kind: str
    before: str
    after: str
    node: int
    way: int

    def __str__(self) -> str:
        """One line for people."""
        return f"{self.file}:{self.line}: {self.kind}: {_short(self.before)}  ->  {_short(self.after)}"


def changes_of(source: str, file: str, kinds: Sequence[str] = KINDS) -> list[Change]:
    """Every change of a file that can be tried; annotations, docstrings, messages and imports are left alone.

    Example:
        >>> [(c.before, c.after) for c in changes_of("late = n > 3", "a.py", ["comparison"])]
        [('n > 3', 'n >= 3'), ('n > 3', 'n < 3')]
    """
    tree = ast.parse(source)
    skipped = set(map(id, _skipped(tree)))
    found = []
    for number, node in enumerate(ast.walk(tree)):
        if id(node) in skipped:
            continue
        before = ast.unparse(node) if isinstance(node, ast.expr | ast.stmt) else ""
        for way in range(len(_ways(node))):
            after = ast.parse(source)
            changed = _changed(after, number, way)
            kind, text = _ways(node)[way][0], ast.unparse(changed)
            if kind in kinds and text != before:
                found.append(Change(file, getattr(node, "lineno", 0), kind, before, text, number, way))
    return sorted(found, key=lambda change: (change.line, change.node, change.way))


def changed_source(source: str, change: Change) -> str:
    """The file with the change made."""
    tree = ast.parse(source)
    _changed(tree, change.node, change.way)
    return ast.unparse(tree) + "\n"


def _changed(tree: ast.AST, number: int, way: int) -> ast.AST:
    node = next(node for i, node in enumerate(ast.walk(tree)) if i == number)
    _ways(node)[way][1]()
    return node


def _skipped(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes below which nothing is changed: what only people and type checkers read."""
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        if isinstance(node, ast.AnnAssign | ast.arg):
            parts = [node.annotation]
        elif isinstance(node, ast.FunctionDef):
            parts = [node.returns, *node.decorator_list]
        elif isinstance(node, ast.ClassDef):
            parts = [*node.decorator_list]
        elif isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr | ast.Import | ast.ImportFrom) or _silent(node):
            parts = [node]
        for part in parts:
            if part is not None:
                yield from ast.walk(part)


def _silent(node: ast.AST) -> bool:
    """Whether a node only warns, or only checks."""
    if isinstance(node, ast.keyword):
        return node.arg in _CHECKS
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "TYPE_CHECKING"
    return isinstance(node, ast.Call) and ast.unparse(node.func) in ("warnings.warn", "TypeVar", "cast")


def _ways(node: Any) -> list[tuple[str, Callable[[], None]]]:
    """The changes of one node: their kind, and what makes them in place."""
    found: list[tuple[str, Callable[[], None]]] = []

    def put(kind: str, field: str, value: Any) -> None:
        found.append((kind, lambda: setattr(node, field, value)))

    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        for other in _COMPARE[type(node.ops[0])]:
            put("comparison", "ops", [other()])
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _ARITHMETIC and not _of_text(node):
        put("arithmetic", "op", _ARITHMETIC[type(node.op)]())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        put("arithmetic", "op", ast.UAdd())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.Invert):
        put("boolean", "operand", ast.UnaryOp(node.op, node.operand))
    elif isinstance(node, ast.BoolOp):
        put("boolean", "op", ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.If | ast.IfExp | ast.While) and not isinstance(node.test, ast.Compare):
        put("boolean", "test", ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        put("boolean", "value", not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int) and abs(node.value) <= 100:
        put("number", "value", node.value + 1)
        put("number", "value", node.value - 1)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        if node.value == 0 or abs(node.value) >= _GUARD:
            put("number", "value", node.value * 2 or 1.0)
    elif isinstance(node, ast.Call):
        for i, keyword in enumerate(node.keywords):
            if keyword.arg is not None and keyword.arg not in _CHECKS:
                put("argument", "keywords", node.keywords[:i] + node.keywords[i + 1 :])
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        put("statement", "value", ast.Constant(None))
    return found


def _of_text(node: ast.BinOp | ast.AugAssign) -> bool:
    parts = (node.left, node.right) if isinstance(node, ast.BinOp) else (node.value,)
    return any(
        isinstance(p, ast.JoinedStr) or (isinstance(p, ast.Constant) and isinstance(p.value, str)) for p in parts
    )


def _short(text: str, most: int = 90) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 3] + "..."


# -- which tests concern a module --------------------------------------------------------------------------------------


def imports_of(path: Path, root: Path) -> set[Path]:
    """The project's own files that a file imports, wherever in it the import stands."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            place = root / "src" / Path(*name.split("."))
            found |= {p for p in (place.with_suffix(".py"), place / "__init__.py") if p.is_file()}
    return found


def nearest_tests(module: Path, root: Path, most: int) -> list[str]:
    """The test files that reach a module over the fewest imports, nearest first."""
    graph = {path: imports_of(path, root) for path in sorted((root / "src").rglob("*.py"))}
    distance, rim, step = {module: 0}, {module}, 0
    while rim:
        step += 1
        rim = {path for path, needs in graph.items() if needs & rim and path not in distance}
        distance |= dict.fromkeys(rim, step)
    ranked = []
    for test in sorted((root / "tests").rglob("test_*.py")):
        reached = [distance[path] for path in imports_of(test, root) if path in distance]
        if reached:
            ranked.append((min(reached), str(test.relative_to(root))))
    return [test for _, test in sorted(ranked)[:most]]


# -- trying them -------------------------------------------------------------------------------------------------------


class Trial:
    """A copy of the project in which changes are made and tests run."""

    def __init__(self, root: Path, place: Path, preload: Sequence[str] = ()) -> None:
        """Copy ``root`` to ``place``; ``preload`` names modules that are imported once, and not for every change again."""
        self.root, self.place, self.preload = root, place, preload
        shutil.copytree(root, place, ignore=shutil.ignore_patterns(*_LEFT_OUT), symlinks=True)
        self._usual: dict[tuple[str, ...], float] = {}
        for name in preload:
            importlib.import_module(name)

    def run(self, tests: Sequence[str], limit: float | None = None) -> tuple[bool, float]:
        """Whether all tests pass, and the seconds it took; what runs longer than ``limit`` does not pass."""
        clock = time.perf_counter()
        passed = (self._forked if self.preload else self._started)([*_PYTEST, *tests], limit)
        return passed, time.perf_counter() - clock

    def _started(self, options: list[str], limit: float | None) -> bool:
        """In a new process."""
        environment = os.environ | {"PYTHONPATH": str(self.place / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "pytest", *options]
        try:
            done = subprocess.run(
                command, cwd=self.place, env=environment, capture_output=True, timeout=limit, check=False
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    def _forked(self, options: list[str], limit: float | None) -> bool:
        """In a copy of this process, which has imported the large packages already."""
        process = multiprocessing.get_context("fork").Process(target=self._within, args=(options,))
        process.start()
        process.join(limit)
        if process.is_alive():
            process.kill()
            process.join()
        return process.exitcode == 0

    def _within(self, options: list[str]) -> None:
        os.chdir(self.place)
        os.environ["PYTHONPATH"] = str(self.place / "src")
        sys.path.insert(0, os.environ["PYTHONPATH"])
        sys.dont_write_bytecode = True
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        pytest = importlib.import_module("pytest")
        os._exit(int(pytest.main(options)))

    def check(self, tests: Sequence[str]) -> float:
        """Seconds of tests that pass on the code as it is.

        Raises:
            SystemExit: they do not.
        """
        key = tuple(tests)
        if key not in self._usual:
            passed, self._usual[key] = self.run(tests)
            if not passed:
                print(f"without any change these tests fail: {' '.join(tests)}", file=sys.stderr)
                raise SystemExit(2)
        return self._usual[key]

    def survives(self, change: Change, tests: Sequence[str]) -> bool:
        """Whether all tests pass with the change made; ten times their usual time is a failure."""
        usual = self.check(tests)
        file = self.place / change.file
        source = (self.root / change.file).read_text()
        file.write_text(changed_source(source, change))
        try:
            return self.run(tests, 10 * usual + 30)[0]
        finally:
            file.write_text(source)


def drawn(root: Path, targets: Sequence[Path], kinds: Sequence[str], number: int | None, seed: int) -> list[Change]:
    """So many changes of the files, drawn by the seed; all of them where no number is given."""
    files = sorted({file for t in targets for file in (t.rglob("*.py") if t.is_dir() else [t])})
    found = [c for file in files for c in changes_of(file.read_text(), str(file.relative_to(root)), kinds)]
    return found if number is None else random.Random(seed).sample(found, min(number, len(found)))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    root = options.root.resolve()
    targets = [target.resolve() for target in options.targets]
    for target in targets:
        if not target.exists() or not target.is_relative_to(root):
            parser.error(f"{target}: no file or folder of the project {root}; --root names another project")
    chosen = drawn(root, targets, options.kinds or KINDS, options.number, options.seed)
    if not chosen:
        print("there is nothing to change in these files", file=sys.stderr)
        return 2
    if options.list:
        print("\n".join(map(str, chosen)))
        return 0
    known = _known(options.results)
    outcomes: list[tuple[Change, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(root, Path(folder) / root.name, options.preload)
        for change in chosen:
            outcome = known.get(_key(asdict(change)))
            if outcome is None:
                tests = options.tests or nearest_tests(root / change.file, root, options.nearest)
                outcome = "survived" if not tests or trial.survives(change, tests) else "noticed"
                _write(options.results, change, outcome, tests)
            outcomes.append((change, outcome))
            print(f"{len(outcomes)}/{len(chosen)} {outcome}: {change}", flush=True)
    return _summary(outcomes, options.least)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("targets", nargs="+", type=Path, help="files or folders to change")
    parser.add_argument("--tests", nargs="+", help="pytest arguments; else the test files that import the module")
    parser.add_argument("--nearest", type=int, default=3, help="how many of those files (3)")
    parser.add_argument("--number", type=int, help="changes to draw; all of them where not given")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (0)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, help="only these kinds of change")
    parser.add_argument(
        "--preload", nargs="+", default=[], help="other packages to import once (torch): faster; needs fork"
    )
    parser.add_argument("--results", type=Path, help="file of outcomes, by which a stopped run goes on")
    parser.add_argument("--least", type=float, default=1.0, help="share that must be noticed for exit code 0 (1.0)")
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the project: holds src and tests (here)")
    parser.add_argument("--list", action="store_true", help="name the changes and try none")
    return parser


def _key(change: Any) -> str:
    return json.dumps(change, sort_keys=True)


def _known(results: Path | None) -> dict[str, str]:
    """Outcomes of an earlier run by their change; a line that was half written when it was stopped is left out."""
    found = {}
    for line in results.read_text().splitlines() if results is not None and results.exists() else ():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        found[_key(record["change"])] = record["outcome"]
    return found


def _write(results: Path | None, change: Change, outcome: str, tests: Sequence[str]) -> None:
    if results is not None:
        with results.open("a") as file:  # the line's end comes first: what is before may be half a line
            file.write("\n" + json.dumps({"change": asdict(change), "outcome": outcome, "tests": list(tests)}))


def _summary(outcomes: Sequence[tuple[Change, str]], least: float) -> int:
    survived = [change for change, outcome in outcomes if outcome == "survived"]
    share = 1 - len(survived) / len(outcomes)
    print(f"\n{len(outcomes) - len(survived)} of {len(outcomes)} changes noticed ({share:.0%})")
    for change in survived:
        print(f"survived: {change}")
    return 0 if share >= least else 1


if __name__ == "__main__":
    raise SystemExit(main())
