from __future__ import annotations

import dataclasses

import pytest

from plait.base import config
from plait.base.errors import ConfigError, MissingDependencyError, need


@dataclasses.dataclass
class Settings:
    width: int = 8
    name: str = "x"


def test_build_refuses_unknown_fields_all_at_once() -> None:
    with pytest.raises(ConfigError, match=r"'widht' \(did you mean 'width'\?\).*'nme'"):
        config.build(Settings, {"widht": 1, "nme": 2}, "settings")


def test_yaml_round_trip() -> None:
    told = {"encoders": {"text": {"name": "minilm", "max_tokens": 64}}, "widths": [1, 2]}
    assert config.parse_yaml(config.to_yaml(told)) == told


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: 1\na: 2", "line 2: the key 'a' is given twice"),
        ("a: [1", "line 1: not valid YAML"),
        ("- 1", "expected a mapping"),
        ("a: !!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_bad_yaml_is_named_at_its_line(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        config.parse_yaml(text, "file.yaml")


def test_override_reaches_into_parts_and_leaves_the_original() -> None:
    told = {"encoders": {"text": "minilm"}}
    found = config.override(told, ["encoders.text.max_tokens=64", "depth=late", "epochs=3"])
    assert found == {"encoders": {"text": {"name": "minilm", "max_tokens": 64}}, "depth": "late", "epochs": 3}
    assert told == {"encoders": {"text": "minilm"}}


@pytest.mark.parametrize("assignment", ["width", "=3", "a..b=1", "width.part=1"])
def test_override_refuses_what_it_cannot_read(assignment: str) -> None:
    with pytest.raises(ConfigError):
        config.override({"width": 8}, [assignment])


def test_need_names_the_extra() -> None:
    with pytest.raises(MissingDependencyError, match=r'pip install "plait\[image\]"'):
        need("no_such_package_here", "image")
