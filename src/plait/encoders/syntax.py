"""Text and code as encoders can take them."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer

from plait.base.errors import CellError


def cut(cell: object, characters: int | None = None) -> str:
    """The first ``characters`` of a text, or all of it, with half surrogate pairs, which no tokenizer takes, replaced.

    Example:
        >>> cut("abc", 2), cut("a" + chr(0xD800), 9)
        ('ab', 'a?')
    """
    if not isinstance(cell, str):
        raise CellError(f"a cell of type {type(cell).__name__}; expected text")
    return cell[:characters].encode("utf-8", "replace").decode("utf-8")


def hashed(texts: Sequence[str], width: int, **analysis: Any) -> np.ndarray:
    """Signed counts (MurmurHash3 decides place and sign), their logarithm, scaled to length one: float32 (n, width).

    Args:
        texts: what to count in.
        width: of the result.
        analysis: how to split, as ``HashingVectorizer`` takes it.
    """
    counter = HashingVectorizer(n_features=width, alternate_sign=True, norm=None, dtype=np.float32, **analysis)
    counts = counter.transform(texts)
    counts.data = np.sign(counts.data) * np.log1p(np.abs(counts.data))
    result = np.asarray(counts.toarray(), dtype=np.float32)
    length: np.ndarray = np.linalg.norm(result, axis=1, keepdims=True)
    return np.asarray(result / np.maximum(length, 1e-12), dtype=np.float32)


_SIGNS = "(){}[];:,.=<>+-*/%&|!?#@\"'`$\\_~^"
_KEYWORDS = (
    "if else for while return function def class import from try except catch throw raise new delete const let var int "
    "float string bool void public private static this self null none true false print lambda async await yield with "
    "switch case break continue struct enum interface select where join insert update include require end"
)
_WORDS = tuple(_KEYWORDS.split())
_NODES = (
    ast.Call, ast.Attribute, ast.Subscript, ast.Assign, ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.ListComp,
    ast.DictComp, ast.For, ast.While, ast.If, ast.Compare, ast.BoolOp, ast.BinOp, ast.Constant, ast.List, ast.Dict,
    ast.Tuple, ast.Import, ast.ImportFrom, ast.Return, ast.Try, ast.With, ast.keyword,
)  # fmt: skip
_COMMENT = re.compile(r"^\s*(#|//|--|/\*|\*|%|;)")
_TOKEN = re.compile(r"[^\W\d_]+|\d+|_+|[^\w\s]")
_ESCAPE = re.compile(r"\\[^\n]")
_CASES = re.compile(r"(?<=[a-z])(?=[A-Z])")
#: Longer code is not parsed: a tree of deep nesting may take the interpreter's whole stack.
_PARSED = 5000

#: Length of ``statistics``.
WIDTH = len(_SIGNS) + len(_WORDS) + 15 + len(_NODES) + 2


def tokens(code: str) -> list[str]:
    """Parts of names, numbers and single signs.

    Example:
        >>> tokens("maxValue += row_2")
        ['max', 'value', '+', '=', 'row', '_', '2']
    """
    return [part.lower() for word in _TOKEN.findall(code) for part in _CASES.split(word)]


def statistics(code: str) -> np.ndarray:
    """Lengths, layout, signs, words, and the syntax tree of Python: float32 (WIDTH,), all of about size one."""
    letters, words = Counter(code), Counter(tokens(code))
    signs = [np.sqrt(letters[sign] / max(1, len(code))) for sign in _SIGNS]
    known = [np.log1p(words[word]) for word in _WORDS]
    return np.array([*signs, *known, *_layout(code, words), *_tree(code)], dtype=np.float32)


def _layout(code: str, words: Counter[str]) -> list[float]:
    """Fifteen numbers on lines, indentation, nesting and kinds of letters."""
    lines = code.splitlines() or [""]
    full = [line for line in lines if line.strip()] or [""]
    widths = np.array([len(line) for line in lines])
    indents = np.array([len(line) - len(line.lstrip()) for line in full])
    depth = np.cumsum([(c in "([{") - (c in ")]}") for c in code] or [0])
    total, size = max(1, words.total()), max(1, len(code))
    return [
        *(float(np.log1p(n)) for n in (len(code), len(lines), widths.mean(), widths.max(), words.total(), len(words))),
        *(float(np.log1p(n)) for n in (indents.mean(), indents.max(), max(0, depth.max()), abs(depth[-1]))),
        sum(line[:1] == "\t" for line in full) / len(full),
        sum(_COMMENT.match(line) is not None for line in full) / len(full),
        sum(a < b for a, b in pairwise(indents)) / len(full),
        sum(c.isupper() for c in code) / size,
        sum(n for word, n in words.items() if word.isdigit()) / total,
    ]


def _tree(code: str) -> list[float]:
    """Logarithms of how often each node is there, of all nodes, and whether it is Python at all."""
    result: Counter[type[ast.AST]] = Counter()
    if len(code) <= _PARSED:
        try:  # odd escapes are taken out: Python would warn of them
            result = Counter(type(node) for node in ast.walk(ast.parse(_ESCAPE.sub("..", code))))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return [0.0] * (len(_NODES) + 2)
    return [*(float(np.log1p(result[node])) for node in _NODES), float(np.log1p(result.total())), float(bool(result))]
