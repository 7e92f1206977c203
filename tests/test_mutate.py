"""The command that changes code and asks the tests: which changes there are, and what it says of them."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


def _loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutate", ROOT / "tools" / "mutate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutate"] = module
    spec.loader.exec_module(module)
    return module


mutate = _loaded()

CODE = '''"""A docstring with 3 and True."""
from __future__ import annotations

LIMIT = 7


def price(amount: int = 2, *, reduced: bool = False) -> float:
    """Of so many."""
    if amount >= LIMIT:
        raise ValueError(f"{amount + 1} is more than {LIMIT - 1}")
    share = 0.5 if reduced else 1.0
    return round(amount * share, ndigits=2)
'''


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("a < b", ["a <= b", "a > b"]),
        ("a is None", ["a is not None"]),
        ("a + b", ["a - b"]),
        ("a // b", ["a * b"]),
        ("-a", ["+a"]),
        ("a and b", ["a or b"]),
        ("not a", ["not not a"]),
        ("f(a, key=b)", ["f(a)"]),
        ("zip(a, b, strict=True)", []),
        ("f(True)", ["False"]),
        ("f(3)", ["4", "2"]),
        ("f(1000)", ["2000"]),
        ("f(0.25)", ["0.5"]),
        ("f(0.0)", ["1.0"]),
        ("f(1e-12)", []),  # no result shows how small a guard is
        ("'a' + b", []),
        ("f'{a + 1}'", []),
        ("x: int = a", []),
        ("raise ValueError(a + 1)", []),
        ("warnings.warn('a', stacklevel=2)", ["None"]),
    ],
)
def test_the_changes_of_an_expression(code: str, changes: list[str]) -> None:
    source = code if code.startswith(("raise", "x:", "warnings")) else f"x = {code}"
    assert [change.after for change in mutate.changes_of(source, "a.py")] == changes


def test_statements_and_branches_are_changed_and_their_words_are_not() -> None:
    found = mutate.changes_of(CODE, "a.py")
    assert sorted((c.line, c.kind, c.after) for c in found) == [
        (4, "number", "6"),
        (4, "number", "8"),
        (7, "boolean", "True"),
        (7, "number", "1"),
        (7, "number", "3"),
        (9, "comparison", "amount < LIMIT"),
        (9, "comparison", "amount > LIMIT"),
        (11, "boolean", "0.5 if not reduced else 1.0"),
        (11, "number", "1.0"),
        (11, "number", "2.0"),
        (12, "argument", "round(amount * share)"),
        (12, "arithmetic", "amount / share"),
        (12, "number", "1"),
        (12, "number", "3"),
    ]
    text = mutate.changed_source(CODE, next(c for c in found if c.after == "amount > LIMIT"))
    assert "if amount > LIMIT:" in text
    assert text.count(">=") == 0
    assert "A docstring with 3 and True." in text


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of two modules, and a test that looks at one of the first one's two functions."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # a third of a second each time
    (tmp_path / "src" / "toy").mkdir(parents=True)
    (tmp_path / "tests").mkdir()
    (tmp_path / "src" / "toy" / "__init__.py").write_text("")
    (tmp_path / "src" / "toy" / "sums.py").write_text(
        "def twice(a):\n    return a + a\n\n\ndef square(a):\n    return a * a\n"
    )
    (tmp_path / "src" / "toy" / "above.py").write_text(
        "from toy.sums import twice\n\n\ndef four(a):\n    return twice(twice(a))\n"
    )
    (tmp_path / "tests" / "test_sums.py").write_text(
        "from toy.sums import twice\n\n\ndef test_twice():\n    assert twice(3) == 6\n"
    )
    (tmp_path / "tests" / "test_above.py").write_text(
        "from toy import above\n\n\ndef test_four():\n    assert above.four(1) == 4\n"
    )
    (tmp_path / "tests" / "test_other.py").write_text("def test_nothing():\n    assert True\n")
    return tmp_path


def test_tests_are_found_by_what_they_import_the_nearest_first(project: Path) -> None:
    sums = project / "src" / "toy" / "sums.py"
    assert mutate.nearest_tests(sums, project, 5) == ["tests/test_sums.py", "tests/test_above.py"]
    assert mutate.nearest_tests(sums, project, 1) == ["tests/test_sums.py"]
    assert mutate.nearest_tests(project / "src" / "toy" / "above.py", project, 5) == ["tests/test_above.py"]


def test_it_says_what_no_test_notices_and_leaves_the_project_alone(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in project.rglob("*.py")}
    results = project / "results.jsonl"
    told = [str(project / "src"), "--root", str(project), "--nearest", "1", "--results", str(results)]
    assert mutate.main(told) == 1
    said = capsys.readouterr().out
    assert "1 of 2 changes noticed (50%)" in said
    assert "survived: src/toy/sums.py:6: arithmetic: a * a  ->  a / a" in said
    assert {path: path.read_bytes() for path in project.rglob("*.py")} == before
    assert sorted(json.loads(line)["outcome"] for line in results.read_text().split("\n")[1:]) == [
        "noticed",
        "survived",
    ]

    def never(*_: object) -> bool:
        raise AssertionError("what is known is not tried again")

    torn = results.read_text() + '\n{"change": {"fi'  # the process was killed while it wrote
    results.write_text(torn)
    monkeypatch.setattr(mutate.Trial, "survives", never)
    assert mutate.main([*told, "--least", "0.5"]) == 0
    assert "1 of 2 changes noticed (50%)" in capsys.readouterr().out
    results.write_text("\n".join(torn.split("\n")[:2]) + torn.split("\n")[2][:30])
    monkeypatch.setattr(mutate.Trial, "survives", lambda *_: True)
    assert mutate.main(told) == 1
    assert len(mutate._known(results)) == 2  # the half line did not spoil the one after it


def test_a_draw_is_its_seed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = str(project / "src" / "toy" / "many.py")
    Path(target).write_text(CODE)
    told = [target, "--root", str(project), "--list", "--number", "4"]
    lists = []
    for seed in ("1", "1", "2"):
        assert mutate.main([*told, "--seed", seed]) == 0
        lists.append(capsys.readouterr().out.splitlines())
    assert lists[0] == lists[1] != lists[2]
    assert len(lists[0]) == 4
    assert mutate.main([*told, "--kinds", "argument"]) == 0
    assert (
        capsys.readouterr().out
        == "src/toy/many.py:12: argument: round(amount * share, ndigits=2)  ->  round(amount * share)\n"
    )


def test_tests_that_fail_on_the_code_as_it_is_are_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "tests" / "test_sums.py").write_text("def test_wrong():\n    assert False\n")
    with pytest.raises(SystemExit) as stop:
        mutate.main([str(project / "src" / "toy" / "sums.py"), "--root", str(project), "--tests", "tests/test_sums.py"])
    assert stop.value.code == 2
    assert "without any change these tests fail: tests/test_sums.py" in capsys.readouterr().err
    assert mutate.main([str(project / "tests" / "test_other.py"), "--root", str(project), "--kinds", "number"]) == 2
    for wrong in (project / "none.py", ROOT / "tools"):
        with pytest.raises(SystemExit) as stop:
            mutate.main([str(wrong), "--root", str(project)])
        assert stop.value.code == 2
        assert "no file or folder of the project" in capsys.readouterr().err


def test_what_never_ends_is_noticed(project: Path) -> None:
    source = project / "src" / "toy" / "sums.py"
    source.write_text("def twice(a):\n    n = 0\n    while n < a:\n        n += 1\n    return n + a\n")
    (change,) = [c for c in mutate.changes_of(source.read_text(), "src/toy/sums.py") if c.after == "n -= 1"]
    trial = mutate.Trial(project, project.parent / "copy")
    trial._usual["tests/test_sums.py",] = -2.9  # the limit is ten times that and thirty seconds: one second
    assert not trial.survives(change, ["tests/test_sums.py"])
    assert trial.place.joinpath("src/toy/sums.py").read_text() == source.read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_with_packages_loaded_before_it_says_the_same(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = [
        str(project / "src"),
        "--root",
        str(project),
        "--nearest",
        "1",
        "--preload",
        "pytest",
        "--kinds",
        "arithmetic",
    ]
    assert mutate.main(told) == 1
    assert "survived: src/toy/sums.py:6: arithmetic: a * a  ->  a / a" in capsys.readouterr().out
