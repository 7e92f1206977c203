"""YAML and JSON of strangers: bounded, and without surprises."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
import yaml

from plait.base import config, documents
from plait.base.errors import ConfigError, PlaitError
from plait.conditions.parse import parse
from plait.data import schema
from plait.study.reader import read_with_lines

BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)
HOSTILE = {
    "bomb": (BOMB + "modalities: {t: {kind: text, columns: *a9}}", "100,000 values"),
    "merge bomb": ("a: &a {b: 1}\n" + "c: {<<: *a, <<: *a}", "given twice"),
    "brackets": ("[" * 50_000, "nested more than 40 deep"),
    "braces": ("{a: " * 50_000, "nested more than 40 deep"),
    "keys": ("? " * 50_000, "nested more than 40 deep"),
    "lists": ("- " * 50_000, "nested more than 40 deep"),
    "circle": ("a: &x [*x]", "within what it names"),
    "long": ("a: " + "x" * 2_100_000, "2,100,003 letters"),
    "digits": ("a: " + "9" * 5000, "cannot be read"),
    "object": ("a: !!python/object/apply:os.system ['true']", "not valid YAML"),
    "bytes": ("a: !!binary aGk=", "not valid YAML"),
    "set": ("a: !!set {x}", "not valid YAML"),
    "letter": ("a: \x00", "not valid YAML"),
    "two": ("a: 1\n---\nb: 2", "not valid YAML"),
    "mapping as key": ("{a: 1}: 2", "a key must be a plain word"),
}


@pytest.mark.parametrize(("text", "said"), HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize(
    "read",
    [
        config.parse_yaml,
        schema.from_yaml,
        read_with_lines,
        lambda text, where: config.override({}, [f"x={text}"]),
        lambda text, where: parse(f"absent:text={text}" if ":" not in text else text, where),
    ],
    ids=["settings", "schema", "study", "--set", "condition"],
)
def test_hostile_yaml_is_one_line_by_every_way_in(text: str, said: str, read: Any, request: Any) -> None:
    with pytest.raises(PlaitError) as caught:
        read(text, "file.yaml")
    if "condition" not in request.node.name:  # which has a form of its own, and quotes what it was given
        assert "\n" not in str(caught.value)
        assert said in str(caught.value)


def test_a_text_of_many_values_is_given_up_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "VALUES", 1000)
    with pytest.raises(ConfigError, match="line 1: more than 1,000 values"):
        config.parse_yaml("[" + "1," * 500_000 + "]")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("-.5e+2", -50.0),
        ("+3", 3),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("true", True),
        ("null", None),
        ("~", None),
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("2020-02-30", "2020-02-30"),
        ("2020-02-03 10:00:00", "2020-02-03 10:00:00"),
        ("'1e-4'", "1e-4"),
        ("<<", "<<"),
    ],
)
def test_numbers_are_numbers_and_nothing_else_is_a_surprise(text: str, value: Any) -> None:
    for found in (
        config.parse_yaml(f"a: {text}")["a"],
        read_with_lines(f"a: {text}", "x")[0]["a"],
        config.override({}, [f"a={text}"])["a"],
    ):
        assert found == value
        assert type(found) is type(value)


def test_nan_is_a_number() -> None:
    assert math.isnan(config.parse_yaml("a: .nan")["a"])


def test_what_is_written_is_read_back_by_every_version() -> None:
    words = [
        "1e-4",
        "no",
        "on",
        "y",
        "1:30",
        "1_000",
        "0o17",
        "2020-02-03",
        "010",
        ".5",
        "<<",
        "=",
        "~",
        "null",
        "",
        "1.",
    ]
    values = {"words": words, "numbers": [1e-4, 1e22, 0.1, 3, -0.0], "flags": [True, None]}
    text = config.to_yaml(values)
    assert config.parse_yaml(text) == values
    assert yaml.safe_load(text) == values


def test_mutated_yaml_is_read_or_refused() -> None:
    """1,000 seeded mutations of a schema: each is a schema or one clear line."""
    draw = random.Random(0)
    text = "target: y\nmodalities:\n  t: {kind: text, columns: [a, 'b']}\n  n:\n    kind: tabular\n    columns: [c]\n"
    signs = "[]{}:,&*!|>'\"%@`#-? \n\t~.0123456789eEabc\\<\x85\u2028\ufeff"
    refused = 0
    for _ in range(1000):
        letters = list(text)
        for _ in range(draw.randint(1, 4)):
            place = draw.randrange(len(letters))
            letters[place : place + draw.randint(0, 3)] = draw.choices(signs, k=draw.randint(0, 3))
        try:
            schema.from_yaml("".join(letters), "s.yaml")
        except ConfigError as error:
            refused += 1
            assert str(error).startswith("s.yaml")
    assert 250 < refused < 1000


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", "[" * 200_000, '{"a": ' * 100_000, "9" * 5000, "", "{", '"\\ud8"']
)
def test_hostile_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
        documents.read_json(text)
