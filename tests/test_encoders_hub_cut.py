"""Hub encoders in two parts: equal to the whole for every architecture that is said to be, tuned, saved and loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from plait import FusionClassifier, load
from plait.base import machine, registry
from plait.base.errors import ConfigError
from plait.base.tokens import Tokens
from plait.encoders import hub_cut, hub_models
from test_encoders_hub import (
    PATCHES,
    PICTURES,
    TEXTS,
    convnext,
    make,
    sentence,
    static,
    t5,
    write_processor,
    write_tokenizer,
)

transformers = pytest.importorskip("transformers")

SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
WORDS = {"vocab_size": 60, "max_position_embeddings": 34, **SMALL}
DISTIL = {"vocab_size": 60, "dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 24, "max_position_embeddings": 34}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", WORDS),
    "roberta": ("Roberta", WORDS),
    "xlm-roberta": ("XLMRoberta", WORDS),
    "camembert": ("Camembert", WORDS),
    "electra": ("Electra", {**WORDS, "embedding_size": 8}),
    "mpnet": ("MPNet", WORDS),
    "distilbert": ("DistilBert", DISTIL),
    "vit": ("ViT", {**PATCHES, **SMALL}),
    "deit": ("DeiT", {**PATCHES, **SMALL}),
    "dinov2": ("Dinov2", {**PATCHES, **SMALL}),
    "dinov2_with_registers": ("Dinov2WithRegisters", {**PATCHES, **SMALL}),
}


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "fast_dtype", lambda device="cpu": torch.float32)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of models with random weights, each made once."""
    made: dict[str, Path] = {}
    others = {"t5": t5, "convnext": convnext, "sentence": sentence, "static": static}

    def folder(name: str) -> Path:
        if name not in made:
            torch.manual_seed(0)
            with hub_models.quiet(transformers):
                made[name] = tmp_path_factory.mktemp(name.replace("-", "_")) / "model"
                others[name](made[name]) if name in others else write(name, made[name])
        return made[name]

    return folder


def write(name: str, folder: Path) -> None:
    kind, told = MODELS[name]
    network = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**told))
    with torch.no_grad():  # weights of a usual size, so that every layer tells
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    network.save_pretrained(folder)
    if name in hub_cut.IMAGE:
        write_processor(folder, "ViT", size={"height": 32, "width": 32})
    else:
        write_tokenizer(folder)


def batch_of(encoder: Any, cells: list[Any]) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(array) for key, array in encoder.prepare(cells).items()}


def test_every_architecture_that_is_said_to_be_cut_is_tried() -> None:
    assert {*hub_cut.TEXT, *hub_cut.IMAGE} == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_the_two_parts_give_what_the_whole_gives(name: str, tiny: Callable[[str], Path]) -> None:
    image = name in hub_cut.IMAGE
    encoder = make("transformers_image" if image else "transformers_text", tiny(name))
    assert encoder.tunable == 3
    batch = batch_of(encoder, PICTURES if image else TEXTS)
    with torch.no_grad():
        expected, seen = encoder.module()(batch).x, set()
        for layers in (1, 2, 3):
            cut = encoder.cut(layers)
            between = cut.lower(batch)
            torch.testing.assert_close(cut.upper(between).x, expected, atol=1e-5, rtol=1e-4)
            seen.add(round(float(between.x.abs().sum()), 3))
            wrong = Tokens(between.x + 0.5 * torch.randn_like(between.x), between.mask)
            assert not torch.allclose(cut.upper(wrong).x, expected, atol=1e-2), "what is between is what is computed on"
    assert len(seen) == 3, "each cut is at another layer"
    maps = [cut.upper.get_submodule(target) for target in cut.targets]
    assert len(maps) >= 3 * 6 == len(set(maps))
    assert not any(p.requires_grad for p in cut.upper.parameters())


@pytest.mark.parametrize("name", ["codebert", "sentence_transformer"])
def test_the_other_encoders_too(name: str, tiny: Callable[[str], Path]) -> None:
    encoder = make(name, tiny("sentence" if name == "sentence_transformer" else "roberta"))
    batch = batch_of(encoder, TEXTS)
    with torch.no_grad():
        expected = encoder.module()(batch).x
        for layers in range(1, encoder.tunable + 1):
            cut = encoder.cut(layers)
            torch.testing.assert_close(cut.upper(cut.lower(batch)).x, expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(encoder.module()(batch).x, expected)


def test_rows_are_cut_alike_in_any_batch(tiny: Callable[[str], Path]) -> None:
    encoder = make("transformers_text", tiny("mpnet"))
    cut = encoder.cut(2)
    with torch.no_grad():
        whole = cut.lower(batch_of(encoder, TEXTS))
        one = cut.lower(batch_of(encoder, TEXTS[:1]))
    length = int(one.mask.sum())
    assert whole.mask[0].sum() == length
    torch.testing.assert_close(whole.x[0, :length], one.x[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "model", "said"),
    [
        ("transformers_text", "t5", "a model of type 't5' cannot be taken apart; set train: frozen, or name another"),
        ("transformers_image", "convnext", "a model of type 'convnext' cannot be taken apart"),
        ("sentence_transformer", "static", "cannot be taken apart"),
        ("transformers_text", "bert", "9 layers of .* cannot be tuned: it has 3; set tune.layers"),
    ],
)
def test_what_cannot_be_cut_is_one_line(name: str, model: str, said: str, tiny: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigError, match=f"^encoder {name}: .*{said}") as caught:
        make(name, tiny(model)).cut(9)
    assert "\n" not in str(caught.value)


def test_a_model_that_cannot_be_cut_is_refused_before_anything_is_encoded(tiny: Callable[[str], Path]) -> None:
    told = {"text": {"kind": "text", "columns": ["t"], "encoder": encoder_of("t5", tiny), "train": "tuned"}}
    with pytest.raises(ConfigError, match="'transformers_text' cannot be tuned; set train: frozen"):
        FusionClassifier(modalities=told, store="none").fit(pd.DataFrame({"t": ["a", "b"] * 10}), [0, 1] * 10)


def encoder_of(name: str, tiny: Callable[[str], Path]) -> dict[str, Any]:
    return {"name": "transformers_text", "model": str(tiny(name))}


def test_tuned_it_learns_is_saved_and_loaded(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    pytest.importorskip("peft")
    rng = np.random.default_rng(0)
    y = np.arange(48) % 2
    words = [" ".join([f"w{1 + k}", *rng.choice(list("abcdefgh"), 3)]) for k in y]
    frame = pd.DataFrame({"t": words})
    told = {"text": {"kind": "text", "columns": ["t"], "encoder": encoder_of("roberta", tiny), "train": "tuned"}}
    tune = {
        "layers": 2,
        "epochs": 4,
        "patience": 4,
        "folds": 0,
        "batch_size": 8,
        "learning_rate": 0.02,
        "head_rate": 0.02,
    }
    quick = {"members": 1, "epochs": 2, "width": 8, "branches": ("linear",), "progress": False}
    model = FusionClassifier(modalities=told, tune=tune, store=str(tmp_path / "s"), **quick).fit(frame, y)
    record = model.record_["tuned"]["text"]
    losses = [epoch["train_loss"] for epoch in record["history"][0]]
    assert losses[-1] < 0.9 * losses[0]
    again = load(model.save(tmp_path / "m"))
    new = pd.DataFrame({"t": ["w1 a b", "w2 z", "w1 h h h"]})
    np.testing.assert_allclose(again.predict_proba(new), model.predict_proba(new), atol=1e-4)


def test_the_list_says_that_they_can_be_tuned() -> None:
    for name in ("transformers_text", "transformers_image", "sentence_transformer", "codebert"):
        assert registry.find("encoders", name).facts()["train"] == "frozen, tuned"
