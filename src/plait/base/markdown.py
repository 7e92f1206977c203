"""Texts in Markdown that cannot become markup."""

from __future__ import annotations


def plain(text: object) -> str:
    r"""One line of Markdown in which nothing is markup, HTML included.

    Example:
        >>> plain("<b>a_b</b> & [c]")
        '&lt;b&gt;a\\_b&lt;/b&gt; &amp; \\[c\\]'
    """
    value = " ".join(str(text).split()).replace("&", "&amp;")
    for sign in "\\`*_[]":
        value = value.replace(sign, f"\\{sign}")
    return value.replace("<", "&lt;").replace(">", "&gt;")


def cell(text: object) -> str:
    """A text that cannot leave its cell of a table."""
    return plain(text).replace("|", "\\|")
