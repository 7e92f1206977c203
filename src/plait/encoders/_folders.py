"""Folders that plait wrote and that serve as an encoder: which encoder reads which."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from plait.documents import read_json
from plait.errors import ConfigError, ModelError

#: ``kind`` in a folder's model.json -> the encoder that takes it.
FOLDERS = {"ModalityAligner": "aligned", "PretrainedEncoder": "pretrained"}


def is_folder(told: str) -> bool:
    """Whether a word names a folder rather than an encoder: it has a slash, or a model lies there.

    Example:
        >>> is_folder("runs/audio"), is_folder("cnn")
        (True, False)
    """
    return "/" in told or os.sep in told or Path(told, "model.json").is_file()


def encoder_of_folder(folder: str) -> dict[str, Any]:
    """``{name, folder}`` of the encoder that reads a folder; its content is checked when it is read.

    Raises:
        ModelError: there is no model.
        ConfigError: it holds a model that is no encoder.
    """
    path = Path(folder, "model.json")
    try:
        found = read_json(path.read_bytes())
    except FileNotFoundError:
        raise ModelError(
            f"{folder}: no model.json there; expected an encoder's name, or a folder written by plait pretrain or align"
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as JSON ({error}); copy the folder again") from None
    kind = found.get("kind") if isinstance(found, dict) else None
    if kind not in FOLDERS:
        raise ConfigError(f"{folder}: holds a {kind}, not an encoder; plait pretrain and plait align write encoders")
    return {"name": FOLDERS[kind], "folder": folder}
