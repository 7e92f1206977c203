"""One look for all figures: sizes, colours that a page can turn dark, text that cannot break a drawing."""

from __future__ import annotations

import bisect
import io
import itertools
import math
import re
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from plait.base.errors import need

#: Role -> colour on white. Okabe and Ito's palette (2008) where colours tell things apart; in a page each becomes a CSS
#: variable of the role's name, so every value must be unique.
COLOURS = {
    "ink": "#1f2328",
    "muted": "#59636e",
    "rule": "#d1d9e0",
    "blue": "#0072b2",
    "orange": "#d55e00",
    "green": "#009e73",
    "pink": "#cc79a7",
    "sky": "#56b4e9",
    "amber": "#e69f00",
    "on-blue": "#fefefe",
}
#: Colours of several lines in one figure, in order.
LINES = ("blue", "orange", "green", "pink", "sky", "amber")
#: Width of a small figure in points: on a phone it is shown at about its own size, so text stays readable.
WIDTH = 310.0
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text: small, selectable, in the page's font
    "svg.hashsalt": "plait",  # the same figure is the same bytes
    "text.parse_math": False,  # a class may be called $x$
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.labelsize": 9.0,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "text.color": COLOURS["ink"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.edgecolor": COLOURS["rule"],
    "axes.titlecolor": COLOURS["ink"],
    "axes.titlelocation": "left",
    "xtick.color": COLOURS["rule"],
    "ytick.color": COLOURS["rule"],
    "xtick.labelcolor": COLOURS["muted"],
    "ytick.labelcolor": COLOURS["ink"],
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": COLOURS["rule"],
    "grid.linewidth": 0.6,
    "axes.unicode_minus": True,
    "legend.frameon": False,
}


@contextmanager
def settings() -> Iterator[None]:
    """Draw and save within this: matplotlib reads its settings at both times. No pyplot, no window, nothing is left."""
    matplotlib = need("matplotlib", "report")
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the reader's browser has the glyph
        yield


def axes(
    width: float, height: float, *, left: float, bottom: float = 30.0, right: float = 10.0, top: float = 8.0
) -> Any:
    """Figure and one pair of axes of a size in points, with margins in points."""
    figure = need("matplotlib.figure", "report").Figure(figsize=(width / 72, height / 72))
    box = (left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height)
    result = figure.add_axes(box)
    for axis in (result.xaxis, result.yaxis):
        axis.set_major_formatter(need("matplotlib.ticker", "report").FuncFormatter(lambda value, _: tick(value)))
    return figure, result


def tick(value: float) -> str:
    """A number at an axis: plain, with thousands separated, never as a part of a power of ten in the corner.

    Example:
        >>> tick(1250000.0), tick(0.1 + 0.2), tick(-12.5), tick(0.0)
        ('1,250,000', '0.3', '−12.5', '0')
    """
    return f"{value:,.12g}".replace("-", "−") if abs(value) < 1e12 else f"{value:.3g}"


#: Ends of a scale that has none.
ENDLESS = (-math.inf, math.inf)


def bound(axis: Any, ends: tuple[float, float]) -> None:
    """No tick where no score can be: beyond the metric's range an axis has only room for its marks.

    Example:
        >>> _, ax = axes(WIDTH, 100.0, left=40)
        >>> _ = ax.plot([0, 1], [0.2, 1.0])
        >>> ax.margins(y=0.14)
        >>> bound(ax.yaxis, (0.0, 1.0))
        >>> float(max(ax.get_yticks()))
        1.0
    """
    view = axis.get_view_interval()
    low, high = max(view[0], ends[0] - 1e-9), min(view[1], ends[1] + 1e-9)
    axis.set_ticks([place for place in axis.get_majorticklocs() if low <= place <= high])


def rows_axes(labels: list[str], *, per_row: float = 20.0, top: float = 8.0, most: int = 26) -> Any:
    """Figure, axes and y positions for one horizontal line per label, the first on top, names on the left."""
    named = broken(labels, most)
    left = min(0.52 * WIDTH, 12.0 + 5.1 * line_width(named))
    per_row = max(per_row, 23.0) if any("\n" in name for name in named) else per_row
    height = 34.0 + top + per_row * len(labels)
    figure, ax = axes(WIDTH, height, left=left, bottom=34.0, right=16.0, top=top)  # half of a number at the edge
    places = [float(len(labels) - 1 - i) for i in range(len(labels))]
    ax.set_yticks(places, named)
    ax.set_ylim(-0.6, len(labels) - 0.4)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", length=3)
    ax.spines["left"].set_visible(False)
    ax.xaxis.grid(True)
    ax.xaxis.set_major_locator(need("matplotlib.ticker", "report").MaxNLocator(5))
    return figure, ax, places


def signed_bars(records: Sequence[Mapping[Any, Any]], label: str, *, per_row: float = 20.0, line: float = 1.4) -> Any:
    """A figure of one bar per record, the first on top, coloured by its sign, with its interval as a line.

    Records have name, value, low and high; an interval that is not finite is not drawn.
    """
    with settings():
        figure, ax, places = rows_axes([str(r["name"]) for r in records], per_row=per_row)
        colours = [COLOURS["blue"] if r["value"] >= 0 else COLOURS["orange"] for r in records]
        ax.barh(places, [r["value"] for r in records], height=0.55, color=colours, alpha=0.75)
        for place, r in zip(places, records, strict=True):
            if math.isfinite(r["low"]):
                ax.plot([r["low"], r["high"]], [place, place], color=COLOURS["ink"], lw=line)
        ax.axvline(0, color=COLOURS["muted"], lw=0.8)
        ax.margins(x=0.08)
        ax.set_xlabel(label)
    return figure


def width_of(text: str) -> float:
    """Characters, wide ones counted twice."""
    return sum(2.0 if unicodedata.east_asian_width(c) in "WF" else 1.0 for c in text)


def clean(text: object) -> str:
    """One line without control characters, which no SVG may hold."""
    value = "".join(c if c.isprintable() or c == " " else " " for c in str(text))
    return " ".join(value.split()) or "(empty)"


def line_width(labels: Sequence[str]) -> float:
    """Characters of the widest line of labels that may have two."""
    return max(width_of(line) for label in labels for line in label.split("\n"))


def short(text: object, most: int = 26) -> str:
    """One clean line, at most so wide (see ``width_of``).

    Example:
        >>> short("a very long class name", 10)
        'a very lo…'
    """
    value = clean(text)
    return value if width_of(value) <= most else _begin(value, most - 1).rstrip() + "…"


def distinct(labels: Sequence[object], most: int) -> list[str]:
    """Short labels that still differ: where their beginnings are the same, their ends are kept too.

    Example:
        >>> distinct(["volume number one", "volume number two"], 10)
        ['volum… one', 'volum… two']
    """
    values = [short(label, most) for label in labels]
    if len(set(values)) == len(values):
        return values
    full, tail = [clean(label) for label in labels], (most - 1) // 2
    return [t if width_of(t) <= most else f"{_begin(t, most - 1 - tail)}…{_begin(t[::-1], tail)[::-1]}" for t in full]


def broken(labels: Sequence[object], most: int) -> list[str]:
    r"""Labels of one line, or of two where one has no room; only what two have no room for is cut.

    Example:
        >>> broken(["size", "number_of_previous_owners"], 16)
        ['size', 'number_of_\nprevious_owners']
    """
    return [text if width_of(text) <= most else _two_lines(text, most) for text in distinct(labels, 2 * most)]


def _two_lines(text: str, most: int) -> str:
    """Broken behind the last sign of punctuation that leaves both lines room, else where the first line is full."""
    full = len(_begin(text, most))
    ends = [match.end() for match in re.finditer(r"[\s_+/.:;,-]", text[:full]) if width_of(text[match.end() :]) <= most]
    at = max(ends, default=full)
    return f"{text[:at].rstrip()}\n{text[at:]}"


def _begin(text: str, most: int) -> str:
    """As much of a text as is at most so wide."""
    wide = list(itertools.accumulate(map(width_of, text)))
    return text[: bisect.bisect_right(wide, most)]


def svg(figure: Any) -> str:
    """The figure as an SVG document: no date, no metadata, the same bytes each time."""
    buffer = io.StringIO()
    with settings():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", buffer.getvalue(), flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    return re.sub(r"font: ([^;\"']*px)[^;\"]*", rf"font: \1 {FONTS}", text)


def inline(document: str, name: str, label: str) -> str:
    """An SVG document as part of a page: no prologue, ids of its own, colours as the page's variables.

    ``name``: unique within the page; ``label``: what a screen reader says, escaped already.
    """
    body = document[document.index("<svg") :]
    opening, _, rest = body.partition(">")
    box = re.search(r'viewBox="([^"]*)"', opening)
    size = box.group(1) if box else f"0 0 {WIDTH} {WIDTH}"
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', rest))
    rest = re.sub(r' id="([^"]*)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", rest)
    rest = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", rest)
    rest = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{name}-\1"', rest)
    for role, colour in COLOURS.items():
        rest = rest.replace(colour, f"var(--{role})")
    rest = rest.replace(FONTS, "var(--sans)")
    width = float(size.split()[2])
    style = f"max-width:{width * 4 / 3:.0f}px"
    return f'<svg viewBox="{size}" role="img" aria-label="{label}" style="{style}">{rest}'
