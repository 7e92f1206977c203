"""Folders that plait wrote and that serve as an encoder: which encoder reads which."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from plait import config, registry
from plait.documents import read_json
from plait.encoders._base import Encoder
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


def encoder_of(told: str | Mapping[str, Any], kind: str, where: str) -> tuple[str | dict[str, Any], Encoder]:
    """An encoder from its name, its folder, or ``{name: ..., option: ...}``; a mapping may have ``folder`` in place of a name.

    Returns:
        The name, or name and options: enough to make it again where the folder is gone; and the encoder.

    Raises:
        ConfigError: no such encoder, or an option that it does not have.
    """
    options = {"name": told} if isinstance(told, str) and not is_folder(told) else told
    options = encoder_of_folder(options) if isinstance(options, str) else dict(options)
    if "name" not in options and "folder" not in options:
        raise ConfigError(f"{where}: expected {{name: ..., option: ...}}, found {options}")
    options = {**encoder_of_folder(str(options["folder"])), **options} if "name" not in options else options
    if options["name"] in FOLDERS.values():
        options.setdefault("kind", kind)
    rest = {key: value for key, value in options.items() if key != "name"}
    variant = cast("type[Encoder]", registry.find("encoders", str(options["name"])))
    return (options if rest else options["name"]), config.build(variant, rest, where)
