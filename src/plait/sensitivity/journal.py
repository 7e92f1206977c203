"""Trials on the disk: Optuna's journal, one JSON object per line, no pickle; whole after any crash."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from plait.errors import ConfigError, need

try:
    import fcntl
except ImportError:  # Windows: two searches in one folder are then the user's to avoid
    fcntl = None  # type: ignore[assignment]

JOURNAL, LOCK = "journal.jsonl", "search.lock"


class Journal:
    """The journal of one folder; one process at a time searches in it, and a process that is killed frees it.

    Of Optuna's storages only ``JournalStorage`` over Redis pickles (its snapshots); over a file it writes JSON lines and
    reads them back. A line torn by a kill is cut: Optuna itself would stop at it for ever.
    """

    def __init__(self, folder: Path) -> None:
        """Open the folder's journal, or begin one.

        Raises:
            ConfigError: another process searches there.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        if fcntl is not None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(self._file)
                raise ConfigError(
                    f"{folder}: another process is searching there; wait for it or name another --out"
                ) from None
        path = folder / JOURNAL
        cut_torn(path)
        journal = need("optuna.storages.journal", "search")
        self.storage: Any = need("optuna", "search").storages.JournalStorage(
            journal.JournalFileBackend(str(path), lock_obj=_Held())
        )

    def close(self) -> None:
        """Free the folder."""
        os.close(self._file)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Held:
    """Optuna's lock per line, of which there is no need: the folder is ours. Its own would outlive a kill for 30 seconds."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return


def cut_torn(path: Path) -> None:
    """Take away a last line without its end."""
    if not path.exists():
        return
    data = path.read_bytes()
    end = data.rfind(b"\n") + 1
    if end < len(data):
        with path.open("r+b") as file:
            file.truncate(end)
