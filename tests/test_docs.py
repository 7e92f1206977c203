"""What the documentation says is run: examples in docstrings and pages, and the example encoder."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import plait
from plait.base.encoder import Encoder
from plait.base.tokens import Tokens

ROOT = Path(__file__).parent.parent
MODULES = sorted(m.name for m in pkgutil.walk_packages(plait.__path__, "plait.") if not m.name.endswith("__main__"))


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    failures, _ = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert failures == 0


@pytest.mark.parametrize("page", sorted(p.name for p in (ROOT / "docs").glob("*.md")))
def test_examples_in_pages(page: str) -> None:
    failures, _ = doctest.testfile(str(ROOT / "docs" / page), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert failures == 0


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
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
