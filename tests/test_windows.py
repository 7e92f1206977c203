"""Long sounds and videos are cut into windows, each through one encoder."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import plait
from plait import FusionClassifier, Modality, Schema
from plait.base.errors import ConfigError
from plait.encoders.embed import embed
from plait.encoders.logmel import LogMel
from plait.encoders.windows import Windows

RATE = 16_000
#: Embeddings are kept in half precision.
HALF = {"rtol": 5e-3, "atol": 5e-2}
LIGHT: dict[str, Any] = {"encoder": "logmel", "window": 1.0}


def tone(seconds: float, hertz: float = 440.0) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def tokens(encoder: Any, cells: list[Any]) -> torch.Tensor:
    return embed(encoder, cells, None, name="sound").tokens()


def test_windows_are_what_the_encoder_hears_in_each() -> None:
    sound = np.concatenate([tone(1, 300), tone(1, 900), tone(0.5, 2000)])
    result = tokens(Windows(**LIGHT, pool="none"), [sound, tone(0.4)])
    assert result.mask.tolist() == [[True, True, True], [True, False, False]]
    windows = [sound[:RATE], sound[RATE : 2 * RATE], sound[-RATE:], tone(0.4)]  # the last ends where the sound ends
    alone = tokens(LogMel(), windows).x[:, 0]
    torch.testing.assert_close(result.x[result.mask], alone)
    both = tokens(Windows(**LIGHT), [sound, tone(0.4)]).x[:, 0]
    torch.testing.assert_close(both[0], torch.cat([alone[:3].mean(0), alone[:3].amax(0)]), **HALF)
    torch.testing.assert_close(both[1], torch.cat([alone[3], alone[3]]))


@pytest.mark.parametrize(("stride", "most", "count"), [(None, 12, 5), (0.5, 12, 9), (0.5, 4, 4), (2.0, 12, 3)])
def test_stride_and_the_number_of_windows(stride: float | None, most: int, count: int) -> None:
    encoder = Windows(**LIGHT, stride=stride, windows=most)
    assert encoder.prepare([tone(5)])["windows"].tolist() == [[count]]


@pytest.mark.parametrize(
    ("options", "count", "said"),
    [
        ({"stride": 2.0}, 3, "window 1 s, stride 2 s, 12 windows at most"),  # in 2.5 s from 1.0 to 1.5
        ({"windows": 4}, 1, "window 1 s, stride 1 s, 4 windows at most"),
        ({"stride": 0.5, "windows": 4}, 1, "stride 0.5 s, 4 windows"),
        ({"stride": 0.5, "max_seconds": 4, "windows": 12}, 0, ""),
        ({}, 0, ""),
    ],
)
def test_sounds_with_parts_in_no_window_are_counted(options: dict[str, Any], count: int, said: str) -> None:
    encoder = Windows(**{**LIGHT, **options})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tokens(encoder, [tone(5), tone(3, 300), tone(2.5, 600), tone(1.5), tone(0.4)])
    gaps = [str(warning.message) for warning in caught if "no window holds" in str(warning.message)]
    assert len(gaps) == bool(count)
    assert all(line.startswith(f"{count} of 5 sounds") and said in line for line in gaps)
    cut = [str(warning.message) for warning in caught if "longer than 4 s" in str(warning.message)]
    assert len(cut) == ("max_seconds" in options)


def test_a_sign_late_in_a_long_sound_is_heard_through_the_whole_model(tmp_path: Any) -> None:
    rng = np.random.default_rng(0)
    y = np.repeat(["beep", "none"], 40)
    sounds = [0.01 * rng.normal(size=3 * RATE).astype(np.float32) for _ in y]
    for sound, label in zip(sounds, y, strict=True):
        start = rng.integers(RATE, 2 * RATE)
        sound[start : start + RATE // 4] += tone(0.25, 1500) * (label == "beep")
    frame = pd.DataFrame({"sound": sounds})
    schema = Schema((Modality("sound", "audio", ("sound",), encoder={"name": "windows", **LIGHT}),))
    settings: dict[str, Any] = {"store": "none", "members": 2, "epochs": 10, "progress": False, "branches": ["joint"]}
    model = FusionClassifier(modalities=schema, **settings).fit(frame[::2], y[::2])
    assert model.score(frame[1::2], y[1::2]) > 0.9
    again = plait.load(model.save(tmp_path / "m"))
    np.testing.assert_array_equal(again.predict_proba(frame), model.predict_proba(frame))


def test_a_video_is_parted_evenly() -> None:
    film = np.zeros((20, 8, 8, 3), np.uint8)
    film[10:] = 200
    encoder = Windows(
        encoder={"name": "video_frames", "image_encoder": "pixel_statistics", "frames": 5},
        windows=4,
        pool="none",
    )
    x = tokens(encoder, [film]).x[0]
    assert x.shape[0] == 4
    assert torch.equal(x[0], x[1])
    assert torch.equal(x[2], x[3])
    assert not torch.equal(x[1], x[2])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"encoder": "minilm"}, "'minilm' is no frozen encoder of sounds or videos"),
        ({"encoder": "spectrogram_cnn"}, "is no frozen encoder"),
        ({"encoder": {"name": "windows", "encoder": "logmel"}}, "'windows' is no frozen encoder"),
        ({"encoder": "logmel", "window": 0}, "window must be"),
        ({"encoder": 3}, "encoder"),
    ],
)
def test_what_cannot_be_meant_is_one_line(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        Windows(**options)
    assert "\n" not in str(raised.value)


def test_an_encoder_of_videos_windows_no_sound() -> None:
    encoder = {"name": "windows", "encoder": {"name": "video_frames", "image_encoder": "pixel_statistics"}}
    frame = pd.DataFrame({"sound": [tone(1)] * 30})
    schema = Schema((Modality("sound", "audio", ("sound",), encoder=encoder),))
    with pytest.raises(ConfigError, match="'windows' takes video, not audio"):
        FusionClassifier(modalities=schema, store="none").fit(frame, [0, 1] * 15)
