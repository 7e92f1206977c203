"""The rules by which a column is told, in their order; each looks at one thing and may decline."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import numpy as np

from plait.base.errors import hidden
from plait.data.column import Column, Verdict, coded, gapped
from plait.data.dates import AMBIGUOUS, ISO
from plait.data.media_rules import media, unusable, vector
from plait.data.modality import IDENTIFIER
from plait.data.numbers import BOUND, BRACKETS, FRACTION, RANGE, SCALED, TYPESET, written
from plait.data.values import items, items_of, known_order, list_in

Rule = Callable[[Column], Verdict | None]

_ID_NAMES = frozenset(("id", "ids", "uuid", "guid", "key", "index", "idx", "serial", "isbn", "sku", "pk", "rowid", "#"))
_CODE_NAMES = frozenset(("type", "class", "code", "codes", "category", "cat", "kind", "group", "label", "cluster"))
_CODE_NAMES |= {"id", "ids", "key", "sku"}
_POSTAL = frozenset(("zip", "zipcode", "zipcodes", "postcode", "postcodes", "postal", "postalcode", "plz", "fips"))
_SPLIT = frozenset(("train", "training", "test", "testing", "valid", "val", "validation", "dev", "eval", "holdout"))
_PAIRS = ({"true", "false", "yes", "no", "1", "0"}, {"y", "n", "1", "0"}, {"t", "f"}, {"on", "off"})
#: Distinct texts that a column of yes and no may have, words for missing cells among them.
_WORDS_OF_TWO = 30
_ZEROS = re.compile(r"[+-]?0\d")
_ID = re.compile(r"(?=.*\d)\S{1,64}$|[0-9a-fA-F-]{16,64}$")
_FIGURES = re.compile(r"\W*\d|\D*\d+\D+\d|[^\W\d]{1,3}\W+\d")  # a digit first, two numbers, or a short word before one
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
        return Verdict("ignored", f"constant: every cell is {hidden(repr(next(iter(column.counts)))):.40}")
    return None


def split_name(column: Column) -> Verdict | None:
    """A column that says which rows are for training."""
    if (
        column.distinct <= _WORDS_OF_TWO
        and 2 <= len(column.lower) <= 4
        and column.lower <= _SPLIT
        and column.lower & {"train", "training"}
    ):
        return Verdict("ignored", f"says which rows are for training ({', '.join(sorted(column.lower))})")
    return None


def boolean(column: Column) -> Verdict | None:
    """Yes and no in one of their spellings."""
    if column.distinct > _WORDS_OF_TWO or not column.lower or not any(column.lower <= pair for pair in _PAIRS):
        return None
    words = [*sorted(column.lower), *(["empty"] if column.present < len(column.series) else [])]
    share = float(np.nansum(column.booleans.values)) / len(column.series)
    return Verdict("tabular", f"{' or '.join(words)}; {share:.0%} true", "boolean")


def date(column: Column) -> Verdict | None:
    """Dates in one format that leaves no doubt about day and month; a few other words count as missing."""
    form = column.date_format
    whole_number = form == "%Y%m%d" and not {"date", "day", "on", "at"} & set(column.name_parts)
    if form is None or whole_number:
        return None
    if form == AMBIGUOUS:
        doubt = "dates whose day and month cannot be told apart; write their type as 'date %d/%m/%Y' or 'date %m/%d/%Y'"
        return Verdict("tabular", f"{column.distinct:,} distinct values", "category", doubt)
    if column.dates.share < 0.5:
        return None
    example = column.series[~np.isnan(column.dates.values)].iloc[0]
    return Verdict(
        "tabular", f"as {example!s:.40}", "date" if form == ISO else f"date {form}", _odd_dates(column, form)
    )


def _odd_dates(column: Column, form: str) -> str | None:
    bad, said = int(column.dates.bad.sum()), []
    if bad:
        example = str(column.series[column.dates.bad].iloc[0])
        said.append(f"{bad} cells such as {example!r:.30} are no dates and count as missing")
    if "%y" in form:
        said.append("years of two digits: 69 to 99 are read as 1969 to 1999, 00 to 68 as 2000 to 2068")
    if not re.search("%[dbBymY]|^ISO", form):
        said.append("read as times of day; if they are durations write type 'number'")
    return "; ".join(said) or None


def identifier(column: Column) -> Verdict | None:
    """A name that nearly every row has for itself: it can only be learned by heart."""
    named = column.name.startswith("Unnamed: ") or not _ID_NAMES.isdisjoint(column.name_parts[-1:])
    unique = column.distinct / column.present
    if column.levels < _IDENTIFIERS or (not named and unique < 0.99) or column.distinct < 3:
        return None
    values = column.whole if column.numbers.share == 1.0 else None
    if values is not None and column.style.mark == "plain" and not column.style.forms:
        counted = len(values) >= 10 and values[0] in (0, 1) and bool((np.diff(values) == 1).all())
        return Verdict("ignored", f"{IDENTIFIER}: {_unique(column)}") if named or counted else None
    if column.words_per_cell > 1.05 or column.numbers.share > 0.5 or _amounts(column):
        return None
    looks = column.distinct >= 10 and column.share(_ID) > 0.6
    why = f"{IDENTIFIER}: {_unique(column)}, as {hidden(column.sample[0]):.60}{_like_files(column)}"
    return Verdict("ignored", why) if named or looks else None


def _amounts(column: Column) -> bool:
    """Whether cells are amounts with signs beside them, if of several currencies or units: no names."""
    units = [parts.unit for t in column.sample if (parts := written(t)) is not None]
    return sum(bool(unit) and not unit[0].isalnum() for unit in units) > 0.9 * len(column.sample)


def _like_files(column: Column) -> str:
    """What to say of names that end as some files do, and hosts as well."""
    from plait.data.media.formats import AMBIGUOUS  # late: decoders are heavy

    endings = {text.rpartition(".")[2].lower() for text in column.sample}
    if len(endings) > 1 or not endings <= AMBIGUOUS | {"raw", "dat", "bin"}:
        return ""
    return "; if it names files, they are not there: pass --root, or name their kind in a schema"


#: Equally frequent values, from which on a name is one of an own row: fewer than one pair of 10,000 rows is alike.
_IDENTIFIERS = 10_000


def shared_by_rows(column: Column) -> str | None:
    """What to say of an identifier that comes again, as that of a customer or a patient: its rows may belong together."""
    few = column.distinct < 20 or column.present > 50 * column.distinct or column.distinct > 0.9 * column.present
    if few or _ID_NAMES.isdisjoint(column.name_parts[-1:]):
        return None
    return (
        f"an identifier of {column.distinct:,} things in {column.present:,} rows; if rows that share one belong together, "
        f"keep them on one side: --group {column.name} (in Python: groups)"
    )


def _unique(column: Column) -> str:
    if column.distinct == column.present:
        return "every row has its own"
    return f"{column.distinct:,} of {column.present:,} distinct"


def number(column: Column) -> Verdict | None:
    """Numbers, with a few words for missing ones; whole numbers that may be codes are read as both."""
    if (
        not _mostly_numbers(column)
        or column.style.ambiguous
        or RANGE in column.style.forms
        or FRACTION in column.style.forms
    ):
        return None
    whole = column.whole is not None and column.numbers.share == 1.0 and column.style.mark == "plain"
    why = _code(column) if whole else None
    if why:
        return Verdict("tabular", why, "code")
    if any(_ZEROS.match(t) and not set(t) & set(".,:") for t in column.sample):
        return None
    return Verdict("tabular", _range(column), "number", _odd_numbers(column))


def _mostly_numbers(column: Column) -> bool:
    """Nearly all cells, or all but a few words that come again in a column of many numbers."""
    parsed = column.numbers
    if parsed.share >= 0.95:
        return True
    words = set(column.texts[parsed.bad])
    few = len(words) <= 3 and not any(c.isdigit() for w in words for c in w)
    return few and parsed.share >= 0.8 and len(np.unique(parsed.values[np.isfinite(parsed.values)])) > 20


def code_name(column: Column) -> bool:
    """Whether the name says that whole numbers are codes."""
    return not _CODE_NAMES.isdisjoint(column.name_parts[-1:]) or not _POSTAL.isdisjoint(column.name_parts)


def _code(column: Column) -> str | None:
    """Why whole numbers may be codes, which are read as numbers and as categories."""
    distinct = f"{column.distinct:,} whole numbers"
    if code_name(column) and column.distinct > 2:
        return f"by its name a code, {column.distinct:,} distinct"
    if any(map(_ZEROS.match, column.sample)):
        return f"{distinct} with leading zeros: codes"
    return f"{distinct} in groups far apart: codes" if coded(column) else None


def _range(column: Column) -> str:
    values = column.numbers.values[np.isfinite(column.numbers.values)]
    if not len(values):
        return "no finite number"
    few = f"{column.distinct} whole numbers, " if column.whole is not None and column.distinct <= 50 else ""
    gaps = "; to read them as codes, too, write code" if few and column.distinct > 5 and gapped(column) else ""
    return f"{few}{values.min():g} to {values.max():g}{gaps}"


def _odd_numbers(column: Column) -> str | None:
    parsed = column.numbers
    bad, infinite = int(parsed.bad.sum()), int(np.isinf(parsed.values).sum())
    words = int((parsed.missing & ~column.gone).sum())
    said = [_writing(column)]
    if bad:
        example = column.series[parsed.bad].iloc[0]
        said.append(f"{bad} cells such as {example!r:.30} are no numbers and count as missing")
    if infinite:
        said.append(f"{infinite} infinite cells count as missing")
    if words and words > 0.5 * column.present:
        said.append(f"{words} cells say that they are missing")
    return "; ".join(s for s in said if s) or None


_FORMS = {BOUND: "bounds as the number beside them", SCALED: "k and M as thousands and millions"}
_FORMS |= {BRACKETS: "brackets as a minus", TYPESET: "signs and digits of typesetting as plain ones"}


def _writing(column: Column) -> str:
    """What to say of numbers that are written in a way of their own."""
    style = column.style
    said = [f"the unit '{style.unit}' left out"] if style.unit else []
    said += [f"with {'a decimal comma' if style.mark == 'comma' else 'separators of thousands'}"] * (
        style.mark in ("comma", "thousands")
    )
    said += ["as durations in seconds"] * (style.mark == "duration")
    said += [text for form, text in _FORMS.items() if form in style.forms]
    if not said:
        return ""
    example = next((t for t in column.sample if numbers_differ(t)), column.sample[0])
    return f"numbers written as {example!r:.30}, read {', '.join(said)}"


def items_list(column: Column) -> Verdict | None:
    """Lists, or short items joined by a bar, that come again in other rows."""
    lists = sum(
        isinstance(v, list | tuple | set | np.ndarray) or (isinstance(v, str) and list_in(v) is not None)
        for v in column.values
    )
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
        shares.append(sum(bool(_CODE_LINE.match(line[:500])) for line in lines) / max(1, len(lines)))
    if column.distinct < 5 or column.words_per_cell < 1.5 or np.mean([s >= 0.5 for s in shares]) < 0.6:
        return None
    return Verdict("code", f"{np.mean(shares):.0%} of the lines read like code")


#: Equally frequent values, below which names that come again are categories: how they are spelled is read there, too.
_NAMES = 1000


def text(column: Column) -> Verdict | None:
    """Sentences, or names of which there are many; how many does not depend on how long the table is."""
    letters = np.mean([sum(map(str.isalpha, t)) >= 0.4 * len(t) for t in column.sample])
    words = column.words_per_cell
    sentences = words >= 4 and (column.levels >= 50 or column.distinct >= 0.9 * column.present)
    again = words < 4 and column.levels < _NAMES and column.distinct <= 0.5 * column.present
    names = column.levels >= 300 and column.distinct >= 20 and not again
    if letters < 0.7 or not (sentences or names):
        return None
    said = f"{column.distinct:,} distinct of {column.present:,}, {words:.0f} word{'s' if words >= 1.5 else ''} each"
    return Verdict("text", said)


def category(column: Column) -> Verdict:
    """What is left: few values, or values of which nothing better can be said."""
    reason = f"{column.distinct:,} distinct, as {hidden(repr(column.sample[0])):.40}"
    order = known_order(column.counts) if column.distinct <= _ORDERED else None
    if order is not None and len(order) > 2:  # the order of two words says no more than the words
        return Verdict("tabular", reason, f"ordinal {' < '.join(order)}")
    return Verdict("tabular", reason, "category", _mixture(column))


#: Words that have a usual order at most.
_ORDERED = 20


def _mixture(column: Column) -> str | None:
    style, parsed = column.style, column.numbers
    zeros = any(_ZEROS.match(t) for t in column.sample)
    if parsed.share >= 0.95 and not zeros and (style.ambiguous or style.forms):
        example = next((t for t in column.sample if numbers_differ(t)), column.sample[0])
        how = {RANGE: " by the middle of each range", FRACTION: " as fractions"}.get(style.forms[:1], " so")
        if RANGE not in style.forms or _ascending(column):
            return f"numbers written as {example!r}; write type 'number' to read them{how}"
    value = zeros or style.mark == "duration" or RANGE in style.forms or FRACTION in style.forms
    if 0.1 <= parsed.share < 0.95 and not value:
        odd = column.series[parsed.bad].iloc[0]
        return f"a mixture: {parsed.share:.0%} numbers, the others as {hidden(repr(odd)):.30}; taken as categories"
    return _unread(column)


def _unread(column: Column) -> str | None:
    """What to say where most rows have a value of their own that is digits and marks in one form, as amounts and times have."""
    many = column.distinct >= 15 and column.distinct >= 0.3 * column.present
    if not many or code_name(column) or column.share(_FIGURES) < 0.9:
        return None
    shapes = Counter(re.sub(r"[^\W\d_]+", "a", re.sub(r"[\d.,]+", "0", t)) for t in column.sample)
    if sum(count for _, count in shapes.most_common(3)) < 0.6 * len(column.sample):
        return None
    example = hidden(repr(column.sample[0]))[:30]
    return f"if cells such as {example} are amounts or times, they are not read in this form: taken as categories"


def _ascending(column: Column) -> bool:
    """Whether the first number of nearly every range is the smaller one, as scores and telephones do not care for."""
    pairs = [p.bodies for t in column.sample if (p := written(t)) is not None and len(p.bodies) == 2]
    low_first = [float(a) <= float(b) for a, b in pairs if a.isdigit() and b.isdigit()]
    return sum(low_first) >= 0.9 * len(low_first)


def numbers_differ(word: str) -> bool:
    """Whether a word holds more than digits, a sign and a point."""
    return not re.fullmatch(r"[+-]?\d+\.?\d*", word)


RULES: tuple[Rule, ...] = (
    *(empty, media, vector, unusable, constant, split_name, boolean, date, identifier),
    *(number, items_list, code, text, category),
)
#: Rules among the types of a tabular column.
TABULAR: tuple[Rule, ...] = (boolean, date, number, items_list, category)
