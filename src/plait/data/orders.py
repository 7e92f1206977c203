"""Words that stand in an order: low, medium, high."""

from __future__ import annotations

from collections.abc import Iterable

_ORDERS = tuple(
    tuple(word.strip() for word in line.split("<"))
    for line in (
        "none < very low < low < medium low < medium < moderate < medium high < high < very high < critical < extreme",
        "xxxs < xxs < xs < s < m < l < xl < xxl < 2xl < xxxl < 3xl < 4xl < 5xl",
        "tiny < extra small < very small < small < medium < large < very large < extra large < huge < giant",
        "terrible < very bad < bad < very poor < poor < fair < average < ok < good < very good < excellent < outstanding",
        "never < rarely < seldom < occasionally < sometimes < often < frequently < usually < very often < always",
        "strongly disagree < disagree < somewhat disagree < neutral < neither agree nor disagree < somewhat agree < agree < "
        "strongly agree",
        "very dissatisfied < dissatisfied < neutral < satisfied < very satisfied",
        "minor < major < critical < blocker",
        "beginner < novice < intermediate < advanced < expert",
        "junior < mid < senior < lead < principal",
        "bronze < silver < gold < platinum < diamond",
        "common < uncommon < rare < epic < legendary",
        "child < teen < young adult < adult < senior",
        "daily < weekly < monthly < quarterly < yearly",
        "monday < tuesday < wednesday < thursday < friday < saturday < sunday",
        "mon < tue < wed < thu < fri < sat < sun",
        "january < february < march < april < may < june < july < august < september < october < november < december",
        "jan < feb < mar < apr < may < jun < jul < aug < sep < oct < nov < dec",
    )
)
#: Words beside them that have no place in an order.
_PLACELESS = frozenset(("unknown", "unspecified", "not specified", "other", "n/a", "na", "missing", "?", "-"))


def known_order(words: Iterable[str]) -> tuple[str, ...] | None:
    """The words from low to high where they have a usual order, as sizes, grades and frequencies do; else None.

    Words such as *unknown* beside them are left out.

    Example:
        >>> known_order(["High", "low", "medium"]), known_order(["L", "S", "M"]), known_order(["red", "blue"])
        (('low', 'medium', 'High'), ('S', 'M', 'L'), None)
    """
    distinct = sorted({word.strip() for word in words if word.strip()})
    placed = [word for word in distinct if word.lower() not in _PLACELESS]
    low = {word.lower().replace("_", " ").replace("-", " "): word for word in placed}
    if len(low) < 2 or len(low) < len(placed):
        return None
    order = next((o for o in _ORDERS if low.keys() <= set(o)), None)
    return None if order is None else tuple(low[word] for word in order if word in low)
