"""What happened in every epoch: scores by pattern of present modalities, losses, times; as files, tables and curves.

``plait.training.history.read(folder)`` is the table of a model or a study; ``docs/records.md`` says what is in it.
"""

from __future__ import annotations

from plait.training.history.files import document, read, slim, write
from plait.training.history.table import epochs_to, select, table

__all__ = ["document", "epochs_to", "read", "select", "slim", "table", "write"]
