"""Code whose names say nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from plait.conditions._code_names import names_in
from plait.conditions._texts import TextCondition


@dataclass(kw_only=True)
class RenamedIdentifiers(TextCondition):
    """Names become ``v1``, ``v2``, ... in order of appearance, each the same wherever it stands in a cell.

    Keywords, ``__names__``, strings and comments stay. Everything else that is a name is renamed, functions and
    attributes of libraries too: the code has the same structure and does not run any more.

    Attributes:
        keep: names that stay, such as those of a library.

    Formula: each distinct name is renamed with the chance strength.
    Shape: code in, code out. What parses as Python is read with Python's own tokenizer, all else with one pattern for
    names, numbers, strings and the comments of C and of the shell.
    Source: Compton et al. 2020, Embedding Java Classes with code2vec: Improvements from Variable Obfuscation.
    Use when: it is asked whether a model reads the structure of code or only its names.
    Not when: the code must still run.

    Example:
        >>> RenamedIdentifiers().changed("def area(width): return width * pi", np.random.default_rng(0))
        'def v1(v2): return v2 * v3'
    """

    kinds: ClassVar[tuple[str, ...]] = ("code",)
    measure: ClassVar[str] = "chance of a name to be renamed"

    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Take a list, as YAML gives it, as well."""
        super().__post_init__()
        self.keep = tuple(self.keep)

    def changed(self, text: str, generator: np.random.Generator) -> str:
        """The code with new names."""
        found = names_in(text)
        distinct = [n for n in dict.fromkeys(name.text for name in found) if n not in self.keep]
        # Drawn per name, in order of appearance: a name has the same fate and the same new name at every strength.
        chosen = generator.random(len(distinct)) < self.strength
        fresh = _fresh(distinct, {name.text for name in found} | set(self.keep))
        new = {old: name for old, name, renamed in zip(distinct, fresh, chosen, strict=True) if renamed}
        parts, at = [], 0
        for name in found:
            parts += [text[at : name.start], new.get(name.text, name.text)]
            at = name.start + len(name.text)
        return "".join([*parts, text[at:]])


def _fresh(names: list[str], taken: set[str]) -> list[str]:
    """A new name for each, none of which is there already."""
    free = (f"v{i}" for i in range(1, len(names) + len(taken) + 1))
    unused = [name for name in free if name not in taken]
    return unused[: len(names)]
