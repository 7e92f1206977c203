"""In a notebook: results as tables that suit light and dark pages, and progress as plain text that is updated."""

from __future__ import annotations

import html
import importlib
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

#: Colours are the page's own (``currentColor``), so that it is readable on light and on dark ones.
STYLE = (
    "<style>.plait{font-size:13px;line-height:1.45;max-width:100%;overflow-x:auto}"
    ".plait h4{font-size:14px;margin:.8em 0 .3em;font-weight:600}.plait p{margin:.3em 0}"
    ".plait table{border-collapse:collapse;background:transparent;color:inherit;margin:.2em 0}"
    ".plait th,.plait td{padding:.2em .7em;text-align:right;border:0;border-bottom:1px solid;"
    "border-color:color-mix(in srgb,currentColor 18%,transparent);background:transparent;color:inherit;white-space:nowrap}"
    ".plait th{font-weight:600;opacity:.8}.plait td.text,.plait th.text{text-align:left;white-space:normal}"
    ".plait .kind{display:inline-block;padding:0 .5em;border-radius:1em;border:1px solid;opacity:.85;font-size:12px}"
    ".plait .doubt{font-weight:600}.plait code{background:transparent;color:inherit}</style>"
)


def box(title: str, *parts: str) -> str:
    """Parts of HTML under a title, in the style of the page that they stand in."""
    head = f"<p><b>{html.escape(title)}</b></p>" if title else ""
    return f'<div class="plait">{STYLE}{head}{"".join(parts)}</div>'


def heading(text: str) -> str:
    """A title within a box."""
    return f"<h4>{html.escape(text)}</h4>"


def paragraphs(lines: Sequence[str]) -> str:
    """Lines of text, a paragraph each."""
    return "".join(f"<p>{html.escape(line)}</p>" for line in lines)


def table(rows: Sequence[Mapping[str, object]], most: int = 30) -> str:
    """Records as a table: numbers to the right with three digits, text to the left; of many the first.

    Example:
        >>> "<td>0.500</td>" in table([{"a": 0.5}])
        True
    """
    if not rows:
        return "<p>(nothing)</p>"
    names = list(dict.fromkeys(name for row in rows for name in row))
    words = {name: any(isinstance(row.get(name), str) for row in rows) for name in names}
    mark = {name: ' class="text"' if text else "" for name, text in words.items()}
    head = "".join(f"<th{mark[name]}>{html.escape(str(name))}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td{mark[name]}>{_cell(row.get(name))}</td>" for name in names) + "</tr>"
        for row in rows[:most]
    )
    more = f"<p>... and {len(rows) - most:,} more</p>" if len(rows) > most else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def records_of(frame: Any) -> list[dict[str, Any]]:
    """Rows of a data frame with its index, names of several levels in one."""
    flat = frame.reset_index()
    flat.columns = [
        " ".join(str(p) for p in name if p) if isinstance(name, tuple) else str(name) for name in flat.columns
    ]
    records: list[dict[str, Any]] = flat.to_dict("records")
    return records


def _cell(value: object) -> str:
    if value is None or value != value:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 1000 else f"{value:,.0f}"
    return html.escape(f"{value:,}" if isinstance(value, int) else str(value))


def in_notebook() -> bool:
    """Whether this runs in the kernel of a notebook, found without importing anything."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None and hasattr(module, "get_ipython") else None
    return type(shell).__name__ == "ZMQInteractiveShell"


class NotebookConsole:
    """What ``rich.console.Console`` is on a terminal: its lines stay."""

    width = 100

    class options:  # noqa: N801 - rich has it so
        """Signs that may be used."""

        ascii_only = False

    def __init__(self) -> None:
        self.lines: list[str] = []

    def print(self, text: object, **options: Any) -> None:
        """Keep a line."""
        self.lines.append(str(getattr(text, "plain", text)))


class NotebookLive:
    """What ``rich.live.Live`` is on a terminal: text below a cell that is written anew, without control characters."""

    SECONDS = 0.5

    def __init__(self, console: NotebookConsole, text: Callable[[], Any]) -> None:
        """Nothing is shown before ``start``."""
        self.console, self._text = console, text
        self._handle: Any = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_started(self) -> bool:
        """Whether lines are shown."""
        return self._thread is not None

    def start(self, refresh: bool = True) -> None:
        """Show the lines from now on, and again twice a second."""
        self._ended.clear()
        self.refresh()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def refresh(self) -> None:
        """Show the lines now."""
        self._show([*self.console.lines, *str(getattr(self._text(), "plain", "")).split("\n")])

    def stop(self) -> None:
        """Leave what is done on the page."""
        if self._thread is None:
            return
        self._ended.set()
        self._thread.join()
        self._thread = None
        self._show(self.console.lines)

    def _keep(self) -> None:
        while not self._ended.wait(self.SECONDS):
            self.refresh()

    def _show(self, lines: Sequence[str]) -> None:
        display: Any = importlib.import_module("IPython.display").display
        shown = "\n".join(line for line in lines if line)
        data = {
            "text/plain": shown,
            "text/html": f'<pre style="background:transparent;color:inherit">{html.escape(shown)}</pre>',
        }
        if self._handle is None:
            self._handle = display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)
