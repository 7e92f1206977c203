"""The gallery's scripts: one is run here; all of them by ``.ci/run``."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "examples" / "gallery").glob("*.py"))


def test_there_are_eight_to_twelve() -> None:
    assert 8 <= len(SCRIPTS) <= 12


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_each_says_what_it_shows_may_be_small_and_saves_its_picture(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert re.match(r'"""[^\n]{10,80}\n\n.+?\n"""\n\n# %%\n', text, re.DOTALL)
    assert 'os.environ.get("PLAIT_EXAMPLE_ROWS"' in text
    assert f'savefig("{script.stem}.png"' in text
    title = text.removeprefix('"""').partition("\n")[0]
    assert f"[{title}]({script.name})" in (script.parent / "README.md").read_text(encoding="utf-8")


def test_a_script_makes_its_picture_and_its_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("jupytext")
    monkeypatch.setattr(sys, "argv", ["gallery.py", "plot_search", "--rows", "60", "--out", str(tmp_path)])
    monkeypatch.setenv("PLAIT_EXAMPLE_ROWS", "60")
    runpy.run_path(str(ROOT / "tools" / "gallery.py"), run_name="__main__")
    assert (tmp_path / "plot_search.png").read_bytes()[:4] == b"\x89PNG"
    made = nbformat.read(tmp_path / "plot_search.ipynb", as_version=4)
    nbformat.validate(made)
    assert made.cells[0].source.startswith("# One space: pictures found by words")
    assert [cell.cell_type for cell in made.cells].count("code") >= 3


def test_prose_between_cells_is_no_code_on_the_site() -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("griffe")
    cells = runpy.run_path(str(ROOT / "tools" / "docs_pages.py"))["_cells"]
    script = "\n# %%\na = 1\n# a remark\n\n# %% [markdown]\n# Two lines\n# of prose.\n\n# %%\nb = 2\n"
    assert cells(script) == "```py\na = 1\n# a remark\n```\n\nTwo lines\nof prose.\n\n```py\nb = 2\n```"
