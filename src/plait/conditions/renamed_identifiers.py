"""A condition that renames the identifiers of code."""

from __future__ import annotations

import ast
import io
import itertools
import keyword
import re
import tokenize
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from plait.conditions.cells import TextCondition


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

    kinds = ("code",)
    measure = "chance of a name to be renamed"

    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Take a list, as YAML gives it, as well."""
        super().__post_init__()
        self.keep = tuple(self.keep)

    def changed(self, text: str, generator: np.random.Generator) -> str:
        """The code with new names."""
        result = names_in(text)
        distinct = [n for n in dict.fromkeys(name.text for name in result) if n not in self.keep]
        # Drawn per name, in order of appearance: a name has the same fate and the same new name at every strength.
        chosen = generator.random(len(distinct)) < self.strength
        taken = {name.text for name in result} | set(self.keep)
        fresh = (free for i in itertools.count(1) if (free := f"v{i}") not in taken)
        new = {old: free for old, free, renamed in zip(distinct, fresh, chosen, strict=False) if renamed}
        parts, at = [], 0
        for name in result:
            parts += [text[at : name.start], new.get(name.text, name.text)]
            at = name.start + len(name.text)
        return "".join([*parts, text[at:]])


_WORDS = (
    # C, C++, Java, C#, Go, Rust, JavaScript, TypeScript, Ruby, PHP, shell, SQL: words of the languages, no libraries
    "abstract alignas alignof and as asm assert async auto await begin bool boolean break byte case catch chan char class "
    "const constexpr continue crate debugger decltype def default defer delete do done double dyn each echo elif else "
    "elsif elseif end ensure enum esac except explicit export extends extern fallthrough false fi final finally fixed "
    "float fn for foreach friend from func function go goto if impl implements import in include inline instanceof int "
    "interface internal is lambda let local lock long loop match mod module move mut mutable namespace native new next nil "
    "not null nullptr number object of operator or out override package params pass private protected pub public raise "
    "range readonly redo ref register rescue retry return sealed select self short signed sizeof static static_cast "
    "strictfp string struct super switch synchronized template then this throw throws trait transient true try type "
    "typedef typeid typename typeof uint ulong undef undefined union unless unsafe unsigned until use using var virtual "
    "void volatile wchar_t when where while with yield "
    "SELECT FROM WHERE INSERT UPDATE DELETE JOIN GROUP BY ORDER HAVING AND OR NOT NULL AS ON INTO VALUES SET LIMIT"
)
#: Never names, in any of the languages.
KEYWORDS = frozenset((*_WORDS.split(), *keyword.kwlist, *keyword.softkwlist)) - {"_"}
_PYTHON = frozenset((*keyword.kwlist, *keyword.softkwlist))
_TOKEN = re.compile(
    r"""(?P<skip>
        /\*.*?(?:\*/|\Z)                                   # a comment of C
      | //[^\n]* | \#[^\n]*                                # to the end of the line, #include as well
      | "(?:\\.|[^"\\\n])*"? | '(?:\\.|[^'\\\n])*'? | `(?:\\.|[^`\\])*`?
      | \d[\w.]*                                           # a number with its unit
    ) | (?P<name>[^\W\d]\w*)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\[^\n]")
#: Longer code is not parsed: a tree of deep nesting may take the interpreter's whole stack.
_PARSED = 5000


class Name(NamedTuple):
    """One name and where it starts."""

    text: str
    start: int


def names_in(code: str) -> list[Name]:
    """Every name that is no keyword, in order.

    Example:
        >>> [name.text for name in names_in("if (total > MAX) { log('total'); } // done")]
        ['total', 'MAX', 'log']
    """
    result = _python_names(code)
    if result is None:
        matches = (match for match in _TOKEN.finditer(code) if match["name"])
        result = [Name(match["name"], match.start()) for match in matches if match["name"] not in KEYWORDS]
    return [name for name in result if not (name.text.startswith("__") and name.text.endswith("__"))]


def _python_names(code: str) -> list[Name] | None:
    """Names found by Python's tokenizer; None where the text is not Python."""
    if not _is_python(code):
        return None
    starts = [0]
    for line in code.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    try:
        tokens = [t for t in tokenize.generate_tokens(io.StringIO(code).readline) if t.type == tokenize.NAME]
    except (tokenize.TokenError, IndentationError, SyntaxError):
        return None
    result = [Name(t.string, starts[t.start[0] - 1] + t.start[1]) for t in tokens if t.string not in _PYTHON]
    # Lines may end in ways that the tokenizer and this count see differently.
    return result if all(code.startswith(name.text, name.start) for name in result) else None


def _is_python(code: str) -> bool:
    if len(code) > _PARSED:
        return True  # then the tokenizer says
    try:  # odd escapes are taken out: Python would warn of them
        ast.parse(_ESCAPE.sub("..", code))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
