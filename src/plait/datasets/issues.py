"""GitHub issues: what was written, and the code that was pasted; bug, feature or question?"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from plait.datasets.base import Dataset, File, Loaded, modality

# A fenced block of Markdown: from three or more backticks or tildes at the start of a line (list items indent theirs)
# to the same fence, or to the end where it was never closed. Possessive quantifiers (`*+`):
# otherwise a long row of backticks takes quadratic time.
_BLOCK = re.compile(
    r"^[ \t>]*+(?P<fence>`{3,}+|~{3,}+)[^\n]*+\n(?P<code>.*?)(?:^[ \t>]*+(?P=fence)[`~]*+[ \t\r]*+$|\Z)", re.M | re.S
)


def cut_code(body: str) -> tuple[str, str | None]:
    r"""The text without its fenced code blocks, and the blocks joined by a line, or None without any.

    Example:
        >>> cut_code("It fails:\n```py\n1 / 0\n```\nWhy?")
        ('It fails:\n\nWhy?', '1 / 0')
    """
    blocks = [match["code"].strip() for match in _BLOCK.finditer(body)]
    code = "\n".join(block for block in blocks if block)
    return _BLOCK.sub("", body).strip(), code or None


class Issues(Dataset):
    """GitHub issues: text and code; bug, feature or question.

    1,500 issues of five projects, 100 per project and label, from the NLBSE 2024 tool competition (its training part).
    Rebuilt stand-in for MulDIC, without its screenshots.

    Inputs: text = title and body; code = fenced blocks (```), cut out of the body (48 % of the issues have one).
    Left out: ``repo`` (as balanced by construction as the labels, so it says nothing alone; MulDIC fits a model per
    project) and ``created_at``. Where a project's form asks the reporter for the kind of issue (tensorflow), the answer
    stays in the body: it is there when the issue is filed.

    Licence: not stated; texts belong to their writers under GitHub's terms.
    """

    title = "GitHub issues"
    url = "https://github.com/nlbse2024/issue-report-classification"
    licence = "not stated"
    licence_from = "https://github.com/nlbse2024/issue-report-classification (no licence file)"
    citation = (
        "Kallis et al. 2024, The NLBSE'24 Tool Competition; Kwak et al. 2023, A Multimodal Deep Learning Model Using "
        "Text, Image, and Code Data for Improving Issue Classification Tasks, Applied Sciences 13(16):9456"
    )
    tasks = {"label": "classification"}
    files = (
        File("issues/issues_train.csv", "18dc42a30aa33dccadb723ad3baeb164d38bff521496f985ca2791c26b8939f5", 3_680_400),
    )
    rebuilt = True

    def load(self, root: str | Path | None = None) -> Loaded:
        frame = pd.read_csv(self.file(root, "issues", "issues_train.csv"))
        cut = [cut_code(body) for body in frame["body"].fillna("")]
        frame["body"] = pd.Series([text for text, _ in cut], dtype=object)
        frame["code"] = pd.Series([code for _, code in cut], dtype=object)
        reasons = {"repo": "balanced by construction: says nothing alone", "created_at": "date, no content"}
        return self.loaded(frame, [modality("text", "title", "body"), modality("code")], reasons)
