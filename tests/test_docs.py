"""What the documentation says is run: examples in docstrings and pages, and the example encoder."""

from __future__ import annotations

import ast
import doctest
import importlib
import pkgutil
import re
import shlex
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
import yaml

import plait
from plait.base.encoder import Encoder
from plait.base.tokens import Tokens
from plait.cli import main, registered

ROOT = Path(__file__).parent.parent
MODULES = sorted(m.name for m in pkgutil.walk_packages(plait.__path__, "plait.") if not m.name.endswith("__main__"))


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    failures, _ = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert failures == 0


PAGES = sorted(str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md"))
#: Pages that are followed from top to bottom: their blocks of Python and of ``plait`` commands run in one folder, in order.
STEPS = [
    page
    for page in PAGES
    if page.startswith(("tutorials", "how-to")) or page in ("get-started.md", "export.md", "hub.md")
]


@pytest.mark.parametrize("page", PAGES)
def test_examples_in_pages(page: str) -> None:
    failures, _ = doctest.testfile(str(ROOT / "docs" / page), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert failures == 0


def test_each_public_name_is_on_a_page_of_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mkdocs"), pytest.importorskip("griffe")
    monkeypatch.syspath_prepend(ROOT / "tools")
    pages = importlib.import_module("docs_pages")
    assert pages.unlisted() == []
    monkeypatch.setattr(plait, "__all__", [*plait.__all__, "nowhere"])
    assert pages.unlisted() == ["plait:nowhere"]


@pytest.mark.parametrize("page", STEPS)
@pytest.mark.filterwarnings("ignore::plait.PlaitWarning")  # what a page says of its own table
def test_steps_of_a_tutorial(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PLAIT_STORE", str(tmp_path / "store"))
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    module = types.ModuleType("page_of_steps")
    monkeypatch.setitem(sys.modules, "page_of_steps", module)
    blocks = re.findall(r"^```(python|sh)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert blocks, f"{page} shows nothing to do"
    for language, block in blocks:
        if language == "python":
            exec(compile(block, page, "exec"), vars(module))
            continue
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["plait"]:
                with pytest.raises(SystemExit) as ended:
                    main(words[1:])
                assert not ended.value.code, line


@pytest.mark.parametrize("page", ["../README.md", *(page for page in PAGES if page not in STEPS)])
def test_blocks_that_need_a_readers_own_data_name_what_there_is(page: str) -> None:
    """Commands and their options, imported names, YAML; what only needs plait is run by the tests above."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for language, block in re.findall(r"^```(python|sh|yaml)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        if language == "yaml":
            yaml.safe_load(block)
        elif language == "sh":
            for line in block.replace("\\\n", " ").splitlines():
                for part in re.split(r"&&|\||>|;", line):
                    words = shlex.split(part, comments=True)
                    if words[:1] == ["plait"]:
                        check_command(words[1:])
        elif ">>>" not in block:
            tree = ast.parse(block)
            imports: list[ast.stmt] = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
            exec(compile(ast.Module(imports, []), page, "exec"), {})


def check_command(words: list[str]) -> None:
    """A command line that plait knows: its command, and the names of its options."""
    command: Any = typer.main.get_command(registered())
    while hasattr(command, "commands"):
        names = [word for word in words if not word.startswith("-")]
        if not names:
            break  # ``plait --help``
        assert names[0] in command.commands, f"no command {names[0]}"
        command, words = command.commands[names[0]], words[words.index(names[0]) + 1 :]
    known = {option for given in command.params for option in (*given.opts, *given.secondary_opts)} | {"--help"}
    for word in words:
        if re.match(r"--?[a-z]", word):
            assert word.partition("=")[0] in known, f"no option {word}"


def test_a_command_that_is_none_is_found() -> None:
    check_command(["study", "run", "recipe", "--workers", "2"])
    for wrong in (["fit", "x.csv", "--nope"], ["study", "walk"], ["fitt"]):
        with pytest.raises(AssertionError, match="no (command|option)"):
            check_command(wrong)


def test_the_example_encoder_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    (source,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "word_lengths.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    encoder = importlib.import_module("word_lengths").WordLengths()
    assert isinstance(encoder, Encoder)
    prepared = {k: torch.from_numpy(v) for k, v in encoder.prepare(["a bb bb", "cccc"]).items()}
    tokens = encoder.module()(prepared)
    assert isinstance(tokens, Tokens)
    assert tokens.dim == encoder.dim
    np.testing.assert_array_equal(tokens.x[0, 0, :4], [0, 1, 2, 0])


def test_links_between_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
