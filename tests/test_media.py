"""Blobs, images, sounds and videos: known answers, odd formats, broken files."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
import zlib
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from plait.base.errors import CellError
from plait.data.media import Blob
from plait.data.media.given import Changed
from plait.data.media.images import MAX_PIXELS, image, video
from plait.data.media.sounds import audio, seconds

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (24, 40, 3), dtype=np.uint8)


def saved(picture: Image.Image, kind: str = "PNG", **options: object) -> Blob:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return Blob.of_bytes(stream.getvalue())


def png_header(width: int, height: int) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        checked = name + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")


def wav(samples: np.ndarray, rate: int, kind: str = "WAV", subtype: str | None = None) -> Blob:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=kind, subtype=subtype)
    return Blob.of_bytes(stream.getvalue())


def tone(rate: int, length: float = 0.5, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * length)) / rate)).astype(np.float32)


# Blobs


def test_content_is_the_same_wherever_it_lies(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"content")
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("deep/a.bin", b"content")
    blobs = [
        Blob.of_bytes(b"content"),
        Blob.of_file(tmp_path / "a.bin"),
        Blob.of_member(tmp_path / "a.zip", "deep/a.bin"),
    ]
    assert {blob.digest() for blob in blobs} == {blake2b(b"content", digest_size=16).digest()}
    assert {blob.size for blob in blobs} == {7}
    assert [blob.open().read() for blob in blobs] == [b"content"] * 3
    assert blobs[2].where == f"deep/a.bin in {tmp_path / 'a.zip'}"


def test_an_archive_that_changes_is_read_again(tmp_path: Path) -> None:
    for content in (b"one", b"other"):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr("x", content)
        assert Blob.of_member(tmp_path / "a.zip", "x").open().read() == content


@pytest.mark.parametrize("member", ["../x", "a/../../x", "/etc/passwd", "C:\\x", "..\\x", ""])
def test_a_member_outside_its_archive_is_refused(tmp_path: Path, member: str) -> None:
    with pytest.raises(CellError, match="points out of the archive"):
        Blob.of_member(tmp_path / "a.zip", member)


def test_missing_and_broken_files_say_where(tmp_path: Path) -> None:
    (tmp_path / "no.zip").write_bytes(b"PK nothing")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", b"content " * 99)
    content = (tmp_path / "a.zip").read_bytes().replace(b"content content", b"CONTENT content", 1)
    (tmp_path / "bad.zip").write_bytes(content)
    for blob in (
        Blob.of_file(tmp_path / "none"),
        Blob.of_file(tmp_path),
        Blob.of_member(tmp_path / "none.zip", "x"),
        Blob.of_member(tmp_path / "no.zip", "x"),
        Blob.of_member(tmp_path / "a.zip", "y"),
        Blob.of_member(tmp_path / "bad.zip", "x"),
    ):
        with pytest.raises(CellError, match=blob.where.replace("\\", "\\\\")):
            blob.digest()


# Images


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "LA", "RGBA", "CMYK", "YCbCr"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    kind = {"CMYK": "JPEG", "YCbCr": "JPEG"}.get(mode, "PNG")
    found = image(saved(Image.fromarray(COLOURS).convert(mode), kind))
    assert (found.shape, found.dtype) == ((24, 40, 3), np.uint8)
    if mode == "RGB":
        assert np.array_equal(found, COLOURS)
    if mode == "L":
        assert np.array_equal(found[..., 0], np.asarray(Image.fromarray(COLOURS).convert("L")))


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    grey = np.linspace(0, 65535, 24 * 40).reshape(24, 40).astype(np.uint16)
    expected = np.round(grey / 257).astype(np.uint8)
    assert np.array_equal(image(saved(Image.fromarray(grey)))[..., 0], expected)
    assert np.array_equal(image(grey)[..., 2], expected)


def test_what_is_transparent_becomes_white() -> None:
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0, 3] = 255
    for found in (image(saved(Image.fromarray(pixels))), image(pixels)):
        assert found[0, 0].tolist() == [0, 0, 0]
        assert found[1, 1].tolist() == [255, 255, 255]


def test_the_cameras_rotation_is_carried_out() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert image(saved(Image.fromarray(COLOURS), "JPEG", exif=exif)).shape == (40, 24, 3)


def test_arrays_of_every_range_are_the_same_picture() -> None:
    floats = (COLOURS / 255).astype(np.float32)
    for cell in (COLOURS, floats, floats.astype(np.float64), COLOURS.astype(np.int64), COLOURS.astype(np.uint16) * 257):
        assert np.array_equal(image(cell), COLOURS)
    assert image(np.ones((1, 1), bool)).tolist() == [[[255, 255, 255]]]
    assert image(saved(Image.new("RGB", (1, 1), "red"))).tolist() == [[[255, 0, 0]]]


def test_a_jpeg_may_be_decoded_smaller_but_never_too_small() -> None:
    blob = saved(Image.new("RGB", (1600, 1200), "blue"), "JPEG")
    assert image(blob).shape == (1200, 1600, 3)
    assert image(blob, at_least=250).shape == (300, 400, 3)
    assert image(blob, at_least=400).shape == (600, 800, 3)


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        (Blob.of_bytes(b""), "empty"),
        (Blob.of_bytes(b"no picture"), "cannot identify"),
        (Blob.of_bytes(png_header(50_000, 50_000)), "pixels"),
        (Blob.of_bytes(png_header(9_460, 9_460)), f"{MAX_PIXELS:,}"),
        (np.zeros((2, 8, 8), np.uint8), r"\(2, 8, 8\)"),
        (np.zeros((0, 8, 3), np.uint8), "shape"),
        (np.full((2, 2), np.nan), "nan"),
        (np.full((2, 2), 200.0), r"expected 0\.\.1"),
        (np.full((2, 2), -1), "expected 0..255"),
        (np.array([["a"]]), "type"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_broken_images_are_refused(cell: Blob | np.ndarray, told: str) -> None:
    tracemalloc.start()
    with pytest.raises(CellError, match=told):
        image(cell)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF"])
def test_truncated_images_are_refused(kind: str) -> None:
    whole = saved(Image.fromarray(RNG.integers(0, 256, (99, 99, 3), dtype=np.uint8)), kind)
    assert whole.data is not None
    with pytest.raises(CellError):
        image(Blob.of_bytes(whole.data[: len(whole.data) // 2]))


# Sounds


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_rate_and_channel_gives_the_same_tone(rate: int, channels: int) -> None:
    samples = np.repeat(tone(rate)[:, None], channels, 1)
    found = audio(wav(samples, rate, subtype="FLOAT"), 16_000, 60)
    assert (found.shape, found.dtype) == ((8_000,), np.float32)
    assert np.abs(found - tone(16_000))[200:-200].max() < 0.01


@pytest.mark.parametrize(("kind", "subtype"), [("WAV", "PCM_16"), ("WAV", "PCM_24"), ("FLAC", None), ("OGG", "VORBIS")])
def test_every_format_gives_the_same_tone(kind: str, subtype: str | None) -> None:
    blob = wav(tone(16_000), 16_000, kind, subtype)
    assert np.corrcoef(audio(blob, 16_000, 60)[:8_000], tone(16_000))[0, 1] > 0.99
    assert seconds(blob) == pytest.approx(0.5, abs=0.01)


def test_arrays_of_every_type_are_the_same_sound() -> None:
    whole = np.array([0.0, 0.5, -0.5, 0.25])
    for array in (
        whole,
        whole.astype(np.float32),
        (whole * 2**15).astype(np.int16),
        (whole * 2**31).astype(np.int32),
        (whole * 128 + 128).astype(np.uint8),
    ):
        assert audio(array, 16_000, 60).tolist() == whole.tolist()
        assert audio((np.stack([array, array], 1), 16_000), 16_000, 60).tolist() == whole.tolist()
    assert len(audio((whole, 8_000), 16_000, 60)) == 8


def test_channels_are_averaged_silence_and_one_sample_are_sounds() -> None:
    assert audio(np.array([[1.0, 0.0], [0.5, 0.5]]), 16_000, 1).tolist() == [0.5, 0.5]
    assert audio(wav(np.zeros(1), 16_000), 16_000, 1).tolist() == [0.0]
    assert not audio(wav(np.zeros(44_100), 44_100), 16_000, 1).any()
    assert len(audio(wav(np.ones(1) * 0.1, 44_100), 16_000, 1)) >= 1


def test_of_three_hours_only_the_beginning_is_read(tmp_path: Path) -> None:
    rate, size = 8_000, 3 * 3600 * 8_000 * 2
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16, b"data", size
    )
    with (tmp_path / "long.wav").open("wb") as stream:
        stream.write(head)
        stream.truncate(len(head) + size)  # a hole: it takes no room on the disk
    blob = Blob.of_file(tmp_path / "long.wav")
    tracemalloc.start()
    assert audio(blob, 16_000, 2.0).shape == (32_000,)
    assert (
        audio((np.lib.stride_tricks.as_strided(np.zeros(1, np.int16), (10**9,), (0,)), 16_000), 16_000, 1).size
        == 16_000
    )
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()
    assert seconds(blob) == 3 * 3600


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        (Blob.of_bytes(b""), "empty"),
        (Blob.of_bytes(b"no sound at all" * 9), "not a readable sound"),
        (wav(np.zeros(0), 16_000), "0 samples"),
        (wav(np.array([0.0, np.nan]), 16_000, subtype="FLOAT"), "nan"),
        (np.array([np.inf]), "inf"),
        (np.array([20_000.0]), "20000"),
        (np.zeros(0), "0 samples"),
        (np.zeros((2, 999)), r"\(2, 999\)"),
        (np.zeros((2, 2, 2)), "shape"),
        (np.zeros(4, np.int64), "int64"),
        ((np.zeros(4), 0), "rate 0"),
    ],
)
def test_broken_sounds_are_refused(cell: Blob | np.ndarray | tuple[np.ndarray, int], told: str) -> None:
    with pytest.raises(CellError, match=told):
        audio(cell, 16_000, 60)


def test_the_length_of_what_is_no_sound_is_zero() -> None:
    assert seconds(Blob.of_bytes(b"no sound")) == seconds(Blob.of_file("/nowhere")) == 0.0


# Videos


def shades(count: int, side: int = 16) -> np.ndarray:
    """Frames that get lighter."""
    return np.repeat(np.linspace(10, 240, count).astype(np.uint8), side * side * 3).reshape(count, side, side, 3)


def test_frames_are_the_middles_of_equal_parts() -> None:
    frames = shades(12)
    assert np.array_equal(video(frames, 3), frames[[2, 6, 10]])
    assert np.array_equal(video(frames[:1], 4), frames[[0] * 4])
    assert video(frames[..., 0], 2).shape == (2, 16, 16, 3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animations_need_no_package(kind: str) -> None:
    first, *rest = (Image.fromarray(frame) for frame in shades(12))
    found = video(saved(first, kind, save_all=True, append_images=rest, duration=40, lossless=True), 3)
    assert np.abs(found[:, 8, 8, 0].astype(int) - shades(12)[[2, 6, 10], 8, 8, 0]).max() <= 2


def film(frames: np.ndarray, rate: int = 10, kind: str = "mp4", codec: str = "mpeg4") -> Blob:
    av = pytest.importorskip("av")
    stream = io.BytesIO()
    with av.open(stream, "w", format=kind) as container:
        track = container.add_stream(codec, rate=rate)
        track.width, track.height, track.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        for frame in frames:
            for packet in track.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                container.mux(packet)
        for packet in track.encode():
            container.mux(packet)
    return Blob.of_bytes(stream.getvalue())


@pytest.mark.parametrize(("count", "frames"), [(30, 3), (300, 15), (300, 3), (3, 5)])
def test_films_give_the_wanted_frames(count: int, frames: int) -> None:
    pictures = shades(count, 32)
    found = video(film(pictures), frames)
    wanted = [int((i + 0.5) * count / frames) for i in range(frames)]
    assert found.shape == (frames, 32, 32, 3)
    assert np.abs(found[:, 16, 16].astype(int) - pictures[wanted, 16, 16]).max() <= max(8, 2 * 230 // count)


def test_films_without_a_told_length_are_counted() -> None:
    found = video(film(shades(30, 32), kind="mpegts", codec="mpeg2video"), 3)
    raw = video(film(shades(30, 32), kind="m4v"), 3)
    for frames in (found, raw):
        assert frames.shape == (3, 32, 32, 3)
        assert (np.diff(frames[:, 16, 16, 0].astype(int)) > 20).all()


def test_films_are_scaled_down_while_they_are_read() -> None:
    assert video(film(shades(3, 64)), 2, at_most=32).shape == (2, 32, 32, 3)


def test_the_sound_of_a_film_is_a_sound() -> None:
    av = pytest.importorskip("av")
    stream = io.BytesIO()
    with av.open(stream, "w", format="mp4") as container:
        track = container.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone(16_000)[None], format="fltp", layout="mono")
        frame.sample_rate = 16_000
        for packet in [*track.encode(frame), *track.encode()]:
            container.mux(packet)
    found = audio(Blob.of_bytes(stream.getvalue()), 16_000, 0.25)
    assert len(found) == 4_000
    assert 0.2 < np.abs(found).max() < 0.8


def test_broken_videos_are_refused() -> None:
    pytest.importorskip("av")
    whole = film(shades(30, 32)).data
    assert whole is not None
    sound = wav(tone(16_000), 16_000)
    for cell in (
        Blob.of_bytes(b""),
        Blob.of_bytes(b"no film"),
        Blob.of_bytes(whole[:400]),
        sound,
        np.zeros((0, 4, 4)),
        np.zeros(9),
    ):
        with pytest.raises(CellError):
            video(cell, 3)
    with pytest.raises(CellError, match="pixels"):
        video(Blob.of_bytes(png_header(50_000, 50_000)), 3)


class _Seen:
    """A change that notes what it was given and brightens by a tenth."""

    def fingerprint(self) -> str:
        return "seen"

    def generator(self, content: bytes) -> np.random.Generator:
        return np.random.default_rng(0)

    def changed(self, signal: np.ndarray, generator: np.random.Generator, rate: int | None) -> np.ndarray:
        self.signal = signal
        return signal + np.float32(0.1)


def test_a_change_sees_pixels_from_nothing_to_one_in_pictures_and_films() -> None:
    shade = np.full((2, 4, 5, 3), 102, np.uint8)  # two fifths of 255
    for cell, read in ((shade[0], image), (shade, lambda cell: video(cell, 2))):
        change = _Seen()
        found = read(Changed(cell, change))
        assert change.signal == pytest.approx(0.4)
        assert change.signal.shape == cell.shape
        assert found.dtype == np.uint8
        assert (np.unique(found) == [128]).all()  # 0.5
