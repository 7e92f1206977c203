"""The rules by which a column is told, in their order; each looks at one thing and may decline."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from plait.schema._column import Column, Verdict, coded
from plait.schema._media import media, unusable, vector
from plait.table._parse import ISO, booleans, numbers
from plait.table._values import items, items_of

Rule = Callable[[Column], Verdict | None]

_ID_NAMES = frozenset(("id", "ids", "uuid", "guid", "key", "index", "idx", "serial", "isbn", "sku", "pk", "rowid", "#"))
_CODE_NAMES = frozenset(
    ("type", "class", "code", "category", "cat", "kind", "group", "label", "cluster", "zip", "postcode")
)
_SPLIT = frozenset(("train", "training", "test", "testing", "valid", "val", "validation", "dev", "eval", "holdout"))
_PAIRS = ({"true", "false"}, {"yes", "no"}, {"y", "n"}, {"t", "f"}, {"on", "off"}, {"1", "0"})
_ZEROS = re.compile(r"[+-]?0\d")
_ID = re.compile(r"(?=.*\d)\S{1,64}$|[0-9a-fA-F-]{16,64}$")
_CODE_LINE = re.compile(
    r"\s*(def|class|import|from|return|for|while|if|elif|else|try|except|with|public|private|static|void|int|var|let|const|"
    r"function|func|fn|use|using|package|namespace|struct|enum|SELECT|INSERT|UPDATE|CREATE|#include|#define)\b.*[(){}:;=<>*]"
    r"|.*[;{}]\s*$|\s*[\w.\[\]'\"]+\s*(=|\+=|-=|:=)\s*\S|.*\w\([^()]*[\w'\")\]]*\).*[\[\](){}=.]|\s*@\w+|\s*(//|/\*)"
    r"|.*\w+\.\w+\(|.*(==|!=|->|=>|::|&&|\|\|)|[\w.]+\(.*\)\s*$|.*\w\[[^\]]*\]"
)


def empty(column: Column) -> Verdict | None:
    """All cells are empty."""
    return None if column.present else Verdict("ignored", "every cell is empty")


def constant(column: Column) -> Verdict | None:
    """One value in every row; beside empty cells one value still says something."""
    if column.distinct == 1 and column.present == len(column.series):
        return Verdict("ignored", f"constant: every cell is {next(iter(column.counts))!r:.40}")
    return None


def split_name(column: Column) -> Verdict | None:
    """A column that says which rows are for training."""
    if 2 <= len(column.lower) <= 4 and column.lower <= _SPLIT and column.lower & {"train", "training"}:
        return Verdict("ignored", f"says which rows are for training ({', '.join(sorted(column.lower))})")
    return None


def boolean(column: Column) -> Verdict | None:
    """Yes and no in one of their spellings."""
    if not column.lower or not any(column.lower <= pair for pair in _PAIRS):
        return None
    words = [*sorted(column.lower), *(["empty"] if column.present < len(column.series) else [])]
    share = float(np.nansum(booleans(column.series).values)) / len(column.series)
    return Verdict("tabular", f"{' or '.join(words)}; {share:.0%} true", "boolean")


def date(column: Column) -> Verdict | None:
    """Dates in one format that leaves no doubt about day and month."""
    form = column.date_format
    whole_number = form == "%Y%m%d" and not {"date", "day", "on", "at"} & set(column.name_parts)
    if form is None or whole_number:
        return None
    if form == "ambiguous":
        doubt = "dates whose day and month cannot be told apart; write their type as 'date %d/%m/%Y' or 'date %m/%d/%Y'"
        return Verdict("tabular", f"{column.distinct:,} distinct values", "category", doubt)
    return Verdict("tabular", f"as {column.sample[0]}", "date" if form == ISO else f"date {form}")


def identifier(column: Column) -> Verdict | None:
    """A name that nearly every row has for itself: it can only be learned by heart."""
    named = column.name.startswith("Unnamed: ") or not _ID_NAMES.isdisjoint(column.name_parts[-1:])
    unique = column.distinct / column.present
    if unique < (0.9 if named else 0.99) or column.distinct < 3:
        return None
    values = column.whole if column.numbers.share == 1.0 else None
    if values is not None:
        counted = len(values) >= 10 and values[0] in (0, 1) and bool((np.diff(values) == 1).all())
        return Verdict("ignored", f"an identifier: {_unique(column)}") if named or counted else None
    if column.words_per_cell > 1.05 or max(column.numbers.share, numbers(column.series, column.style).share) > 0.5:
        return None
    looks = column.distinct >= 10 and column.share(_ID) > 0.6
    return Verdict("ignored", f"an identifier: {_unique(column)}, as {column.sample[0]}") if named or looks else None


def _unique(column: Column) -> str:
    return (
        "every row has its own"
        if column.distinct == column.present
        else f"{column.distinct:,} of {column.present:,} distinct"
    )


def number(column: Column) -> Verdict | None:
    """Numbers, with a few words for missing ones; codes written as whole numbers are categories."""
    parsed = column.numbers
    if parsed.share < 0.99 or any(_ZEROS.match(t) and "." not in t for t in column.sample):
        return None
    whole = column.whole
    if whole is not None and parsed.share == 1.0:
        last = column.name_parts[-1:] or [""]
        named = last[0] in (_CODE_NAMES | _ID_NAMES) and column.distinct * 5 <= column.present
        if named or coded(column):
            why = (
                f"by its name a code, {column.distinct} distinct"
                if named
                else f"{column.distinct} whole numbers with gaps: codes"
            )
            return Verdict("tabular", why, "category")
    return Verdict("tabular", _range(column), "number", _odd_numbers(column))


def _range(column: Column) -> str:
    values = column.numbers.values[np.isfinite(column.numbers.values)]
    if not len(values):
        return "no finite number"
    few = f"{column.distinct} whole numbers, " if column.whole is not None and column.distinct <= 50 else ""
    return f"{few}{values.min():g} to {values.max():g}"


def _odd_numbers(column: Column) -> str | None:
    parsed = column.numbers
    bad, infinite = int(parsed.bad.sum()), int(np.isinf(parsed.values).sum())
    words = int((parsed.missing & ~column.gone).sum())
    said = []
    if bad:
        said.append(
            f"{bad} cells such as {column.series[parsed.bad].iloc[0]!r:.30} are no numbers and count as missing"
        )
    if infinite:
        said.append(f"{infinite} infinite cells count as missing")
    if words and words > 0.5 * column.present:
        said.append(f"{words} cells say that they are missing")
    return "; ".join(said) or None


def items_list(column: Column) -> Verdict | None:
    """Lists, or short items joined by a bar, that come again in other rows."""
    lists = sum(isinstance(v, list | tuple | set | np.ndarray) or str(v).startswith("[") for v in column.values)
    bars = sum("|" in str(v) for v in column.values)
    if not column.values or max(lists, bars) < max(2, 0.02 * len(column.values)):
        return None
    rows = [items_of(v) for v in column.values]
    atoms = [item for row in rows for item in row]
    if not atoms or len(set(atoms)) > 0.6 * len(atoms) or np.mean([len(a) for a in atoms]) > 40:
        return None
    distinct = len({item for row in items(column.series) for item in row or ()})
    return Verdict("tabular", f"{distinct:,} distinct items, {np.mean([len(r) for r in rows]):.1f} a cell", "list")


def code(column: Column) -> Verdict | None:
    """Most lines of most cells read like a programming language."""
    shares = []
    for text in column.sample[:300]:
        lines = [line for line in text.splitlines() if line.strip()][:50]
        shares.append(sum(bool(_CODE_LINE.match(line)) for line in lines) / max(1, len(lines)))
    if column.distinct < 5 or column.words_per_cell < 1.5 or np.mean([s >= 0.5 for s in shares]) < 0.6:
        return None
    return Verdict("code", f"{np.mean(shares):.0%} of the lines read like code")


def text(column: Column) -> Verdict | None:
    """Sentences, or names that mostly differ from row to row."""
    unique = column.distinct / column.present
    letters = np.mean([sum(c.isalpha() for c in t) >= 0.4 * len(t) for t in column.sample])
    words = column.words_per_cell
    sentences = words >= 4 and (unique >= 0.5 or column.distinct >= 50)
    names = unique >= 0.5 and column.distinct >= 20
    if letters < 0.7 or not (sentences or names):
        return None
    return Verdict(
        "text",
        f"{column.distinct:,} distinct of {column.present:,}, {words:.0f} word{'s' if words >= 1.5 else ''} each",
    )


def category(column: Column) -> Verdict:
    """What is left: few values, or values of which nothing better can be said."""
    reason = f"{column.distinct:,} distinct, as {column.sample[0]!r:.40}"
    return Verdict("tabular", reason, "category", _mixture(column))


def _mixture(column: Column) -> str | None:
    if column.style != "plain" and numbers(column.series, column.style).share >= 0.95:
        example = next(t for t in column.sample if numbers_differ(t))
        return f"numbers written as {example!r}; write type 'number' to read them so"
    if 0.1 <= column.numbers.share < 0.99 and not any(_ZEROS.match(t) for t in column.sample):
        odd = column.series[column.numbers.bad].iloc[0]
        return f"a mixture: {column.numbers.share:.0%} numbers, the others as {odd!r:.30}; taken as categories"
    return None


def numbers_differ(word: str) -> bool:
    """Whether a word holds more than digits, a sign and a point."""
    return not re.fullmatch(r"[+-]?\d+\.?\d*", word)


RULES: tuple[Rule, ...] = (
    *(empty, media, vector, unusable, constant, split_name, boolean, date, identifier),
    *(number, items_list, code, text, category),
)
#: Rules among the types of a tabular column.
TABULAR: tuple[Rule, ...] = (boolean, date, number, items_list, category)
