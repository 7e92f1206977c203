"""Media in tables: every way to write a cell gives the same picture, sound or film, and hostile ones are absent."""

from __future__ import annotations

import base64
import functools
import gzip
import io
import json
import os
import stat
import struct
import unicodedata
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from PIL import Image

from plait import FusionClassifier, load
from plait.base.documents import Limit
from plait.base.errors import CellError, ConfigError, PlaitWarning, TableError
from plait.base.registry import find
from plait.base.tokens import Tokens
from plait.data import schema, table
from plait.data.cells import cells as cells_of
from plait.data.equal_rows import column_keys
from plait.data.media import Blob
from plait.data.media.formats import kind_of_bytes, kind_of_name, known, readable
from plait.data.media.given import given
from plait.data.media.images import image, video
from plait.data.media.sounds import audio
from plait.data.modality import Modality
from plait.data.rows import data_hash
from plait.data.write import write_table
from plait.encoders.featurize import Featurizer
from plait.encoders.video_frames import VideoFrames

N = 24
RNG = np.random.default_rng(5)
PICTURES = [RNG.integers(0, 256, (12, 18, 3), dtype=np.uint8) for _ in range(N)]
IMAGE = Modality("image", "image", ("cell",))
AUDIO = Modality("audio", "audio", ("cell",))
TONES = [(0.5 * np.sin(np.arange(800) * (0.05 + 0.01 * i))).astype(np.float32) for i in range(N)]


def column(cells: list[Any]) -> pd.Series:
    """Cells of any type, each as it is."""
    held = np.empty(len(cells), dtype=object)
    for i, cell in enumerate(cells):
        held[i] = cell
    return pd.Series(held)


def frame_of(cells: list[Any]) -> pd.DataFrame:
    return pd.DataFrame({"cell": column(cells), "other": np.arange(len(cells)) % 7})


def saved(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


PNGS = [saved(Image.fromarray(pixels)) for pixels in PICTURES]


@functools.cache
def _wav(samples: bytes) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, np.frombuffer(samples, np.float32), 16_000, format="WAV", subtype="FLOAT")
    return stream.getvalue()


def wav(samples: np.ndarray) -> bytes:
    """A file; each is made once, for it holds the second in which it was written."""
    return _wav(samples.astype(np.float32).tobytes())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures and sounds in the current folder."""
    for i in range(N):
        (tmp_path / f"{i}.png").write_bytes(PNGS[i])
        (tmp_path / f"{i}.wav").write_bytes(wav(TONES[i]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


# -- one picture, whatever it is written as ------------------------------------------------------------------------------

Way = Callable[[int], Any]
WAYS: dict[str, Way] = {
    "path": lambda i: f"{i}.png",
    "Path": lambda i: Path(f"{i}.png"),
    "file address": lambda i: f"file://{Path.cwd()}/{i}.png",
    "bytes": lambda i: PNGS[i],
    "data address": lambda i: f"data:image/png;base64,{base64.b64encode(PNGS[i]).decode()}",
    "base64": lambda i: base64.b64encode(PNGS[i]).decode(),
    "bytearray": lambda i: bytearray(PNGS[i]),
    "memoryview": lambda i: memoryview(PNGS[i]),
    "bytes mixed with paths": lambda i: PNGS[i] if i % 2 else f"{i}.png",
    "Hugging Face bytes": lambda i: {"bytes": PNGS[i], "path": None},
    "Hugging Face path": lambda i: {"bytes": None, "path": f"{i}.png"},
    "undecoded Pillow image": lambda i: Image.open(io.BytesIO(PNGS[i])),
    "Pillow image": lambda i: Image.fromarray(PICTURES[i]),
    "array": lambda i: PICTURES[i],
    "channels first": lambda i: PICTURES[i].transpose(2, 0, 1),
    "floats": lambda i: PICTURES[i] / 255,
    "floats, channels first": lambda i: (PICTURES[i] / np.float32(255)).transpose(2, 0, 1),
    "int64": lambda i: PICTURES[i].astype(np.int64),
    "16 bits": lambda i: PICTURES[i].astype(np.uint16) * 257,
    "nested lists": lambda i: PICTURES[i].tolist(),
    "nested arrays, as Parquet gives them": lambda i: column([column(list(row)).to_numpy() for row in PICTURES[i]]).to_numpy(),
    "tensor": lambda i: torch.tensor(PICTURES[i]).permute(2, 0, 1),
    "tensor of floats": lambda i: torch.tensor(PICTURES[i]).permute(2, 0, 1) / 255,
    "tensor that learns": lambda i: (torch.tensor(PICTURES[i]).permute(2, 0, 1) / 255).requires_grad_(),
    "tensor, channels last": lambda i: torch.tensor(PICTURES[i]),
    "batch of one": lambda i: torch.tensor(PICTURES[i]).permute(2, 0, 1)[None],
    "Blob": lambda i: Blob.of_bytes(PNGS[i]),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_the_same_pictures(way: str, folder: Path) -> None:
    cells = [WAYS[way](i) for i in range(N)]
    (read,) = cells_of(frame_of(cells), IMAGE)
    for cell, pixels in zip(read, PICTURES, strict=True):
        np.testing.assert_array_equal(image(cell), pixels)


def test_a_broken_data_address_is_one_broken_cell() -> None:
    cells = [WAYS["data address"](i) for i in range(4)] + ["data:image/png;base64,???", "data:image/png;base64,"]
    (read,) = cells_of(frame_of(cells), IMAGE)
    assert [isinstance(cell, Blob) and cell.problem is not None for cell in read] == [False] * 4 + [True, False]
    assert schema.absent(schema.infer(frame_of(cells)), frame_of(cells))[:4].any(0).sum() == 0


def test_open_buffers_are_left_out_by_name() -> None:
    found = schema.infer(frame_of([io.BytesIO(png) for png in PNGS]).assign(other=range(N)))
    assert found.ignored["cell"] == "cells are BytesIO, of no kind that is known"


@pytest.mark.parametrize("way", [way for way in WAYS if way not in ("batch of one", "Blob")])
def test_every_way_is_taken_for_pictures(way: str, folder: Path) -> None:
    found = schema.infer(frame_of([WAYS[way](i) for i in range(N)]))
    assert [m.kind for m in found.modalities if "cell" in m.columns] == ["image"]


@pytest.mark.parametrize("way", WAYS)
def test_equal_cells_are_equal_whatever_objects_hold_them(way: str, folder: Path) -> None:
    first, again = (frame_of([WAYS[way](i) for i in range(N)]) for _ in range(2))
    keys = column_keys(first["cell"])
    assert keys.tolist() == column_keys(again["cell"]).tolist()
    assert len(set(keys.tolist())) == N
    assert data_hash(first) == data_hash(again)


def test_two_fits_on_equal_pictures_are_equal() -> None:
    answers = []
    for _ in range(2):
        frame = frame_of([Image.fromarray(pixels) for pixels in PICTURES])
        model = FusionClassifier(
            store="none", members=2, epochs=2, progress=False, encoders={"image": "pixel_statistics"}
        )
        answers.append(model.fit(frame, np.arange(N) % 2).predict_proba(frame))
    np.testing.assert_array_equal(*answers)


def test_objects_that_do_not_say_what_they_hold_are_refused() -> None:
    with pytest.raises(TableError, match="cells of type object cannot be told apart"):
        column_keys(column([object(), object()]))


GREY = np.tile(np.linspace(0, 255, 16).astype(np.uint8), (8, 1))


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = orientation
    return found


def with_palette() -> Image.Image:
    picture = Image.new("P", (6, 6), 0)
    picture.putpalette([255, 0, 0, 0, 255, 0])
    return picture


FILES = {
    **{f"camera turned it ({k})": saved(Image.fromarray(PICTURES[0]), "JPEG", exif=exif(k)) for k in range(1, 9)},
    "transparent": saved(Image.new("RGBA", (6, 6), (0, 0, 0, 0))),
    "half transparent grey": saved(Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(GREY)])),
    "transparent colour": saved(Image.new("RGB", (6, 6), (1, 2, 3)), transparency=(1, 2, 3)),
    "palette": saved(with_palette()),
    "palette with a transparent entry": saved(with_palette(), transparency=0),
    "palette with opacities": saved(with_palette(), transparency=b"\x00\xff"),
    "16-bit grey": saved(Image.fromarray(GREY.astype(np.uint16) * 257)),
    "16-bit grey, big endian": saved(Image.fromarray(GREY.astype(">u2") * 257), "TIFF"),
    "32-bit grey": saved(Image.fromarray(GREY.astype(np.int32) * 257), "TIFF"),
    "floats": saved(Image.fromarray((GREY / 255).astype(np.float32)), "TIFF"),
    "1 bit": saved(Image.fromarray(GREY > 127)),
    "CMYK": saved(Image.fromarray(PICTURES[0]).convert("CMYK"), "JPEG"),
    "animation": saved(Image.new("RGB", (6, 6), "red"), "GIF", save_all=True, append_images=[Image.new("RGB", (6, 6))]),
    "WebP": saved(Image.fromarray(PICTURES[0]), "WEBP"),
}


@pytest.mark.parametrize("decoded", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_a_pillow_image_is_the_same_picture_as_its_file(name: str, decoded: bool) -> None:
    picture = Image.open(io.BytesIO(FILES[name]))
    if decoded:
        picture.load()
    (read,) = cells_of(frame_of([picture, picture]), IMAGE)
    np.testing.assert_array_equal(image(read[0]), image(Blob.of_bytes(FILES[name])))


def test_turns_transparency_and_depth_are_what_a_viewer_shows() -> None:
    shown = {name: image(Blob.of_bytes(data)) for name, data in FILES.items()}
    assert shown["camera turned it (6)"].shape == (18, 12, 3)
    assert shown["transparent"].min() == shown["transparent colour"].min() == 255
    assert shown["palette with a transparent entry"].min() == shown["palette with opacities"].min() == 255
    for name in ("16-bit grey", "16-bit grey, big endian", "32-bit grey", "floats"):
        np.testing.assert_array_equal(shown[name][..., 1], GREY)


def test_a_broken_pillow_image_is_one_broken_cell() -> None:
    good = saved(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)), "JPEG")
    cells = [Image.open(io.BytesIO(good[: len(good) // 2])), Image.fromarray(PICTURES[0])]
    (read,) = cells_of(frame_of(cells), IMAGE)
    with pytest.raises(CellError, match="truncated"):
        image(read[0])
    np.testing.assert_array_equal(image(read[1]), PICTURES[0])


@pytest.mark.parametrize(
    ("shape", "turned"), [((3, 8, 9), True), ((1, 8, 9), True), ((4, 8, 9), True), ((8, 9, 3), False), ((3, 8, 3), False)]
)  # fmt: skip
def test_channels_are_first_only_where_they_are_not_last(shape: tuple[int, ...], turned: bool) -> None:
    pixels = RNG.integers(0, 256, shape, dtype=np.uint8)
    pixels[..., -1] = 255 if shape[-1] == 4 else pixels[..., -1]
    assert image(pixels).shape[:2] == (shape[1:] if turned else shape[:2])


def test_tensors_have_their_channels_first_where_both_ends_could_be() -> None:
    assert image(given(torch.zeros(3, 8, 3, dtype=torch.uint8), "image")).shape == (8, 3, 3)
    assert video(given(torch.zeros(5, 3, 8, 3, dtype=torch.uint8), "video"), 2).shape == (2, 8, 3, 3)
    assert image(given(torch.full((3, 4, 4), 0.5, dtype=torch.bfloat16), "image")).tolist() == [[[128] * 3] * 4] * 4


def test_arrays_that_are_no_pictures_are_left_out_and_told() -> None:
    normalised = [pixels / 127 - 1 for pixels in PICTURES]
    with pytest.warns(PlaitWarning, match=r"column 'cell': an image array of float64 from -1\.0.* expected 0\.\.1"):
        found = schema.infer(frame_of(normalised))
    assert "cell" in found.ignored


# -- one sound -----------------------------------------------------------------------------------------------------------


class Decoder:
    """As torchcodec has them: the samples come when they are asked for, channels first."""

    def __init__(self, samples: np.ndarray) -> None:
        self._samples = samples

    def get_all_samples(self) -> Any:
        return SimpleNamespace(data=torch.tensor(self._samples)[None], sample_rate=16_000)


class Kept(Decoder):
    """As ``datasets`` gives them: the file is kept beside the decoder."""

    def __init__(self, data: bytes) -> None:
        self._hf_encoded = {"bytes": data, "path": None}


SOUNDS: dict[str, Way] = {
    "path": lambda i: f"{i}.wav",
    "bytes": lambda i: wav(TONES[i]),
    "Hugging Face bytes": lambda i: {"bytes": wav(TONES[i]), "path": "x.wav"},
    "Hugging Face path": lambda i: {"bytes": None, "path": f"{i}.wav"},
    "Hugging Face array": lambda i: {"array": TONES[i], "sampling_rate": 16_000, "path": "x.wav"},
    "Hugging Face list": lambda i: {"array": TONES[i].tolist(), "sampling_rate": 16_000},
    "Hugging Face stereo": lambda i: {"array": np.stack([TONES[i]] * 2), "sampling_rate": 16_000},
    "waveform": lambda i: {"waveform": torch.tensor(TONES[i])[None], "sample_rate": 16_000},
    "samples and rate": lambda i: (TONES[i], 16_000),
    "rate and samples": lambda i: (16_000, TONES[i]),
    "numpy rate": lambda i: (TONES[i], np.int64(16_000)),
    "tensor and rate": lambda i: (torch.tensor(TONES[i])[None], 16_000),
    "stereo and rate": lambda i: (np.stack([TONES[i]] * 2, 1), 16_000),
    "decoder": lambda i: Decoder(TONES[i]),
    "decoder with its file": lambda i: Kept(wav(TONES[i])),
    "mixed": lambda i: [f"{i}.wav", wav(TONES[i]), (TONES[i], 16_000)][i % 3],
}


@pytest.mark.parametrize("way", SOUNDS)
def test_every_way_gives_the_same_sounds(way: str, folder: Path) -> None:
    frame = frame_of([SOUNDS[way](i) for i in range(N)])
    found = schema.infer(frame)
    assert [m.kind for m in found.modalities if "cell" in m.columns] == ["audio"]
    (read,) = cells_of(frame, AUDIO)
    for cell, tone in zip(read, TONES, strict=True):
        np.testing.assert_allclose(audio(cell, 16_000, 1.0), tone, atol=1e-6)
    again = frame_of([SOUNDS[way](i) for i in range(N)])
    assert column_keys(frame["cell"]).tolist() == column_keys(again["cell"]).tolist()


@pytest.mark.parametrize("rate", [0, -1, 2_000_000, float("nan"), "fast", None])
def test_absurd_rates_are_refused_for_one_cell(rate: Any) -> None:
    (read,) = cells_of(frame_of([(TONES[0], 16_000), {"array": TONES[1], "sampling_rate": rate}]), AUDIO)
    assert audio(read[0], 16_000, 1.0).size == 800
    if rate is not None:  # without a rate: 16 kHz
        with pytest.raises(CellError, match=r"rate|expected audio"):
            audio(read[1], 16_000, 1.0)


# -- films ---------------------------------------------------------------------------------------------------------------


def film(frames: list[np.ndarray], times: list[int] | None = None, kind: str = "matroska", matrix: Any = None) -> bytes:
    """Frames shown from their times on (milliseconds); a display matrix is written into an mp4."""
    av = pytest.importorskip("av")
    from fractions import Fraction

    stream = io.BytesIO()
    with av.open(stream, "w", format="mp4" if matrix is not None else kind) as container:
        track = container.add_stream("mpeg4", rate=10)
        track.height, track.width, track.pix_fmt = *frames[0].shape[:2], "yuv420p"
        track.time_base = track.codec_context.time_base = Fraction(1, 1000)
        for place, pixels in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            picture.pts, picture.time_base = (times[place] if times else 100 * place), Fraction(1, 1000)
            container.mux(track.encode(picture))
        container.mux(track.encode())
    data = bytearray(stream.getvalue())
    if matrix is not None:
        a, b, c, d = (round(v * 65536) for v in matrix)
        place = data.find(b"tkhd") + 4 + 40
        data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    return bytes(data)


CORNERS = np.zeros((32, 64, 3), np.uint8)
CORNERS[:16, :32] = 240  # one corner is bright, one is half bright
CORNERS[16:, :32] = 120
TURNS: dict[str, tuple[tuple[int, int, int, int], Callable[[np.ndarray], np.ndarray]]] = {
    "not": ((1, 0, 0, 1), lambda p: p),
    "clockwise": ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
    "counterclockwise": ((0, -1, 1, 0), lambda p: np.rot90(p)),
    "upside down": ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
    "mirrored": ((-1, 0, 0, 1), np.fliplr),
    "mirrored upside down": ((1, 0, 0, -1), np.flipud),
}


@pytest.mark.parametrize("at_most", [None, 32])
@pytest.mark.parametrize("turn", TURNS)
def test_films_are_turned_as_players_do(turn: str, at_most: int | None) -> None:
    matrix, turned = TURNS[turn]
    found = video(Blob.of_bytes(film([CORNERS] * 5, matrix=matrix)), 2, at_most)
    expected = turned(CORNERS[:: 2 if at_most else 1, :: 2 if at_most else 1])
    assert found.shape[1:] == expected.shape
    assert np.abs(found[0].astype(int) - expected).mean() < 12


def flat(level: int) -> np.ndarray:
    return np.full((32, 32, 3), level, np.uint8)


@pytest.mark.parametrize(
    ("times", "count", "expected"),
    [
        ([0, 50, 100, 9000], 4, [120, 120, 120, 120]),
        ([0, 1000, 1100, 1200], 3, [20, 20, 70]),
        ([0, 8000, 8100, 8200], 2, [20, 20]),
        ([0, 100, 200, 300], 4, [20, 70, 120, 180]),
        ([0, 4000, 8000, 12000], 4, [20, 70, 70, 120]),  # 12.1 s: the last one is shown for a tenth
    ],
)
def test_frames_are_chosen_by_time(times: list[int], count: int, expected: list[int]) -> None:
    found = video(Blob.of_bytes(film([flat(v) for v in (20, 70, 120, 180)], times)), count)
    shown = found.mean((1, 2, 3))
    assert np.abs(shown - expected).max() < 25, shown


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animations_are_read_by_time_as_well(kind: str) -> None:
    first, *rest = (Image.fromarray(flat(v)) for v in (20, 70, 120, 180))
    data = saved(first, kind, save_all=True, append_images=rest, duration=[40, 40, 2000, 40], lossless=True)
    shown = video(Blob.of_bytes(data), 3).mean((1, 2, 3))
    assert np.abs(shown - 120).max() < 5


def test_films_of_every_form_are_taken_for_films() -> None:
    data = [film([flat(v), flat(255 - v)]) for v in (10, 60, 90, 120)]
    frames = [RNG.integers(0, 256, (4, 8, 9, 3), dtype=np.uint8) for _ in range(4)]
    for cells in (
        data,
        [{"bytes": d, "path": "a.mkv"} for d in data],
        frames,
        [torch.tensor(f).permute(0, 3, 1, 2) for f in frames],
    ):
        found = schema.infer(frame_of(cells))
        assert [m.kind for m in found.modalities if "cell" in m.columns] == ["video"]
    np.testing.assert_array_equal(video(frames[0].transpose(0, 3, 1, 2), 4), frames[0])


# -- the image encoder of films ------------------------------------------------------------------------------------------


def test_the_image_encoder_of_films_may_have_options() -> None:
    plain, told = VideoFrames(image_encoder="pixel_statistics"), VideoFrames(image_encoder={"name": "pixel_statistics"})
    assert plain.fingerprint() == told.fingerprint()
    revised = VideoFrames(image_encoder={"name": "clip_image", "revision": "0" * 40})
    assert revised.options()["image_encoder"] == {"name": "clip_image", "revision": "0" * 40}


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"name": "pixel_statistics", "size": 1}, "unknown field 'size'"),
        ({"size": 1}, "expected {name"),
        ("cnn", "is no frozen image encoder"),
        ("minilm", "is no frozen image encoder"),
        (3, "image_encoder must be text or a mapping, found 3"),
        ("nowhere/folder", "no model.json there"),
    ],
)
def test_image_encoders_of_films_that_are_refused(told: Any, words: str) -> None:
    with pytest.raises((ConfigError, ValueError), match=words):
        VideoFrames(image_encoder=told)


def test_a_model_of_films_carries_the_image_encoder_of_a_folder(tmp_path: Path) -> None:
    from plait.workflow.pretrain import pretrain

    pictures = pd.DataFrame({"image": column(PICTURES), "label": ["a", "b"] * (N // 2)})
    settings = {
        "store": "none",
        "progress": False,
        "pretrain": {"epochs": 1},
        "encoders": {"image": {"name": "cnn", "size": 16}},
    }
    pretrain(pictures, schema.infer(pictures, target="label"), settings, out=tmp_path / "seen")
    frame = frame_of([np.stack([pixels] * 2) for pixels in PICTURES])
    told = {"name": "video_frames", "frames": 2, "image_encoder": str(tmp_path / "seen")}
    model = FusionClassifier(store="none", members=2, epochs=2, progress=False, encoders={"video": told})
    answers = model.fit(frame, np.arange(N) % 2).predict_proba(frame)
    model.save(tmp_path / "m")
    (tmp_path / "seen").rename(tmp_path / "elsewhere")
    again = load(tmp_path / "m")
    np.testing.assert_allclose(again.predict_proba(frame), answers, atol=1e-6)


def test_models_of_the_version_before_are_still_read() -> None:
    before = "247c9a31ddf21e35d624c0fef9009747"  # what version 1 said of itself
    encoder = VideoFrames(image_encoder="pixel_statistics")
    assert encoder.made(encoder.fingerprint())
    assert encoder.fingerprint() != before
    assert encoder.made(before)
    assert not encoder.made("0" + before[1:])
    assert not VideoFrames(image_encoder="pixel_statistics", frames=3).made(before)


# -- endings -------------------------------------------------------------------------------------------------------------

ENDINGS = {
    "image": "jpg jpeg jpe jfif png apng avif gif webp bmp dib tif tiff jp2 j2k jpx ico icns tga pcx ppm pgm pbm qoi psd xbm",
    "audio": "wav flac ogg oga opus mp3 mp2 aif aiff aifc caf w64 voc m4a m4b aac ac3 amr wma mka weba wv tta spx",
    "video": "mp4 m4v mov qt mkv webm avi mpg mpeg mpe vob m2ts mts m2t wmv asf flv f4v 3gp 3g2 ogv mxf mjpeg h264 y4m rmvb",
}
UNDECODED = "heic heif jxl svg cr2 nef dng dcm exr mid swf"


@pytest.mark.parametrize(("kind", "ending"), [(k, e) for k, words in ENDINGS.items() for e in words.split()])
@pytest.mark.parametrize("spelling", [str.lower, str.upper])
def test_every_ending_that_is_decoded_is_media(kind: str, ending: str, spelling: Callable[[str], str]) -> None:
    pytest.importorskip("av")
    assert kind_of_name(f"in/a.{spelling(ending)}") == (kind, True)


@pytest.mark.parametrize("kind", ENDINGS)
def test_columns_of_every_ending(kind: str) -> None:
    pytest.importorskip("av")
    cells = [f"f/{i}.{ending}" for i, ending in enumerate(ENDINGS[kind].split())]
    found = schema.infer(frame_of(cells))
    assert [m.kind for m in found.modalities if "cell" in m.columns] == [kind]


@pytest.mark.parametrize("ending", UNDECODED.split())
def test_media_that_nothing_here_decodes_are_told(ending: str) -> None:
    if ending in readable()["image"]:
        pytest.skip("a package that decodes it is installed")
    with pytest.warns(
        PlaitWarning, match=rf"column 'cell': names of \w+ files, as f/0\.{ending}, of a format that nothing"
    ):
        found = schema.infer(frame_of([f"f/{i}.{ending}" for i in range(N)]))
    assert "nothing installed here decodes" in found.ignored["cell"]
    assert "CHECK" in schema.to_yaml(found)


@pytest.mark.parametrize("name", ["a.txt", "jpg", ".jpg", "a.", "one\ntwo.jpg", "x" * 1001 + ".jpg", "a.jpg.txt"])
def test_names_that_are_no_media(name: str) -> None:
    assert kind_of_name(name) is None


@pytest.mark.parametrize("ending", ["au", "ts"])
def test_endings_of_other_names_are_believed_only_where_the_files_are(ending: str, folder: Path) -> None:
    frame = frame_of([f"name{i}.{ending}" for i in range(N)])
    assert [m.kind for m in schema.infer(frame).modalities if "cell" in m.columns] == []
    (folder / f"name3.{ending}").write_bytes(wav(TONES[0]))
    expected = known()[ending]
    assert [m.kind for m in schema.infer(frame).modalities if "cell" in m.columns] == [expected]


PILLOW = ["AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "QOI", "TIFF", "WEBP"]


@pytest.mark.parametrize("kind", PILLOW)
def test_bytes_of_every_picture_are_known(kind: str) -> None:
    assert kind_of_bytes(saved(Image.fromarray(PICTURES[0]), kind)[:400]) == ("image", True)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "RF64", "W64"])
def test_bytes_of_every_sound_are_known(kind: str) -> None:
    stream = io.BytesIO()
    soundfile.write(stream, TONES[0], 16_000, format=kind)
    assert kind_of_bytes(stream.getvalue()[:400]) == ("audio", True)


@pytest.mark.parametrize("kind", ["mp4", "mov", "matroska", "avi", "mpegts", "flv", "mpeg"])
def test_bytes_of_every_film_are_known(kind: str) -> None:
    av = pytest.importorskip("av")
    stream = io.BytesIO()
    codec = {"flv": "flv1", "mpegts": "mpeg2video", "mpeg": "mpeg2video"}.get(kind, "mpeg4")
    with av.open(stream, "w", format=kind) as container:
        track = container.add_stream(codec, rate=25)
        track.width = track.height = 32
        track.pix_fmt = "yuv420p"
        for _ in range(3):
            container.mux(track.encode(av.VideoFrame.from_ndarray(flat(90), format="rgb24")))
        container.mux(track.encode())
    assert kind_of_bytes(stream.getvalue()[:400]) == ("video", True)


@pytest.mark.parametrize(
    ("ending", "codec", "kind"), [("m4a", "aac", "mp4"), ("aac", "aac", "adts"), ("mka", "aac", "matroska")]
)
def test_sounds_of_pyav_are_heard(ending: str, codec: str, kind: str) -> None:
    av = pytest.importorskip("av")
    stream = io.BytesIO()
    tone = (0.5 * np.sin(np.arange(8192) * 0.2)).astype(np.float32)
    with av.open(stream, "w", format=kind) as container:
        track = container.add_stream(codec, rate=16_000, layout="mono")
        for start in range(0, len(tone) - 1023, 1024):
            part = av.AudioFrame.from_ndarray(tone[None, start : start + 1024], format="fltp", layout="mono")
            part.sample_rate, part.pts = 16_000, start
            container.mux(track.encode(part))
        container.mux(track.encode())
    samples = audio(Blob.of_bytes(stream.getvalue()), 16_000, 1.0)
    assert np.abs(samples).max() == pytest.approx(0.5, abs=0.1)
    assert known()[ending] == "audio"


@pytest.mark.parametrize("list_", ["#EXTM3U\n#EXTINF:1,\nsecret.mp4\n", "ffconcat version 1.0\nfile secret.mp4\n"])
def test_a_list_of_films_opens_no_other_file(list_: str, folder: Path) -> None:
    (folder / "secret.mp4").write_bytes(film([flat(9)] * 3, matrix=(1, 0, 0, 1)))
    with pytest.raises(CellError):
        video(Blob.of_bytes(list_.encode()), 1)


@pytest.mark.parametrize(
    "cells",
    [
        [(i, i + 1) for i in range(N)],
        [([i, 1], 3) for i in range(N)],
        [["red", f"blue{i % 3}"] for i in range(N)],
        [{"path": None, "bytes": None} for _ in range(N)],
        [{"k": i} for i in range(N)],
        [f"word {i}.png and more" for i in range(N)],
        [*(f"{i}.png" for i in range(N - 3)), "a", "b", "c"],
        [np.arange(4.0) + i for i in range(N)],
        [np.ones((3, 4)) * i for i in range(N)],
    ],
)
def test_columns_that_only_look_like_media(cells: list[Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PlaitWarning)
        found = schema.infer(frame_of(cells))
    assert not [m for m in found.modalities if m.kind in ENDINGS]


def test_noise_of_every_ending_is_found(tmp_path: Path) -> None:
    from plait.conditions.noise import find_clips

    (tmp_path / "notes.txt").write_text("no sound")
    with pytest.raises(TableError, match="holds no sound"):
        find_clips(tmp_path, "")
    soundfile.write(tmp_path / "noise.W64", TONES[0], 16_000, format="W64")
    clip = find_clips(tmp_path, "").draw(np.random.default_rng(0), 100, 16_000)
    assert np.abs(clip).max() > 0.1


# -- a column of names beside the media ----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["bytes", "Hugging Face bytes", "array", "Pillow image", "path"])
def test_names_that_are_not_there_are_no_second_modality(way: str, folder: Path) -> None:
    frame = frame_of([WAYS[way](i) for i in range(N)]).assign(file_name=[f"original_{i}.jpg" for i in range(N)])
    with pytest.warns(PlaitWarning, match="column 'file_name': names image files that are not there, beside 'cell'"):
        found = schema.infer(frame)
    assert [m.columns for m in found.modalities if m.kind == "image"] == [("cell",)]
    assert "not there" in found.ignored["file_name"]
    assert "CHECK" in schema.to_yaml(found)


def test_names_of_the_very_same_pictures_are_no_second_modality(folder: Path) -> None:
    frame = frame_of([PNGS[i] for i in range(N)]).assign(again=[f"{i}.png" for i in range(N)])
    with pytest.warns(PlaitWarning, match="column 'again': names the very files that 'cell' holds"):
        found = schema.infer(frame)
    assert list(found.ignored) == ["again"]


def test_names_of_other_pictures_are_a_second_modality(folder: Path) -> None:
    frame = frame_of([PNGS[i] for i in range(N)]).assign(back=[f"{(i + 1) % N}.png" for i in range(N)])
    assert [m.columns for m in schema.infer(frame).modalities if m.kind == "image"] == [("cell",), ("back",)]


def test_two_columns_of_names_none_of_which_is_there_stay_and_are_told(folder: Path) -> None:
    frame = frame_of([f"x{i}.png" for i in range(N)]).assign(back=[f"y{i}.png" for i in range(N)])
    with pytest.warns(PlaitWarning, match="none of its first 20 files is there"):
        found = schema.infer(frame, root=str(folder))
    assert [m.columns for m in found.modalities if m.kind == "image"] == [("cell",), ("back",)]


# -- where names may lead ------------------------------------------------------------------------------------------------


def packed(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
        link = zipfile.ZipInfo("link.png")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "/etc/passwd")
    return path


HOSTILE = {
    "https://example.org/a.png": "nothing is fetched from the network",
    "s3://bucket/a.png": "nothing is fetched from the network",
    "../outside.png": "leads out of the root",
    "sub/../../outside.png": "leads out of the root",
    "/etc/hostname": "leads out of the root",
    "/proc/kmsg": "leads out of the root",
    "/nowhere/at/all.png": "leads out of the root",
    "file:///etc/hostname": "leads out of the root",
    "pipe.png": "a pipe, a socket or a device",
    "folder.png": "it is a folder",
    "broken.zip!a.png": "not a readable zip archive",
    "all.zip!../a.png": "must not be absolute or hold",
    "all.zip!/etc/passwd": "must not be absolute or hold",
    "all.zip!link.png": "a symbolic link",
    "../all.zip!0.png": "leads out of the root",
}


@pytest.fixture
def hostile(folder: Path) -> Path:
    """A root with pipes, folders and archives in it, and a picture outside."""
    root = folder / "root"
    root.mkdir()
    for i in range(N):
        (root / f"{i}.png").write_bytes(PNGS[i])
    (folder / "outside.png").write_bytes(PNGS[0])
    (root / "folder.png").mkdir()
    (root / "broken.zip").write_bytes(b"PK\x03\x04 junk")
    os.mkfifo(root / "pipe.png")
    packed(root / "all.zip", {"0.png": PNGS[0]})
    packed(folder / "all.zip", {"0.png": PNGS[0]})
    return root


@pytest.mark.parametrize("name", HOSTILE)
def test_one_hostile_name_is_one_broken_cell(name: str, hostile: Path) -> None:
    names = [f"{i}.png" for i in range(N)]
    names[7] = name
    (read,) = cells_of(frame_of(names), IMAGE, str(hostile))
    assert [i for i, cell in enumerate(read) if cell.problem] == [7]
    with pytest.raises(CellError, match=f"column 'cell': .*{HOSTILE[name]}"):
        image(read[7])
    assert schema.absent(schema.Schema((IMAGE,)), frame_of(names), str(hostile))[:, 0].sum() == 1


def test_hostile_cells_are_counted_or_with_strict_an_error(hostile: Path) -> None:
    names = [f"{i}.png" for i in range(N)]
    names[7] = "https://example.org/a.png"
    settings: dict[str, Any] = {"store": "none", "members": 2, "epochs": 2, "progress": False, "root": str(hostile)}
    settings["encoders"] = {"image": "pixel_statistics"}
    model = FusionClassifier(**settings).fit(frame_of([f"{i}.png" for i in range(N)]), np.arange(N) % 2)
    with pytest.warns(PlaitWarning, match=r"1 of 24 cells of 'image' .* absent, e\.g\. row 7: column 'cell': https://"):
        assert len(model.predict(frame_of(names))) == N
    model.set_params(strict=True)
    with pytest.raises(CellError, match="row 7 of 'image': column 'cell': https://.*nothing is fetched"):
        model.predict(frame_of(names))
    with pytest.raises(CellError, match=r"row 0 of 'image': column 'cell': 'gone\.png': there is no such file"):
        model.predict(frame_of(["gone.png", *names[1:]]))


def test_nothing_but_hostile_names_is_an_error(hostile: Path) -> None:
    with pytest.raises(
        TableError, match="none of the 5 cells of column 'cell' can be used as image, e.g. .*nothing is fetched"
    ):
        cells_of(frame_of([f"https://example.org/{i}.png" for i in range(5)]), IMAGE, str(hostile))


@pytest.mark.parametrize("root", ["/", None])
def test_absolute_names_lead_anywhere_when_told_so(root: str | None, hostile: Path) -> None:
    names = [str(hostile.parent / "outside.png"), str(hostile / "1.png")]
    (read,) = cells_of(frame_of(names), IMAGE, root)
    assert [cell.digest() for cell in read] == [Blob.of_bytes(PNGS[i]).digest() for i in (0, 1)]


def test_links_in_the_root_are_followed(hostile: Path) -> None:
    (hostile / "linked").symlink_to(hostile.parent)
    names = ["linked/outside.png", str(hostile / "1.png")]
    (read,) = cells_of(frame_of(names), IMAGE, str(hostile))
    assert not any(cell.problem for cell in read)
    (hostile.parent / "way").symlink_to(hostile)
    (read,) = cells_of(frame_of([str(hostile / "1.png")] * 2), IMAGE, str(hostile.parent / "way"))
    assert not any(cell.problem for cell in read)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="files of the kernel are Linux's")
def test_files_of_the_running_system_are_refused_whatever_the_root() -> None:
    for cell in (Blob.of_file("/proc/self/status"), Blob.of_file("/dev/zero"), Blob.of_file("/proc/kmsg")):
        with pytest.raises(CellError, match="of the running system|a pipe, a socket or a device"):
            cell.digest()
    with pytest.raises(TableError, match="of the running system"):
        cells_of(frame_of(["/proc/self/status", "/proc/kmsg"]), IMAGE, "/")


def test_cells_that_can_be_no_media_are_broken_alone() -> None:
    cells = [PNGS[0], 3, object, {"a": 1}, [object], np.array([True]), np.zeros(3), PNGS[1]]
    (read,) = cells_of(frame_of(cells), IMAGE)
    for cell in read[1:-1]:
        with pytest.raises(CellError, match="expected"):
            image(cell)
    np.testing.assert_array_equal(image(read[-1]), PICTURES[1])


@pytest.mark.parametrize("name", ["\0.png", "x" * 5000 + ".png", "~nobody/x.png", "gone.png"])
def test_names_that_nothing_has_are_absent_and_counted(name: str, folder: Path) -> None:
    with pytest.warns(PlaitWarning, match=r"column 'cell': 1 of 2 files are not there") as caught:
        (read,) = cells_of(frame_of(["0.png", name]), IMAGE, str(folder))
    assert read[1] is None
    assert len(str(caught[0].message)) < 400


# -- archives ------------------------------------------------------------------------------------------------------------


def test_members_that_lie_about_their_size_are_broken(folder: Path) -> None:
    path = packed(folder / "all.zip", {"big.png": b"\0" * 4_000_000, "0.png": PNGS[0]})
    data = bytearray(path.read_bytes())
    for place in (data.find(b"PK\x01\x02") + 24, data.find(b"PK\x03\x04") + 22):  # says that it unpacks to 100 bytes
        data[place : place + 4] = struct.pack("<I", 100)
    path.write_bytes(bytes(data))
    (read,) = cells_of(frame_of(["all.zip!big.png", "all.zip!0.png"]), IMAGE)
    with pytest.raises(CellError, match="CRC|cannot be read"):
        image(read[0])
    np.testing.assert_array_equal(image(read[1]), PICTURES[0])


def test_members_that_unpack_to_too_much_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed(folder / "all.zip", {"big.png": b"\0" * 5000, "0.png": PNGS[0]})
    monkeypatch.setenv("PLAIT_MAX_MEMBER_BYTES", "4000")
    (read,) = cells_of(frame_of(["all.zip!big.png", "all.zip!0.png"]), IMAGE)
    with pytest.raises(CellError, match="5,000 bytes unpacked; at most 4,000 .* set PLAIT_MAX_MEMBER_BYTES higher"):
        image(read[0])
    assert not read[1].problem


@pytest.mark.parametrize("junk", [b"", b"PK", b"PK\x05\x06" + b"\xff" * 18, b"PK\x05\x06" + b"\0" * 18])
def test_archives_that_are_none_are_one_broken_cell(junk: bytes, folder: Path) -> None:
    (folder / "a.zip").write_bytes(junk)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PlaitWarning)  # an empty archive is one, and the member is not there
        (read,) = cells_of(frame_of(["a.zip!x.png", "0.png"]), IMAGE)
    assert read[0] is None or read[0].problem
    assert not read[1].problem


@pytest.mark.parametrize(("on_disk", "in_table"), [("NFD", "NFC"), ("NFC", "NFD"), ("NFC", "NFC")])
@pytest.mark.parametrize("name", ["Müller.png", "Äpfel/Ödön.png", "한글/사진.png"])
def test_accents_are_found_however_they_are_spelt(name: str, on_disk: Any, in_table: Any, folder: Path) -> None:
    stored, written = unicodedata.normalize(on_disk, name), unicodedata.normalize(in_table, name)
    (folder / stored).parent.mkdir(exist_ok=True)
    (folder / stored).write_bytes(PNGS[2])
    with zipfile.ZipFile(folder / "all.zip", "w") as file:
        file.writestr(f"top/{stored}", PNGS[2])
        file.writestr("top/0.png", PNGS[0])
    names = [written, str(folder / written), f"all.zip!{written}", f"all.zip!top/{written}"]
    for root in (None, str(folder)):
        (read,) = cells_of(frame_of(names), IMAGE, root)
        assert {cell.digest() for cell in read} == {Blob.of_bytes(PNGS[2]).digest()}


def test_names_in_archives_whose_packer_did_not_say_that_they_are_utf8(folder: Path) -> None:
    name = unicodedata.normalize("NFD", "Müller.png")
    marked = packed(folder / "mac.zip", {name: PNGS[1], "0.png": PNGS[0]}).read_bytes()
    with zipfile.ZipFile(folder / "mac.zip") as file:
        info = file.infolist()[0]
    data = bytearray(marked)
    for place in (info.header_offset + 6, data.find(b"PK\x01\x02") + 8):
        data[place : place + 2] = struct.pack("<H", 0)
    (folder / "mac.zip").write_bytes(bytes(data))
    (read,) = cells_of(frame_of(["mac.zip!Müller.png", "mac.zip!0.png"]), IMAGE)
    assert read[0].digest() == Blob.of_bytes(PNGS[1]).digest()


# -- vectors -------------------------------------------------------------------------------------------------------------


def test_one_broken_vector_file_is_absent_and_counted_or_with_strict_an_error(folder: Path) -> None:
    np.save("a.npy", np.arange(3.0))
    Path("b.npy").write_bytes(b"\x93NUMPY junk")
    frame = frame_of(["a.npy", "b.npy", "gone.npy", "../../x.npy", [1.0, 2.0, 3.0], torch.ones(3)])
    vector = Modality("vector", "vector", ("cell",))
    with pytest.warns(PlaitWarning, match=r"column 'cell': 3 vectors cannot be read.* row 1: .*not a readable \.npy"):
        (read,) = cells_of(frame, vector, str(folder))
    assert [cell is None for cell in read] == [False, True, True, True, False, False]
    with pytest.raises(CellError, match=r"column 'cell', row 1: .*not a readable \.npy"):
        cells_of(frame, vector, str(folder), strict=True)


# -- limits on tables ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv.gz", b"a,b\n1," + b"x" * 70_000),
        ("a.jsonl.gz", b'{"a": "' + b"x" * 70_000),
        ("a.csv", b"a,b\n1," + b"x" * 70_000),
        ("a.tsv.gz", b"a\tb\n1\t2\n3\t" + b"x" * 70_000),
    ],
)
def test_lines_without_end_are_refused(
    name: str, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLAIT_MAX_LINE_BYTES", "60000")
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(TableError, match=r"line \d: the line does not end; at most 60,000 .* set PLAIT_MAX_LINE_BYTES"):
        table.read_table(tmp_path / name)
    monkeypatch.delenv("PLAIT_MAX_LINE_BYTES")
    if "csv" in name:
        assert table.read_table(tmp_path / name).shape == (1, 2)


def test_packed_tables_that_unpack_to_too_much_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 50_000))
    monkeypatch.setenv("PLAIT_MAX_UNPACKED_BYTES", "100000")
    with pytest.raises(TableError, match="unpacks to more than it may; at most 100,000 .* PLAIT_MAX_UNPACKED_BYTES"):
        table.read_table(tmp_path / "a.csv.gz")


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_tables_of_too_many_rows_are_refused_unless_read_in_pieces(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table(pd.DataFrame({"a": range(3000)}), tmp_path / name)
    monkeypatch.setenv("PLAIT_MAX_ROWS", "2999")
    with pytest.raises(TableError, match="3,000 rows or more; at most 2,999 .* set PLAIT_MAX_ROWS higher"):
        table.read_table(tmp_path / name)
    assert sum(map(len, table.read_chunks(tmp_path / name, 1000))) == 3000


@pytest.mark.parametrize("told", ["many", "0", "-1", "1.5"])
def test_limits_are_whole_numbers(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = Limit("PLAIT_MAX_APPLES", 3, "apples")
    assert limit.value == 3
    monkeypatch.setenv("PLAIT_MAX_APPLES", "5")
    assert limit.value == 5
    monkeypatch.setenv("PLAIT_MAX_APPLES", told)
    with pytest.raises(ConfigError, match="PLAIT_MAX_APPLES: expected a whole number"):
        _ = limit.value


# Several in one cell ---------------------------------------------------------------------------------------------------


def pictures_in(folder: Path, count: int = 12) -> list[str]:
    """Names of dark and bright pictures, in turns."""
    for i in range(count):
        level = 40 + 150 * (i % 2)
        pixels = (level + RNG.integers(0, 30, (8, 8, 3))).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return [f"{i}.png" for i in range(count)]


def statistics(frame: pd.DataFrame, root: Path | None, **modality: Any) -> Tokens:
    spec = Modality("image", "image", ("cell",), encoder="pixel_statistics", **modality)
    features = Featurizer(schema.Schema((spec,)))
    return features.transform(frame, str(root), None, strict=False, progress=False).tokens["image"]


def test_a_list_of_pictures_is_a_token_each(tmp_path: Path) -> None:
    names = pictures_in(tmp_path, 4)
    single = statistics(frame_of(names), tmp_path).x[:, 0]
    cells = [names[:3], f'["{names[3]}", "{names[1]}"]', names[2], None, np.array(names[:1], dtype=object)]
    several = statistics(frame_of(cells), tmp_path)
    assert several.mask.tolist() == [[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 0, 0]]
    torch.testing.assert_close(several.x[0], single[:3])
    torch.testing.assert_close(several.x[1, :2], single[[3, 1]])
    torch.testing.assert_close(several.x[4, 0], single[0])
    in_bytes = [[(tmp_path / name).read_bytes() for name in names[:2]], names[2]]
    torch.testing.assert_close(statistics(frame_of(in_bytes), tmp_path).x[0], single[:2])


def test_lists_with_nothing_in_them_or_files_that_are_not_there(tmp_path: Path) -> None:
    names = pictures_in(tmp_path, 4)
    with pytest.warns(PlaitWarning, match="'cell': 2 cells are empty lists and count as absent"):
        tokens = statistics(frame_of([[], names[:2], "[]", names[3]]), tmp_path)
    assert tokens.present.tolist() == [False, True, False, True]
    with pytest.warns(PlaitWarning, match=r"'cell': 1 of 4 files are not there and count as absent \(e.g. 'gone.png'"):
        tokens = statistics(frame_of([["gone.png", names[1]], names[:2]]), tmp_path)
    assert tokens.mask.tolist() == [[False, True], [True, True]]
    with pytest.warns(PlaitWarning, match=r"1 cells list more than 16 \(at most 20\): the first 16 of them are used"):
        assert statistics(frame_of([names * 5, names[:1]]), tmp_path).mask.sum(1).tolist() == [16, 1]
    absent = schema.absent(schema.Schema((IMAGE,)), frame_of([[], ["gone.png"], ["gone.png", names[0]]]), str(tmp_path))
    assert absent[:, 0].tolist() == [True, True, False]


def test_empty_lists_of_pictures_do_not_speak_against_a_column_of_pictures(tmp_path: Path) -> None:
    names = pictures_in(tmp_path, 4)
    for empty in ([], "[]"):
        frame = frame_of([empty if i % 2 else [names[i // 2 % 4], names[i // 8 % 4]] for i in range(40)])[["cell"]]
        found = schema.infer(frame, root=str(tmp_path))
        assert [(m.kind, m.columns) for m in found.modalities] == [("image", ("cell",))]
    words = frame_of([[] if i % 2 else [f"word{i % 5}"] for i in range(40)])[["cell"]]
    assert [m.kind for m in schema.infer(words).modalities] == ["tabular"]


def test_lists_of_pictures_are_inferred_fitted_saved_and_changed(tmp_path: Path) -> None:
    names = pictures_in(tmp_path)
    dark, bright = names[::2], names[1::2]
    rng = np.random.default_rng(0)
    cells = [list(rng.choice((dark, bright)[i % 2], 1 + i % 3, replace=False)) for i in range(60)]
    frame = frame_of([cell if i % 4 else json.dumps(cell) for i, cell in enumerate(cells)])
    frame = frame.assign(label=np.array(["dark", "bright"])[np.arange(60) % 2])
    inferred = schema.infer(frame, "label", root=str(tmp_path))
    assert {m.name: m.kind for m in inferred.modalities} == {"image": "image", "tabular": "tabular"}
    settings: dict[str, Any] = {"encoders": {"image": "pixel_statistics"}, "store": "none", "progress": False}
    settings |= {"members": 2, "epochs": 15, "width": 8, "root": str(tmp_path), "branches": ("joint",)}
    model = FusionClassifier(**settings).fit(frame.iloc[:40], frame["label"].iloc[:40])
    held = frame.iloc[40:]
    assert (model.predict(held) == held["label"]).mean() > 0.9
    model.save(tmp_path / "model")
    again = load(tmp_path / "model").set_params(root=str(tmp_path), store="none")
    np.testing.assert_allclose(again.predict_proba(held), model.predict_proba(held), atol=1e-6)
    noisy = find("conditions", "white_noise")(snr_db=-10).apply(held, model.schema_, str(tmp_path))
    assert [len(cell) if isinstance(cell, list) else 1 for cell in noisy["cell"]] == [1 + i % 3 for i in range(40, 60)]
    assert not np.allclose(model.predict_proba(noisy), model.predict_proba(held))
