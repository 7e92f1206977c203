"""Encoders from a hub, on tiny random models: the numbers of transformers, no network, no foreign code."""

from __future__ import annotations

import importlib
import json
import pickle
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from plait.base import config, machine, registry
from plait.base.encoder import Encoder
from plait.base.errors import CellError, ConfigError, MissingDependencyError, PlaitWarning
from plait.base.tokens import Tokens
from plait.data.media import Blob
from plait.data.modality import Modality
from plait.encoders import hub_files, hub_kinds, hub_models
from plait.encoders.defaults import PRESETS, encoder_of
from plait.encoders.featurize import make_encoder
from plait.encoders.pixel_arrays import Pixels, pixels_of
from plait.encoders.sentence_transformer import as_arrays, as_features, told_width

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")
hub = pytest.importorskip("huggingface_hub")

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
PATCHES = {"image_size": 32, "patch_size": 8}
COMMIT, OTHER = "a" * 40, "b" * 40
FAST_DTYPE = machine.fast_dtype  # tests replace it
TORN = Blob.of_bytes(b"neither a picture nor a sound")
RNG = np.random.default_rng(0)
TEXTS = ["w1 w2 w3", "a b c d " * 12, "w9", "x y"]
PICTURES = [RNG.integers(0, 256, shape, dtype=np.uint8) for shape in ((40, 60, 3), (63, 30, 3), (50, 50), (32, 32, 3))]
SOUNDS = [RNG.normal(0, 0.1, n).astype(np.float32) for n in (3000, 5000, 3000, 50)]


def write_tokenizer(folder: Path, pad: str | None = "<pad>") -> None:
    words = ["<s>", "<pad>", "</s>", "<unk>", *"abcdefghijklmnopqrstuvwxyz", *(f"w{i}" for i in range(20))]
    made = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    named = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "unk_token": "<unk>"}
    padding = {} if pad is None else {"pad_token": pad}
    told = {"model_max_length": 32, **named, **padding}
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, **told).save_pretrained(folder)


def roberta(folder: Path) -> None:
    told = transformers.RobertaConfig(vocab_size=60, max_position_embeddings=34, **SMALL)
    transformers.RobertaModel(told).save_pretrained(folder)
    write_tokenizer(folder)


def t5(folder: Path) -> None:
    told = transformers.T5Config(vocab_size=60, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    transformers.T5Model(told).save_pretrained(folder)
    write_tokenizer(folder)


def gpt2(folder: Path) -> None:
    ids = {"bos_token_id": 0, "eos_token_id": 2}
    told = transformers.GPT2Config(vocab_size=60, n_embd=16, n_layer=1, n_head=2, n_positions=40, **ids)
    transformers.GPT2Model(told).save_pretrained(folder)
    write_tokenizer(folder, pad=None)


def clip(folder: Path) -> None:
    text = {"vocab_size": 60, "max_position_embeddings": 20, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
    told = transformers.CLIPConfig(text_config={**text, **SMALL}, vision_config={**PATCHES, **SMALL}, projection_dim=12)
    transformers.CLIPModel(told).save_pretrained(folder)
    write_processor(folder, "CLIP", size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    write_tokenizer(folder)


def vit(folder: Path) -> None:
    transformers.ViTModel(transformers.ViTConfig(**PATCHES, **SMALL)).save_pretrained(folder)
    write_processor(folder, "ViT", size=32)  # a bare number, as the first ViTs have it


def dinov2(folder: Path) -> None:
    transformers.Dinov2Model(transformers.Dinov2Config(**PATCHES, **SMALL)).save_pretrained(folder)
    write_processor(folder, "Bit", size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32})


def convnext(folder: Path) -> None:
    told = transformers.ConvNextConfig(hidden_sizes=[8, 8, 8, 16], depths=[1, 1, 1, 1])
    transformers.ConvNextModel(told).save_pretrained(folder)
    write_processor(folder, "ConvNext", size={"shortest_edge": 64}, crop_pct=0.875)


def write_processor(folder: Path, kind: str, **told: Any) -> None:
    told = {"image_processor_type": f"{kind}ImageProcessor", "resample": 3, **told}
    (folder / "preprocessor_config.json").write_text(json.dumps(told))


def wav2vec2(folder: Path) -> None:
    layers = {"conv_dim": (8, 8, 8), "conv_stride": (5, 4, 4), "conv_kernel": (10, 8, 4), "num_feat_extract_layers": 3}
    places = {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    told = transformers.Wav2Vec2Config(vocab_size=20, **layers, **places, **SMALL)
    transformers.Wav2Vec2Model(told).save_pretrained(folder)
    extractor = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16_000, "do_normalize": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(extractor))


def whisper(folder: Path) -> None:
    sides = {f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in (("layers", 1), ("ffn_dim", 16))}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_source_positions": 50, "num_mel_bins": 8}
    ids = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 0}
    told = transformers.WhisperConfig(vocab_size=60, d_model=16, **sides, **heads, **ids)
    transformers.WhisperModel(told).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 8, "chunk_length": 1})
    )


def siglip(folder: Path) -> None:
    text = {"vocab_size": 60, "max_position_embeddings": 20, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
    told = transformers.SiglipConfig(text_config={**text, **SMALL}, vision_config={**PATCHES, **SMALL})
    transformers.SiglipModel(told).save_pretrained(folder)
    write_processor(folder, "Siglip", size={"height": 32, "width": 32})


def clap(folder: Path) -> None:
    text = {"vocab_size": 60, "max_position_embeddings": 34, **SMALL}
    swin = {"num_mel_bins": 16, "spec_size": 64, "depths": [1, 1], "num_attention_heads": [2, 2], "window_size": 4}
    swin |= {"patch_embeds_hidden_size": 8, "hidden_size": 16}
    transformers.ClapModel(
        transformers.ClapConfig(text_config=text, audio_config=swin, projection_dim=12)
    ).save_pretrained(folder)
    told = {"feature_size": 16, "sampling_rate": 48_000, "max_length_s": 2, "truncation": "rand_trunc"}
    transformers.ClapFeatureExtractor(**told).save_pretrained(folder)


def sentence_pictures(folder: Path) -> None:
    library, parts = pytest.importorskip("sentence_transformers"), sentence_parts()
    if not hasattr(library.SentenceTransformer, "modalities"):
        pytest.skip("sentence-transformers takes pictures from 5.4 on")
    inner = folder.parent / "both"
    inner.mkdir()
    clip(inner)
    library.SentenceTransformer(modules=[parts.Transformer(str(inner))], device="cpu").save(str(folder))


def sentence_parts() -> Any:
    """The library's modules, which moved in 6.0."""
    try:
        return importlib.import_module("sentence_transformers.sentence_transformer.modules")
    except ModuleNotFoundError:
        return importlib.import_module("sentence_transformers.models")


def sentence(folder: Path) -> None:
    library, parts = pytest.importorskip("sentence_transformers"), sentence_parts()
    inner = folder.parent / "inner"
    roberta(inner)
    modules = [parts.Transformer(str(inner)), parts.Pooling(16, "mean"), parts.Dense(16, 10), parts.Normalize()]
    library.SentenceTransformer(modules=modules, device="cpu").save(str(folder))


def static(folder: Path) -> None:
    library, parts = pytest.importorskip("sentence_transformers"), sentence_parts()
    inner = folder.parent / "words"
    inner.mkdir()
    write_tokenizer(inner)
    words = tokenizers.Tokenizer.from_file(str(inner / "tokenizer.json"))
    modules = [parts.StaticEmbedding(words, embedding_dim=6)]
    library.SentenceTransformer(modules=modules, device="cpu").save(str(folder))


MODELS: dict[str, Callable[[Path], None]] = {
    f.__name__: f
    for f in (
        *(roberta, t5, gpt2, clip, vit, dinov2, convnext, siglip),
        *(wav2vec2, whisper, clap, sentence, static, sentence_pictures),
    )
}


@dataclass(frozen=True)
class Case:
    name: str
    model: str
    cells: list[Any]
    width: int
    broken: Any
    #: Another value of every option but model and revision.
    other: dict[str, Any]


WORDS = {"max_tokens": 3, "pool": "first"}
CASES = [
    Case("codebert", "roberta", TEXTS, 16, 3.5, {"max_tokens": 3, "pool": "mean"}),
    Case("transformers_text", "roberta", TEXTS, 16, None, WORDS),
    Case("transformers_text", "t5", TEXTS, 16, b"a", WORDS),
    Case("transformers_text", "gpt2", TEXTS, 16, 1, WORDS),
    Case("transformers_text", "clip", TEXTS, 12, 1, WORDS),
    Case("clip_text", "clip", TEXTS, 12, 1, {"max_tokens": 3}),
    Case("clip_image", "clip", PICTURES, 12, TORN, {}),
    Case("transformers_image", "clip", PICTURES, 12, TORN, {"pool": "mean"}),
    Case("transformers_image", "vit", PICTURES, 16, TORN, {"pool": "mean"}),
    Case("transformers_image", "dinov2", PICTURES, 16, TORN, {"pool": "mean"}),
    Case("transformers_image", "convnext", PICTURES, 16, TORN, {"pool": "mean"}),
    Case("transformers_image", "siglip", PICTURES, 16, TORN, {"pool": "mean"}),
    Case("wav2vec2", "wav2vec2", SOUNDS, 16, TORN, {"max_seconds": 0.15}),
    Case("transformers_audio", "wav2vec2", SOUNDS, 16, TORN, {"max_seconds": 0.15}),
    Case("transformers_audio", "whisper", SOUNDS, 16, TORN, {"max_seconds": 0.15}),
    Case("transformers_audio", "clap", SOUNDS, 12, TORN, {"max_seconds": 0.15}),
    Case("sentence_transformer", "sentence_pictures", PICTURES, 12, TORN, {"max_tokens": 3, "prompt": "w5 "}),
    Case("sentence_transformer", "sentence", TEXTS, 10, 1, {"max_tokens": 3, "prompt": "w5 "}),
    Case("sentence_transformer", "static", TEXTS, 6, 1, {"max_tokens": 3, "prompt": "w5 "}),
]
each = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}-{case.model}")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of tiny models, each made once."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            torch.manual_seed(0)
            with hub_models.quiet(transformers):
                place = tmp_path_factory.mktemp(name) / "model"
                MODELS[name](place)
                made[name] = place
        return made[name]

    return folder


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """float32, so that numbers can be compared."""
    monkeypatch.setattr(machine, "fast_dtype", lambda device="cpu": torch.float32)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and a hub that must not be asked."""
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub.HfApi, "model_info", lambda *_, **__: pytest.fail("the network was asked"))
    return tmp_path / "hub"


def put(cache: Path, model: Path, name: str = "owner/tiny", commit: str = COMMIT) -> Path:
    """A model in the cache, as the newest of its name."""
    place = cache / f"models--{name.replace('/', '--')}"
    shutil.copytree(model, place / "snapshots" / commit)
    (place / "refs").mkdir(exist_ok=True)
    (place / "refs" / "main").write_text(commit)
    return place / "snapshots" / commit


def make(name: str, model: Path | str, **options: Any) -> Encoder:
    found: Encoder = config.build(registry.find("encoders", name), {"model": str(model), **options}, "test")
    return found


@torch.no_grad()
def tokens(encoder: Encoder, cells: list[Any], network: nn.Module | None = None) -> Tokens:
    network = encoder.module().eval() if network is None else network
    found: Tokens = network({key: torch.from_numpy(array) for key, array in encoder.prepare(cells).items()})
    return found


def close(found: Tensor, expected: Any) -> None:
    torch.testing.assert_close(found, torch.as_tensor(expected).float(), atol=2e-5, rtol=1e-4)


# The contract ---------------------------------------------------------------------------------------------------------


@each
def test_one_finite_token_per_cell_as_wide_as_told(case: Case, tiny: Callable[[str], Path]) -> None:
    encoder = make(case.name, tiny(case.model))
    found = tokens(encoder, case.cells)
    assert found.x.shape == (len(case.cells), 1, case.width)
    assert encoder.dim == case.width
    assert found.x.dtype == torch.float32
    assert bool(found.mask.all())
    assert bool(torch.isfinite(found.x).all())
    assert found.pooled().std(0).max() > 1e-3, "all cells give the same"


@each
def test_prepare_is_deterministic_and_one_row_per_cell(case: Case, tiny: Callable[[str], Path]) -> None:
    first, second = (make(case.name, tiny(case.model)).prepare(case.cells) for _ in range(2))
    assert first.keys() == second.keys()
    for key in first:
        assert len(first[key]) == len(case.cells)
        np.testing.assert_array_equal(first[key], second[key])


@each
def test_other_cells_of_the_batch_do_not_matter(case: Case, tiny: Callable[[str], Path]) -> None:
    encoder = make(case.name, tiny(case.model))
    network = encoder.module().eval()
    whole = tokens(encoder, case.cells, network).pooled()
    for row, cell in enumerate(case.cells):
        close(tokens(encoder, [cell], network).pooled()[0], whole[row])


@each
def test_broken_cells_are_refused(case: Case, tiny: Callable[[str], Path]) -> None:
    with pytest.raises(CellError):
        make(case.name, tiny(case.model)).prepare([case.cells[0], case.broken])


@each
def test_fingerprint_changes_with_every_option(case: Case, tiny: Callable[[str], Path]) -> None:
    first = make(case.name, tiny(case.model))
    assert set(case.other) | {"model", "revision"} == set(config.fields_of(type(first)))
    prints = {make(case.name, tiny(case.model), **{k: v}).fingerprint() for k, v in case.other.items()}
    assert len(prints | {first.fingerprint()}) == 1 + len(case.other)
    assert make(case.name, tiny(case.model)).fingerprint() == first.fingerprint()


@each
def test_every_option_changes_what_comes_out(case: Case, tiny: Callable[[str], Path]) -> None:
    network = make(case.name, tiny(case.model))
    before = tokens(network, case.cells).x
    for key, value in case.other.items():
        if (key, case.model) in {("pool", "clip"), ("pool", "siglip"), ("pool", "convnext")}:  # they have one way of it
            continue
        if case.model == "sentence_pictures":  # its options are of texts
            continue
        after = tokens(make(case.name, tiny(case.model), **{key: value}), case.cells).x
        assert not torch.allclose(before, after, atol=1e-5), key


@each
def test_frozen_and_random_numbers_left_alone(case: Case, tiny: Callable[[str], Path]) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    network = make(case.name, tiny(case.model)).module()
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(p.requires_grad for p in network.parameters())
    assert not any(m.training for m in network.modules() if m is not network)


@pytest.mark.parametrize("name", sorted({case.name for case in CASES} | {"timm_image"}))
def test_defaults_are_pinned_and_licensed(name: str) -> None:
    encoder = registry.find("encoders", name)()
    assert hub_files.COMMIT.fullmatch(encoder.weights_id()), "known without a file, so that a warm store needs none"
    assert encoder.state() == {}
    facts = encoder.facts()
    assert facts["extra"] == "hub"
    tuned = {"codebert", "transformers_text", "transformers_image", "sentence_transformer"}
    assert facts["train"] == ("frozen, tuned" if name in tuned else "frozen")
    assert "weights" in facts["licence"]


@pytest.mark.parametrize("case", [c for c in CASES if c.cells is TEXTS], ids=lambda case: f"{case.name}-{case.model}")
def test_odd_texts_are_encoded(case: Case, tiny: Callable[[str], Path]) -> None:
    """Half a character, nothing but space, and a very long cell."""
    found = tokens(make(case.name, tiny(case.model)), ["a \ud83d", " ", "a b " * 20_000])
    assert bool(torch.isfinite(found.x).all())
    assert bool(found.present.all())


def test_sounds_that_are_cut_are_told_of(tiny: Callable[[str], Path]) -> None:
    encoder = make("wav2vec2", tiny("wav2vec2"), max_seconds=0.2)
    with pytest.warns(PlaitWarning, match=r"1 of 4 sounds are longer than 0\.2 s: .* \(max_seconds of"):
        assert encoder.lengths(SOUNDS).tolist() == [188, 200, 188, 3]


def test_sounds_that_a_model_cuts_itself_are_told_of(
    tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sounds = [np.zeros(16_000 * seconds, np.float32) for seconds in (1, 4)]
    with pytest.warns(PlaitWarning, match="1 of 2 sounds are longer than 2 s: .*all that the model of the encoder"):
        assert make("transformers_audio", tiny("clap")).lengths(sounds).tolist() == [1000, 2000]
    sentences, model = make("sentence_transformer", tiny("sentence")), torch.nn.Identity()
    vars(model).update(modalities=["text", "audio"], max_seq_length=None)
    monkeypatch.setattr(importlib.import_module("sentence_transformers"), "SentenceTransformer", lambda *_, **__: model)
    with pytest.warns(PlaitWarning, match="1 of 2 sounds are longer than 30 s"):
        assert sentences.lengths([sounds[0], np.zeros(16_000 * 31, np.float32)]).tolist() == [1000, 30_000]


# The same numbers as the libraries give -------------------------------------------------------------------------------


def load(kind: str, folder: Path) -> Any:
    with hub_models.quiet(transformers):
        return getattr(transformers, kind).from_pretrained(folder, local_files_only=True)


@torch.no_grad()
def test_codebert_is_the_state_of_the_first_token(tiny: Callable[[str], Path]) -> None:
    tokenizer, model = load("AutoTokenizer", tiny("roberta")), load("RobertaModel", tiny("roberta")).eval()
    found = tokens(make("codebert", tiny("roberta")), TEXTS).pooled()
    for row, text in enumerate(TEXTS):
        batch = tokenizer(text, truncation=True, max_length=32, return_tensors="pt")
        assert batch["input_ids"][0, 0] == tokenizer.convert_tokens_to_ids("<s>")
        close(found[row], model(**batch).last_hidden_state[0, 0])


@torch.no_grad()
def test_texts_are_the_mean_over_their_tokens(tiny: Callable[[str], Path]) -> None:
    tokenizer, model = load("AutoTokenizer", tiny("roberta")), load("RobertaModel", tiny("roberta")).eval()
    found = tokens(make("transformers_text", tiny("roberta")), TEXTS).pooled()
    for row, text in enumerate(TEXTS):
        batch = tokenizer(text, truncation=True, max_length=32, return_tensors="pt")
        close(found[row], model(**batch).last_hidden_state[0].mean(0))


def test_text_is_cut_where_the_model_has_no_more_positions(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    """Also of a tokenizer that knows no limit: RoBERTa of 34 positions takes 32 tokens."""
    shutil.copytree(tiny("roberta"), tmp_path / "model")
    settings = json.loads((tmp_path / "model/tokenizer_config.json").read_text())
    (tmp_path / "model/tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": 10**30}))
    encoder = make("transformers_text", tmp_path / "model")
    assert encoder.prepare(["a " * 1000])["input_ids"].shape == (1, 32)
    assert bool(tokens(encoder, ["a " * 1000]).present.all())


def features(model: Any, what: str, **inputs: Any) -> Tensor:
    found = getattr(model, f"get_{what}_features")(**inputs)
    tensor: Tensor = found if isinstance(found, Tensor) else found.pooler_output
    return tensor


@torch.no_grad()
@pytest.mark.parametrize("name", ["clip_text", "transformers_text"])
def test_clip_texts_are_projected(name: str, tiny: Callable[[str], Path]) -> None:
    tokenizer, model = load("AutoTokenizer", tiny("clip")), load("CLIPModel", tiny("clip")).eval()
    found = tokens(make(name, tiny("clip")), TEXTS).pooled()
    for row, text in enumerate(TEXTS):
        batch = tokenizer(text, truncation=True, max_length=20, return_tensors="pt")
        close(found[row], features(model, "text", **batch)[0])


@torch.no_grad()
@pytest.mark.parametrize("name", ["clip_image", "transformers_image"])
def test_clip_images_are_projected(name: str, tiny: Callable[[str], Path]) -> None:
    model = load("CLIPModel", tiny("clip")).eval()
    processor = load("AutoImageProcessor", tiny("clip"))
    colour = [p for p in PICTURES if p.ndim == 3]
    found = tokens(make(name, tiny("clip")), colour).pooled()
    for row, picture in enumerate(colour):
        close(found[row], features(model, "image", **processor(images=picture, return_tensors="pt"))[0])


def test_clip_loads_one_side_only(tiny: Callable[[str], Path]) -> None:
    both = sum(p.numel() for p in load("CLIPModel", tiny("clip")).parameters())
    sides = [
        sum(p.numel() for p in make(name, tiny("clip")).module().parameters()) for name in ("clip_text", "clip_image")
    ]
    assert sum(sides) == both - 1  # the logit scale belongs to neither


@torch.no_grad()
@pytest.mark.parametrize("model", ["vit", "dinov2"])
def test_images_are_the_class_token(model: str, tiny: Callable[[str], Path]) -> None:
    network, processor = load("AutoModel", tiny(model)).eval(), load("AutoImageProcessor", tiny(model))
    inputs = processor(images=PICTURES[0], return_tensors="pt")
    states = network(**inputs).last_hidden_state[0]
    close(tokens(make("transformers_image", tiny(model)), PICTURES[:1]).x[0, 0], states[0])
    close(tokens(make("transformers_image", tiny(model), pool="mean"), PICTURES[:1]).x[0, 0], states.mean(0))


@torch.no_grad()
def test_maps_are_averaged(tiny: Callable[[str], Path]) -> None:
    network, processor = load("AutoModel", tiny("convnext")).eval(), load("AutoImageProcessor", tiny("convnext"))
    state = network(**processor(images=PICTURES[0], return_tensors="pt")).last_hidden_state[0]  # (C, H, W)
    close(tokens(make("transformers_image", tiny("convnext")), PICTURES[:1]).x[0, 0], state.mean((1, 2)))


@torch.no_grad()
def test_wav2vec2_is_the_mean_over_time_of_the_sound_alone(tiny: Callable[[str], Path]) -> None:
    model, extractor = load("Wav2Vec2Model", tiny("wav2vec2")).eval(), load("AutoFeatureExtractor", tiny("wav2vec2"))
    found = tokens(make("wav2vec2", tiny("wav2vec2")), SOUNDS).pooled()
    for row in (0, 1, 2):
        batch = extractor(SOUNDS[row], sampling_rate=16_000, return_tensors="pt")
        close(found[row], model(batch["input_values"]).last_hidden_state[0].mean(0))


@torch.no_grad()
def test_whisper_is_the_mean_over_what_is_no_filling(tiny: Callable[[str], Path]) -> None:
    model, extractor = load("WhisperModel", tiny("whisper")).eval(), load("AutoFeatureExtractor", tiny("whisper"))
    found = tokens(make("transformers_audio", tiny("whisper")), SOUNDS[:2]).pooled()
    for row, heard in ((0, 10), (1, 16)):  # 3,000 and 5,000 of 16,000 samples are 9.4 and 15.6 of 50 frames
        batch = extractor(SOUNDS[row], sampling_rate=16_000, return_tensors="pt")
        states = model.get_encoder()(batch["input_features"]).last_hidden_state[0]
        assert states.shape[0] == 50
        close(found[row], states[:heard].mean(0))


@pytest.mark.parametrize("model", ["sentence", "static"])
def test_sentences_are_those_of_the_library(model: str, tiny: Callable[[str], Path]) -> None:
    library = pytest.importorskip("sentence_transformers")
    folder = tiny(model)
    with hub_models.quiet(transformers):
        theirs = library.SentenceTransformer(str(folder), device="cpu")
    close(tokens(make("sentence_transformer", folder), TEXTS).pooled(), theirs.encode(TEXTS))
    prompted = tokens(make("sentence_transformer", folder, prompt="w5 "), TEXTS).pooled()
    close(prompted, theirs.encode([f"w5 {text}" for text in TEXTS]))


def test_bags_of_tokens_pass_as_arrays_and_back() -> None:
    features = {"input_ids": torch.tensor([5, 6, 7, 8]), "offsets": torch.tensor([0, 3, 3])}
    arrays = as_arrays(features, 3)
    assert arrays["input_ids"].tolist() == [[5, 6, 7], [0, 0, 0], [8, 0, 0]]
    back = as_features({key: torch.from_numpy(array) for key, array in arrays.items()})
    assert {key: value.tolist() for key, value in back.items()} == {k: v.tolist() for k, v in features.items()}


@pytest.mark.parametrize(
    ("last", "width"),
    [
        ([("a.Pooling", {"word_embedding_dimension": 4, "pooling_mode_mean_tokens": True})], 4),
        ([("a.Pooling", {"word_embedding_dimension": 4, "pooling_mode_a": True, "pooling_mode_b": True})], 8),
        ([("a.Pooling", {"embedding_dimension": 4, "pooling_mode": ["mean", "max", "cls"]}), ("a.Normalize", {})], 12),
        ([("a.Pooling", {"embedding_dimension": 4}), ("a.Dense", {"out_features": 3})], 3),
        ([("a.StaticEmbedding", {})], None),
    ],
)
def test_width_of_a_sentence_model_by_its_settings(last: list[tuple[str, dict[str, Any]]], width: int | None) -> None:
    assert told_width(last) == width


@each
def test_bf16_gives_the_same_vectors_to_three_nines(
    case: Case, tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = make(case.name, tiny(case.model))
    network = encoder.module().eval()
    full = tokens(encoder, case.cells, network).pooled()
    monkeypatch.setattr(machine, "fast_dtype", lambda device="cpu": torch.bfloat16)
    fast = tokens(encoder, case.cells, network).pooled()
    assert fast.dtype == torch.float32
    assert nn.functional.cosine_similarity(full, fast).min() > 0.999
    if case.model != "static":  # it multiplies nothing
        assert not torch.equal(full, fast), "bf16 was not used"


def test_fast_dtype_is_what_the_processor_has() -> None:
    assert FAST_DTYPE("cpu") == (torch.bfloat16 if machine.cpu_has_bf16() else torch.float32)
    assert FAST_DTYPE("meta") == torch.float32


def test_features_of_both_transformers() -> None:
    """A tensor in 4, an output object in 5."""
    x = torch.ones(2, 3)
    for answer in (x, SimpleNamespace(pooler_output=x.double())):
        network = SimpleNamespace(get_text_features=lambda answer=answer, **given: answer)
        assert torch.equal(hub_kinds.projected(network, {"input_ids": x}, "text"), x)


# Pictures -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["clip", "vit", "dinov2"])
def test_usual_steps_are_done_here_in_eight_bits(model: str, tiny: Callable[[str], Path]) -> None:
    processor = load("AutoImageProcessor", tiny(model))
    pixels = pixels_of(processor)
    assert pixels is not None
    colour = [p for p in PICTURES if p.ndim == 3]
    ours = pixels.normalised(torch.from_numpy(pixels.batch(colour)))
    theirs = torch.from_numpy(np.stack([processor(images=p, return_tensors="np")["pixel_values"][0] for p in colour]))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_unusual_steps_are_left_to_the_processor(tiny: Callable[[str], Path]) -> None:
    processor = load("AutoImageProcessor", tiny("convnext"))
    assert pixels_of(processor) is None
    values = make("transformers_image", tiny("convnext")).prepare(PICTURES[:1])["values"]
    np.testing.assert_array_equal(values, processor(images=PICTURES[0], return_tensors="np")["pixel_values"])


@pytest.mark.parametrize("shape", [(1, 3000, 3), (3000, 2, 3)])
def test_a_strip_costs_no_more_than_a_square(shape: tuple[int, ...]) -> None:
    strip = np.zeros(shape, np.uint8)
    long = int(np.argmax(shape))
    middle = [slice(None)] * 3
    middle[long] = slice(1450, 1550)
    strip[tuple(middle)] = 200
    found = Pixels(224, 224, 224, resample=3).resized(strip)
    assert found.shape == (224, 224, 3)
    assert abs(int(found[112, 112, 0]) - 200) <= 1


# Where weights come from ----------------------------------------------------------------------------------------------


def test_a_warm_cache_needs_no_network(tiny: Callable[[str], Path], cache: Path) -> None:
    put(cache, tiny("roberta"))
    encoder = make("transformers_text", "owner/tiny")
    close(tokens(encoder, TEXTS).x, tokens(make("transformers_text", tiny("roberta")), TEXTS).x)
    assert encoder.weights_id() == COMMIT


def test_the_commit_that_was_found_is_kept(tiny: Callable[[str], Path], cache: Path) -> None:
    put(cache, tiny("roberta"))
    fitted = make("transformers_text", "owner/tiny")
    state, told = fitted.state(), fitted.fingerprint()
    assert state == {"commit": COMMIT}
    put(cache, tiny("roberta"), commit=OTHER)  # the hub has moved on
    again = make("transformers_text", "owner/tiny")
    assert again.fingerprint() != told
    again.load_state(json.loads(json.dumps(state)))
    assert again.fingerprint() == told
    assert again.folder().name == COMMIT  # type: ignore[attr-defined]


def test_a_revision_is_honoured(tiny: Callable[[str], Path], cache: Path) -> None:
    put(cache, tiny("roberta"))
    put(cache, tiny("t5"), commit=OTHER)
    encoder = make("transformers_text", "owner/tiny", revision=COMMIT)
    assert encoder.state() == {}
    assert encoder.folder().name == COMMIT  # type: ignore[attr-defined]


@pytest.mark.parametrize("asked", ["clip_text", "transformers_text", "sentence_transformer"])
def test_no_network_and_no_cache_is_one_clear_line(asked: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def unreachable(*_: Any, **__: Any) -> None:
        calls.append(1)
        raise ConnectionError("no route to the hub\nand more lines")

    monkeypatch.setattr(hub.HfApi, "model_info", unreachable)
    monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: pytest.fail("it was tried, with its retries"))
    told = r"^'owner/none' is not complete in the cache .* no route to the hub.*local folder"
    with pytest.raises(ConfigError, match=told) as error:
        make(asked, "owner/none").prepare(["a"])
    assert "\n" not in str(error.value)
    assert len(calls) == 1


def test_offline_is_said_by_the_hub_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="OfflineModeIsEnabled"):
        make("wav2vec2", "owner/none").weights_id()


def test_what_is_missing_is_fetched_and_nothing_else(
    tiny: Callable[[str], Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = put(cache, tiny("roberta"))
    (partial / "model.safetensors").unlink()
    files = [p.name for p in tiny("roberta").iterdir()]
    there = [*files, "pytorch_model.bin", "tf_model.h5", "onnx/model.onnx", "modeling.py", "README.md"]
    asked: dict[str, Any] = {}

    def info(self: Any, model: str, **told: Any) -> Any:
        asked.update(told, model=model)
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in there])

    def fetch(model: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked["files"] = allow_patterns
        shutil.copy(tiny("roberta") / "model.safetensors", partial)
        return str(partial)

    monkeypatch.setattr(hub.HfApi, "model_info", info)
    monkeypatch.setattr(hub, "snapshot_download", fetch)
    assert bool(tokens(make("transformers_text", "owner/tiny"), TEXTS).present.all())
    assert sorted(asked["files"]) == sorted(files)
    assert asked["timeout"] > 0


@pytest.mark.parametrize(
    ("files", "kept"),
    [
        (["a.json", "pytorch_model.bin", "flax_model.msgpack"], ["a.json", "pytorch_model.bin"]),
        (["model.fp16.safetensors", "model.safetensors", "pytorch_model.bin"], ["model.safetensors"]),
        (["model.safetensors", "x/pytorch_model.bin"], ["model.safetensors", "x/pytorch_model.bin"]),
        (["model-00001-of-00002.safetensors", "run.py", "openvino/a.json"], ["model-00001-of-00002.safetensors"]),
    ],
)
def test_files_worth_fetching(files: list[str], kept: list[str]) -> None:
    assert hub_files.wanted(files) == kept


def test_an_interrupted_download_is_noticed(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    for name in ("sentence", "static", "roberta"):
        shutil.copytree(tiny(name), tmp_path / name)
        for path in (tmp_path / name).rglob("model.safetensors"):
            path.unlink()
        asked = "transformers_text" if name == "roberta" else "sentence_transformer"
        with pytest.raises(ConfigError, match=r"lacks model\.safetensors or"):
            make(asked, tmp_path / name).prepare(["a"])


def test_split_weights_need_every_part(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    index = {"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "model-1-of-2.safetensors").write_bytes(b"")
    assert hub_files.missing(tmp_path, [("config.json",), hub_files.WEIGHTS]) == ["model-2-of-2.safetensors"]


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("./nowhere", "no such folder"),
        ("/nowhere/at/all", "no such folder"),
        ("a/b/c", "no such folder"),
        ("owner/na me", "not a name on the hub"),
    ],
)
def test_names_that_are_none(model: str, told: str, cache: Path) -> None:
    with pytest.raises(ConfigError, match=told):
        make("clip_image", model).weights_id()


def test_a_folder_without_a_model_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"lacks config.json; model.safetensors or .*; tokenizer.json or"):
        make("codebert", tmp_path).prepare(["a"])


def test_a_changed_folder_is_another_encoder(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copytree(tiny("roberta"), tmp_path / "model")
    before = make("codebert", tmp_path / "model").fingerprint()
    (tmp_path / "model/README.md").write_text("words about it")
    assert make("codebert", tmp_path / "model").fingerprint() == before
    weights = bytearray((tmp_path / "model/model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "model/model.safetensors").write_bytes(weights)
    assert make("codebert", tmp_path / "model").fingerprint() != before


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("clip_text", {"model": ""}, "model must be a hub name or a folder"),
        ("clip_text", {"revision": 123}, "revision must be text"),
        ("codebert", {"pool": "frist"}, "did you mean 'first'"),
        ("codebert", {"max_tokens": 0}, "max_tokens must be a whole number from 1"),
        ("wav2vec2", {"max_seconds": True}, "max_seconds must be a number"),
        ("transformers_image", {"pool": 3}, "pool must be auto, first or mean, found 3"),
        ("sentence_transformer", {"prompt": 3}, "prompt must be text"),
    ],
)
def test_impossible_options_are_refused(name: str, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        registry.find("encoders", name)(**options)


# No foreign code ------------------------------------------------------------------------------------------------------


class _Trap:
    """Unpickled, it leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


def only_torch_weights(model: Path, place: Path) -> Path:
    shutil.copytree(model, place)
    (place / "model.safetensors").unlink()
    return place


def test_old_weights_load_without_running_pickle(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    folder = only_torch_weights(tiny("roberta"), tmp_path / "model")
    torch.save(load("RobertaModel", tiny("roberta")).state_dict(), folder / "pytorch_model.bin")
    close(tokens(make("codebert", folder), TEXTS).x, tokens(make("codebert", tiny("roberta")), TEXTS).x)


def test_weights_that_would_run_code_are_refused(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    folder, trace = only_torch_weights(tiny("roberta"), tmp_path / "model"), tmp_path / "trace"
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": _Trap(trace)}, protocol=2))
    with pytest.raises(ConfigError, match="cannot be loaded as AutoModel"):
        make("codebert", folder).module()
    assert not trace.exists()


@pytest.mark.parametrize("known", [True, False])
def test_a_models_own_code_is_never_run(known: bool, tiny: Callable[[str], Path], tmp_path: Path) -> None:
    folder, trace = tmp_path / "model", tmp_path / "trace"
    shutil.copytree(tiny("roberta"), folder)
    (folder / "own.py").write_text(f"import pathlib\npathlib.Path({str(trace)!r}).touch()\n")
    told = json.loads((folder / "config.json").read_text())
    told["auto_map"] = {"AutoConfig": "own.Config", "AutoModel": "own.Model"}
    told["model_type"] = told["model_type"] if known else "ours"
    (folder / "config.json").write_text(json.dumps(told))
    if known:
        make("codebert", folder).module()
    else:
        with pytest.raises(ConfigError, match="cannot be loaded") as error:
            make("codebert", folder).module()
        assert "\n" not in str(error.value)
    assert not trace.exists()


def test_a_sentence_models_own_classes_are_refused(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copytree(tiny("sentence"), tmp_path / "model")
    path = tmp_path / "model/modules.json"
    modules = json.loads(path.read_text())
    modules[-1]["type"] = "shutil.rmtree"
    path.write_text(json.dumps(modules))
    with pytest.raises(ConfigError, match=r"needs code of its own \(shutil.rmtree\)"):
        make("sentence_transformer", tmp_path / "model").prepare(["a"])


def test_missing_weights_are_warned_of_and_the_same_every_time(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny("roberta"), tmp_path / "model")
    path = tmp_path / "model/model.safetensors"
    kept = {name: w for name, w in load_file(path).items() if "layer.1." not in name and "pooler" not in name}
    save_file(kept, path, {"format": "pt"})
    with pytest.warns(PlaitWarning, match=r"lacks 16 of the \d+ weights of a RobertaModel \(encoder.layer.1"):
        first = tokens(make("codebert", tmp_path / "model"), TEXTS).x
    torch.manual_seed(99)
    with pytest.warns(PlaitWarning):
        assert torch.equal(tokens(make("codebert", tmp_path / "model"), TEXTS).x, first)


def test_another_kind_of_model_is_refused_in_one_line(tiny: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigError, match=r"encoder clip_text: '.*' lacks \d+ of the \d+ weights of a CLIPText"):
        make("clip_text", tiny("t5")).module()


def test_quiet_leaves_the_settings_as_they_were() -> None:
    logging = transformers.utils.logging
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with pytest.raises(RuntimeError), hub_models.quiet(transformers):
        raise RuntimeError
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


# timm: not installed here, so that only our side of it can be tested ------------------------------------------------


def timm_model(folder: Path) -> nn.Module:
    from safetensors.torch import save_file

    folder.mkdir()
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 5, 4, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    weights = {**{f"body.{k}": w for k, w in network.state_dict().items()}, "head.weight": torch.ones(2, 5)}
    save_file(weights, folder / "model.safetensors")
    settings: dict[str, Any] = {"input_size": [3, 16, 16], "crop_pct": 0.5, "interpolation": "bilinear"}
    settings |= {"mean": [0.5] * 3, "std": [0.25] * 3, "classifier": "head"}
    told = {"architecture": "small", "num_features": 5, "pretrained_cfg": settings}
    (folder / "config.json").write_text(json.dumps(told))
    return network


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A stand-in for the package: a network of the right shape, and what it was asked for."""
    asked: dict[str, Any] = {}

    def create_model(name: str, **told: Any) -> nn.Module:
        asked.update(told, name=name)
        body = nn.Sequential(nn.Conv2d(3, 5, 4, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        whole = nn.Sequential()
        whole.add_module("body", body)
        return whole

    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=create_model))
    return asked


def test_timm_by_its_own_settings_and_without_its_head(timm: dict[str, Any], tmp_path: Path) -> None:
    reference = timm_model(tmp_path / "model")
    encoder = make("timm_image", tmp_path / "model")
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[16:48, 32:64] = 255  # what is left of 32 x 48 pixels when the middle 16 x 16 are cut out
    assert (encoder.prepare([picture])["pixels"] == 255).mean() > 0.7
    found = tokens(encoder, [picture, PICTURES[0]])
    assert found.x.shape == (2, 1, encoder.dim)
    assert timm == {"name": "small", "pretrained": False, "num_classes": 0}
    pixels = torch.from_numpy(encoder.prepare([PICTURES[0]])["pixels"]).permute(0, 3, 1, 2).float() / 255
    close(found.x[1, 0], reference((pixels - 0.5) / 0.25)[0].detach())


def test_timm_weights_that_do_not_fit_are_refused(timm: dict[str, Any], tmp_path: Path) -> None:
    timm_model(tmp_path / "model")
    path = tmp_path / "model/config.json"
    path.write_text(path.read_text().replace('"head"', '"other"'))
    with pytest.raises(ConfigError, match="cannot be loaded"):
        make("timm_image", tmp_path / "model").module()


def test_timm_names_without_owner_are_timms(cache: Path) -> None:
    encoder = make("timm_image", "mobilenetv3_small_100.lamb_in1k")
    assert encoder.weights_id() == hub_models.PINNED["timm/mobilenetv3_small_100.lamb_in1k"]


def test_without_timm_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingDependencyError, match=r'pip install timm "torch==\d'):
        make("timm_image", "timm/any").prepare([PICTURES[0]])


@pytest.mark.parametrize(
    ("name", "model", "cells"),
    [
        ("e5_small", "sentence", TEXTS),
        ("e5_small_multilingual", "sentence", TEXTS),
        ("bge_small", "sentence", TEXTS),
        ("potion", "static", TEXTS),
        ("unixcoder", "roberta", TEXTS),
        ("dinov2_small", "dinov2", PICTURES),
        ("siglip", "siglip", PICTURES),
        ("clap", "clap", SOUNDS),
        ("ast", "wav2vec2", SOUNDS),
    ],
)
def test_a_preset_is_its_encoder_with_its_options(
    name: str, model: str, cells: list[Any], tiny: Callable[[str], Path]
) -> None:
    preset = PRESETS[name]
    modality = Modality("m", preset.kinds[0], ("c",))
    there = make_encoder(modality, name)
    assert (there.name(), there.options()["model"]) == (preset.options["name"], preset.options["model"])
    assert {k: there.options()[k] for k in preset.options if k != "name"} == {
        k: v for k, v in preset.options.items() if k != "name"
    }
    assert preset.licence in ("MIT", "Apache-2.0", "BSD-3-Clause")
    own = make_encoder(modality, {"name": name, "model": str(tiny(model))})  # the same model in a folder
    assert tokens(own, cells).x.shape == (len(cells), 1, own.dim)
    assert name not in registry.names("encoders")


def test_presets_are_all_tried_and_named_beside_encoders() -> None:
    with pytest.raises(ConfigError, match="did you mean 'dinov2_small'"):
        make_encoder(Modality("m", "image", ("c",)), "dinov2_smal")
    with pytest.raises(ConfigError, match="'sentence_transformer' takes .*, not tabular"):
        make_encoder(Modality("m", "tabular", ("c",)), "bge_small")
    assert encoder_of("bge_small", "text", "here")[1].options()["model"] == "BAAI/bge-small-en-v1.5"


@torch.no_grad()
def test_pictures_of_a_sentence_model_are_those_of_the_library(tiny: Callable[[str], Path]) -> None:
    folder = tiny("sentence_pictures")
    with hub_models.quiet(transformers):
        theirs = importlib.import_module("sentence_transformers").SentenceTransformer(str(folder), device="cpu")
    pictures = [Image.fromarray(picture).convert("RGB") for picture in PICTURES]
    close(tokens(make("sentence_transformer", folder), PICTURES).pooled(), theirs.encode(pictures))
    with pytest.raises(ConfigError, match="takes text, no pictures or sounds; name another model"):
        make("sentence_transformer", tiny("sentence")).prepare(PICTURES)


@torch.no_grad()
def test_clap_sounds_are_projected_and_never_cut_at_random(tiny: Callable[[str], Path]) -> None:
    sounds = [(RNG.normal(0, 0.1, 48_000 * seconds).astype(np.float32), 48_000) for seconds in (1, 4)]
    model, extractor = load("ClapModel", tiny("clap")).eval(), load("AutoFeatureExtractor", tiny("clap"))
    result = tokens(make("transformers_audio", tiny("clap")), sounds).pooled()
    heard = extractor([wave[: 2 * 48_000] for wave, _ in sounds], sampling_rate=48_000, return_tensors="pt")
    expected = hub_kinds.projected(model, {"input_features": heard["input_features"]}, "audio")
    close(result, expected)
