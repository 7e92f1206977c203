"""CodeBERT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from plait.encoders.hub_kinds import PooledHubText


@dataclass(eq=False)
class CodeBERT(PooledHubText):
    """CodeBERT: the state of ``<s>`` after up to 512 tokens of code or text.

    Shape: text in, (n, 1, 768) out.
    Source: Feng et al. 2020, CodeBERT, arXiv 2002.08155, section 3.
    Use when: cells hold code in Python, Java, JavaScript, PHP, Ruby or Go, or text beside it.
    Not when: there is no time for 125 million weights.
    """

    licence: ClassVar[str] = "Apache-2.0 (code); weights MIT (github.com/microsoft/CodeBERT)"

    model: str = "microsoft/codebert-base"
    pool: Literal["mean", "first"] = "first"
