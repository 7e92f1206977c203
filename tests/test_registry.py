"""Variants of one's own: named, saved, loaded in another process that has them, refused before training without a name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import plait
from plait import FusionClassifier, ModalityAligner
from plait.base import registry
from plait.base.errors import ConfigError, ModelError
from plait.conditions.parse import parse
from plait.encoders.hashed_ngrams import HashedNgrams

PLUGIN = '''
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import nn

from plait import Condition, Encoder, Fusion
from plait.base.tokens import Tokens


@dataclass(eq=False)
class WordLengths(Encoder):
    """How often a text has words of each length."""

    kinds: ClassVar[tuple[str, ...]] = ("text",)
    longest: int = 6

    def prepare(self, cells):
        lengths = [[min(len(w), self.longest) for w in cell.split()] for cell in cells]
        return {"x": np.stack([np.bincount(row, minlength=self.longest + 1) for row in lengths]).astype("float32")}

    def module(self):
        return AsIs()

    @property
    def dim(self):
        return self.longest + 1


class AsIs(nn.Module):
    def forward(self, batch):
        return Tokens.of_vectors(batch["x"])


class Doubled(Fusion):
    """The sum of all vectors, twice."""

    equal_widths = True

    @property
    def out_dim(self):
        return next(iter(self.dims.values()))

    def forward(self, tokens):
        return 2 * sum(t.pooled() for t in tokens.values())


@dataclass(kw_only=True)
class Shouted(Condition):
    """Capital letters."""

    kinds: ClassVar[tuple[str, ...]] = ("text",)
    measure: ClassVar[str] = "0 or 1"

    def columns(self, frame, schema, chosen, root):
        return {c: frame[c].str.upper() for m in chosen for c in m.columns}
'''

ENTRY_POINTS = """
[plait.encoders]
word_lengths = spaces_plugin:WordLengths
[plait.fusion]
doubled = spaces_plugin:Doubled
[plait.conditions]
shouted = spaces_plugin:Shouted
"""

TABLE = pd.DataFrame(
    {
        "story": ["a bc def", "abcdef abcdef", "a a a", "abcd abcd b"] * 15,
        "size": np.arange(60.0) % 4,
        "y": ["p", "q"] * 30,
    }
)
QUICK: dict[str, Any] = {"store": "none", "epochs": 4, "members": 2, "width": 8, "progress": False}


def fitted(encoder: object, **told: Any) -> FusionClassifier:
    modalities = {"text": {"kind": "text", "columns": ["story"]}, "tabular": {"kind": "tabular", "columns": ["size"]}}
    model = FusionClassifier(modalities=modalities, encoders={"text": encoder}, **QUICK | told)
    return model.fit(TABLE[["story", "size"]], TABLE["y"])


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A package that is installed, and its module; forgotten afterwards."""
    (tmp_path / "spaces_plugin.py").write_text(PLUGIN)
    (tmp_path / "spaces_plugin-1.0.dist-info").mkdir()
    (tmp_path / "spaces_plugin-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: spaces-plugin\nVersion: 1.0\n"
    )
    (tmp_path / "spaces_plugin-1.0.dist-info" / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "_REGISTERED", {})
    registry.entry_points.cache_clear()
    import spaces_plugin

    yield spaces_plugin
    sys.modules.pop("spaces_plugin")
    monkeypatch.undo()
    registry.entry_points.cache_clear()


def test_an_installed_package_brings_variants(plugin: Any, tmp_path: Path) -> None:
    assert "word_lengths" in registry.names("encoders")
    assert plugin.WordLengths.name() == "word_lengths"
    assert registry.find("encoders", "word_lengths") is plugin.WordLengths
    assert {
        "name": "shouted",
        "summary": "Capital letters.",
        "kinds": "text",
        "strength": "0 or 1",
    } in registry.describe("conditions")
    model = fitted({"name": "word_lengths", "longest": 5}, fusion="doubled")
    again = plait.load(model.save(tmp_path / "m"))
    np.testing.assert_array_equal(again.predict_proba(TABLE), model.predict_proba(TABLE))
    assert parse("shouted:text=1").apply(TABLE, model.schema_)["story"][0] == "A BC DEF"


def test_a_model_is_loaded_in_another_process_that_has_the_package(plugin: Any, tmp_path: Path) -> None:
    model = fitted(plugin.WordLengths(longest=4))
    model.save(tmp_path / "m")
    TABLE.to_csv(tmp_path / "t.csv", index=False)
    code = "import sys, pandas as pd, plait; print(plait.load(sys.argv[1]).predict_proba(pd.read_csv(sys.argv[2])).tolist())"
    command = [sys.executable, "-c", code, str(tmp_path / "m"), str(tmp_path / "t.csv")]
    there = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, check=True)
    np.testing.assert_allclose(np.array(json.loads(there.stdout)), model.predict_proba(TABLE), atol=1e-6)


def environment(folder: Path) -> dict[str, str]:
    path = os.pathsep.join([str(folder), str(Path(plait.__file__).parents[1])])
    return {**os.environ, "PYTHONPATH": path}


def test_without_the_package_it_is_said_what_is_missing(
    plugin: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted(plugin.WordLengths()).save(tmp_path / "m")
    monkeypatch.setattr(registry, "_REGISTERED", {})
    monkeypatch.setattr(registry, "entry_points", lambda family: {})
    with pytest.raises(
        ModelError, match="the encoder 'word_lengths' of modality 'text' is not plait's own: install the package"
    ):
        plait.load(tmp_path / "m")


class Mine(HashedNgrams):
    """A class of the user's own."""


class Odd(HashedNgrams):
    """Options that are no JSON."""

    def options(self) -> dict[str, Any]:
        return {"width": {1, 2}}


class Silent(HashedNgrams):
    """Options that leave something out."""

    def options(self) -> dict[str, Any]:
        return {}

    def weights_id(self) -> str:
        return str(self.width)


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_REGISTERED", {})


@pytest.mark.parametrize("way", ["encoders", "modalities", "aligner"])
def test_a_class_without_a_name_is_refused_before_training(
    way: str, clean: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plait.estimators.fitting.crossfit", lambda *told: pytest.fail("it was trained"))
    told = {
        "text": {"kind": "text", "columns": ["story"], "encoder": Mine()},
        "tabular": {"kind": "tabular", "columns": ["size"]},
    }
    with pytest.raises(
        ConfigError, match=r"test_registry.Mine has no name in plait.*plait.register\('encoders', Mine\)"
    ):
        if way == "encoders":
            fitted(Mine())
        elif way == "modalities":
            FusionClassifier(modalities=told, **QUICK).fit(TABLE[["story", "size"]], TABLE["y"])
        else:
            ModalityAligner(modalities=told, store="none", progress=False).fit(TABLE)


def test_a_registered_class_is_loaded_by_its_name(clean: None, tmp_path: Path) -> None:
    plait.register("encoders", Mine)
    assert Mine.name() == "mine"
    model = fitted(Mine(width=64))
    again = plait.load(model.save(tmp_path / "m"))
    assert isinstance(again.features_.encoders["text"], Mine)
    assert again.encoders == {"text": {"name": "mine", "width": 64, "max_characters": 20000}}
    np.testing.assert_array_equal(again.predict_proba(TABLE), model.predict_proba(TABLE))


@pytest.mark.parametrize(("kind", "said"), [(Odd, "cannot be written down"), (Silent, "do not say all")])
def test_options_that_are_not_all_there_are_refused(kind: Any, said: str, clean: None) -> None:
    plait.register("encoders", kind)
    with pytest.raises(ConfigError, match=said):
        fitted(kind(width=128))


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (("encoders", Mine, "minilm"), "the name 'minilm' in encoders is taken"),
        (("encoder", Mine), "unknown family 'encoder': did you mean 'encoders'"),
        (("encoders", int), "must be a class that extends Encoder"),
        (("fusion", Mine), "must be a class that extends Fusion"),
        (("encoders", Mine()), "must be a class that extends Encoder"),
        (("encoders", plait.Encoder), "must be a class that extends Encoder and lacks nothing"),
    ],
)
def test_what_cannot_be_registered(told: tuple[Any, ...], said: str, clean: None) -> None:
    with pytest.raises(ConfigError, match=said):
        plait.register(*told)


def test_an_encoder_for_another_kind_is_refused_as_an_instance_too() -> None:
    with pytest.raises(ConfigError, match="'hashed_ngrams' takes text, code, not tabular|'hashed_ngrams' takes"):
        FusionClassifier(
            modalities={"t": {"kind": "vector", "columns": ["size"]}}, encoders={"t": HashedNgrams()}, **QUICK
        ).fit(TABLE[["size"]].map(lambda v: [v]), TABLE["y"])


@pytest.mark.parametrize("family", sorted(registry.FAMILIES))
def test_what_is_listed_is_what_the_classes_say(family: str) -> None:
    listed = {record.pop("name"): record for record in registry.describe(family)}
    for name in registry.names(family):
        variant = registry.find(family, name)
        said = variant.facts() if hasattr(variant, "facts") else {}
        assert listed[name] == {"summary": (variant.__doc__ or "").partition("\n")[0], **said}, name


def test_a_list_imports_neither_variants_nor_what_they_stand_on() -> None:
    code = (  # what other packages bring is imported: here none is installed
        "import sys; from importlib import metadata; metadata.entry_points = lambda **given: ()\n"
        "from plait.base import registry; from plait.encoders.defaults import described_presets\n"
        "all(map(registry.describe, registry.FAMILIES)); described_presets()\n"
        "print([m for m in ('torch', 'pandas', 'numpy', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_classes_without_sources_are_imported() -> None:
    code = (
        "import json, pathlib, sys; from plait.base import registry\n"
        "read = pathlib.Path.read_text  # which also tells what other packages bring\n"
        "def gone(self, *given, **options):\n"
        "    if self.suffix == '.py': raise FileNotFoundError(self)\n"
        "    return read(self, *given, **options)\n"
        "pathlib.Path.read_text = gone\n"
        "listed = registry.describe('conditions')\n"
        "print(json.dumps([listed, 'numpy' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [registry.describe("conditions"), True]
