"""Short names for patterns of present modalities: IT, I and T for image and text."""

from __future__ import annotations

from collections.abc import Sequence

from plait.branches.mixture import Pattern, patterns

_LONGEST = 3


def codes(names: Sequence[str]) -> dict[str, str]:
    """The shortest beginning, up to three letters, by which each modality differs from the others; else its whole name.

    Example:
        >>> codes(["text", "image"]), codes(["text", "tabular", "image"])
        ({'text': 'T', 'image': 'I'}, {'text': 'Te', 'tabular': 'Ta', 'image': 'I'})
    """
    result = {}
    for name in names:
        others = [other.lower() for other in names if other != name]
        starts = (name[:n] for n in range(1, min(_LONGEST, len(name)) + 1) if name.isalnum())
        result[name] = next(
            (s.capitalize() for s in starts if not any(o.startswith(s.lower()) for o in others)), f"[{name}]"
        )
    return result


def pattern_codes(names: Sequence[str]) -> dict[str, Pattern]:
    """Code -> modalities of every pattern that is recorded, the full one first; letters in alphabetical order.

    Example:
        >>> pattern_codes(["text", "image"])
        {'IT': ('text', 'image'), 'T': ('text',), 'I': ('image',)}
    """
    code = codes(names)
    return {"".join(sorted(code[name] for name in pattern)): pattern for pattern in patterns(names)}
