"""Names of modalities: which can be keys everywhere, and how a usable one is made of a column's name."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import nn

#: What a name may be: it stands in dotted options (``encoders.NAME.width``), in lists joined by ``+`` and in paths.
_NAME = re.compile(r"\w(?:[\w -]*\w)?")
_EXPECTED = "expected letters, digits, '_', '-' and spaces between them"
#: Networks are kept in dictionaries of torch, whose own attributes are no keys.
_TORCH = nn.ModuleDict()


def name_problem(name: object, kind: object = "") -> str | None:
    """What is wrong with a modality's name, in words that end with what to do; None where nothing is.

    Example:
        >>> name_problem("front.image")
        "its name holds '.'; expected letters, digits, '_', '-' and spaces between them; name it 'front_image'"
    """
    if not isinstance(name, str):
        return f"its name must be text, found {name!r}; quote it"
    if _NAME.fullmatch(name):
        told = f"its name is one that torch keeps for itself; name it '{usable(name, str(kind))}'"
        return told if hasattr(_TORCH, name) else None
    odd = sorted({c for c in name if not re.match(r"[\w -]", c)})
    held = "holds " + ", ".join(map(repr, odd)) if odd else f"is {name!r}"
    return f"its name {held}; {_EXPECTED}; name it '{usable(name, str(kind))}'"


def usable(name: str, kind: str) -> str:
    """The name nearest to one that cannot be used.

    Example:
        >>> usable("front/image", "image"), usable("type", "image"), usable("...", "image")
        ('front_image', 'type_image', 'image')
    """
    found = re.sub(r"[^\w-]+", "_", name).strip("_-") or kind or "modality"
    return f"{found}_{kind or 1}" if hasattr(_TORCH, found) else found


def distinct_names(wanted: Sequence[tuple[str, str]]) -> list[str]:
    """A usable name for each wanted one and its kind, no two alike; those that are usable and wanted first stay.

    Example:
        >>> distinct_names([("a.b", "image"), ("a_b", "audio"), ("a/b", "image")])
        ['a_b_2', 'a_b', 'a_b_3']
    """
    taken = {name for name, kind in wanted if name_problem(name, kind) is None}
    kept: set[str] = set()
    found = []
    for name, kind in wanted:
        if name not in taken or name in kept:
            first = usable(name, kind)
            numbered = (f"{first}_{number}" for number in range(2, len(wanted) + len(taken) + 2))
            name = next(n for n in (first, *numbered) if n not in taken)
            taken.add(name)
        kept.add(name)
        found.append(name)
    return found
