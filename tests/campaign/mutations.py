"""Inputs that were changed at random, or that failed once: a result or one clear line, in bounded memory and time."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from process import run

CORPUS = Path(__file__).parent / "corpus"
_ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 3, 10**6, 10**30, 1e300, float("nan"), "", "x", "\x00", "\ud83d", "=1+1", "../../x", "a: b"),
    *(
        [],
        [[]],
        {},
        {"a": 1},
        [None],
        "0.5",
        -0.5,
        "2020-02-30",
        "C:\\x\\y.png",
        "https://example.invalid/a.png",
        "é" * 300,
    ),
)
_BYTES = (
    *(b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b"'", b",", b"\n", b"\r", b"\r\n", b"\t", b"[" * 300, b"{" * 300),
    *(
        b"9" * 5000,
        b"1e999",
        b"nan",
        b"-inf",
        b"=cmd()",
        b"<script>",
        b"\xed\xa0\x80",
        b"\xf0\x9f\x98\x80",
        b"!",
        b"&a ",
        b"*a",
    ),
    *(
        b"../" * 9,
        b"/etc/passwd",
        b"C:\\x",
        b"\xff" * 8,
        b"\x7f\xff\xff\xff",
        b"\x00" * 40,
        b"PAR1",
        b"PK\x03\x04",
        b": ",
    ),
)


def bent(data: bytes, draw: random.Random) -> bytes:
    """Bytes with one to four places changed."""
    for _ in range(draw.choice((1, 1, 2, 4))):
        first = draw.randrange(len(data) + 1)
        last = min(len(data), first + draw.choice((0, 1, 1, 4, 40, 400)))
        middle = draw.choice(
            (
                draw.choice(_BYTES),
                draw.randbytes(draw.choice((1, 2, 8))),
                data[first:last] * 2,
                data[first:last][::-1],
                b"",
            )
        )
        data = data[:first] + middle + data[last:]
        if draw.random() < 0.05:
            data = data[: draw.randrange(len(data) + 1)]
    return data


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [path] * bool(path) + [p for key, inner in items for p in _places(inner, (*path, key))]


def twisted(value: Any, draw: random.Random) -> Any:
    """A tree of plain values with one to three of them replaced, removed, or put elsewhere."""
    value = copy.deepcopy(value)
    for _ in range(draw.choice((1, 1, 2, 3))):
        places = _places(value)
        if not places:
            return draw.choice(_ODD)
        *above, last = draw.choice(places)
        parent = value
        for key in above:
            parent = parent[key]
        way = draw.random()
        if way < 0.2:
            del parent[last]
        elif way < 0.3 and isinstance(parent, dict):
            parent[str(draw.choice(_ODD))] = parent.pop(last)
        else:
            parent[last] = copy.deepcopy(draw.choice(_ODD))
    return value


# -- kinds of input: each writes one into the folder, and gives the commands that read it --------------------------------


def _table(folder: Path, draw: random.Random) -> list[list[str]]:
    name = draw.choice(("t.csv", "t.tsv", "t.csv.gz", "t.jsonl", "t.parquet", "t.arrow"))
    path = folder / name
    if name == "t.jsonl" and draw.random() < 0.5:
        rows = [
            twisted(json.loads(line), draw) if draw.random() < 0.1 else json.loads(line)
            for line in path.read_text().splitlines()
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        path.write_bytes(bent(path.read_bytes(), draw))
    return [_of_table(name, draw)]


def _of_table(name: str, draw: random.Random) -> list[str]:
    return draw.choice(
        (
            ["schema", name],
            ["schema", name, "--target", "label"],
            ["predict", "m", name, "--out", "p.csv"],
            ["predict", "m", name, "--out", "p.jsonl", "--partial", "--keep", "text"],
            ["encode", name, "--schema", "s.yaml"],
            ["evaluate", "m", name, "--json"],
        )
    )


def _media(folder: Path, draw: random.Random) -> list[list[str]]:
    for name in draw.sample(sorted(p.name for p in (folder / "media").iterdir()), 4):
        path = folder / "media" / name
        path.write_bytes(bent(path.read_bytes(), draw))
    return [
        draw.choice(
            (["predict", "media_model", "t.csv", "--out", "p.csv"], ["encode", "t.csv", "--schema", "media.yaml"])
        )
    ]


def _archive(folder: Path, draw: random.Random) -> list[list[str]]:
    path = folder / "media.zip"
    path.write_bytes(bent(path.read_bytes(), draw))
    return [["predict", "media_model", "t.csv", "--out", "p.csv", "--root", "media.zip"]]


def _model(folder: Path, draw: random.Random) -> list[list[str]]:
    from plait.store import model_files

    place = folder / draw.choice(("m", "media_model"))
    if draw.random() < 0.4:
        path = draw.choice(sorted(p for p in place.iterdir() if p.is_file()))
        path.write_bytes(bent(path.read_bytes(), draw))
    else:  # as a stranger can write it: the digests fit
        manifest, arrays = model_files.read_model(place)
        held = {k: v for k, v in twisted(manifest, draw).items() if k not in ("checksum", "weights")}
        try:
            model_files.write_model(place, held, arrays, "# card\n")
        except (ValueError, TypeError, AttributeError):  # NaN, half a surrogate: not to be written at all
            (place / "model.json").write_text(json.dumps(held))
    return [
        draw.choice(
            (
                ["predict", place.name, "t.csv", "--out", "p.csv"],
                ["evaluate", place.name, "t.csv"],
                ["show", place.name],
            )
        )
    ]


def _yaml(folder: Path, draw: random.Random) -> list[list[str]]:
    name = draw.choice(("s.yaml", "study.yaml", "on_insects/paper.yaml", "on_insects/recipes/made.yaml"))
    path = folder / name
    if draw.random() < 0.5:
        path.write_bytes(bent(path.read_bytes(), draw))
    else:
        value = twisted(yaml.safe_load(path.read_text()), draw)
        path.write_bytes(yaml.dump(value, allow_unicode=True).encode("utf-8", "surrogatepass"))
    return [_of_yaml(name)]


def _of_yaml(name: str) -> list[str]:
    if name.startswith("on_insects"):
        return ["reproduce", "on_insects", "--list"]
    if name == "study.yaml":
        return ["study", "check", name]
    return ["encode", "t.csv", "--schema", name]


def _results(folder: Path, draw: random.Random) -> list[list[str]]:
    place = folder / "ran"
    path = draw.choice(
        [p for p in sorted(place.rglob("*")) if p.is_file() and p.suffix in (".jsonl", ".json", ".yaml", ".npz")]
    )
    if path.name == "results.jsonl" and draw.random() < 0.6:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines[0] = twisted(lines[0], draw)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    else:
        path.write_bytes(bent(path.read_bytes(), draw))
    return [
        draw.choice((["study", "status", "ran"], ["study", "results", "ran", "--csv"], ["study", "results", "ran"]))
    ]


def _corpus(folder: Path, draw: random.Random, number: int) -> list[list[str]]:
    """An input that failed once, by the number of its file."""
    path = sorted(CORPUS.iterdir())[number]
    kind = path.name.partition("--")[0]
    if kind == "table":
        place = folder / f"corpus{''.join(path.suffixes[-1:])}"
        shutil.copyfile(path, place)
        return [["schema", place.name], ["predict", "m", place.name, "--partial", "--out", "p.csv"]]
    if kind == "yaml":
        shutil.copyfile(path, folder / "study.yaml")
        return [["study", "check", "study.yaml"], ["encode", "t.csv", "--schema", "study.yaml"]]
    if kind == "media":
        shutil.copyfile(path, folder / "media" / f"0{path.suffix}")
        return [["predict", "media_model", "t.csv", "--out", "p.csv"]]
    if kind == "archive":
        shutil.copyfile(path, folder / "media.zip")
        return [["predict", "media_model", "t.csv", "--out", "p.csv", "--root", "media.zip"]]
    if kind == "results":
        shutil.copyfile(path, folder / "ran" / "results.jsonl")
        return [["study", "status", "ran"], ["study", "results", "ran"]]
    raise SystemExit(f"{path}: its name must begin with table--, yaml--, media--, archive-- or results--")


KINDS: dict[str, Callable[[Path, random.Random], list[list[str]]]] = {
    "table": _table,
    "media": _media,
    "archive": _archive,
    "model": _model,
    "yaml": _yaml,
    "results": _results,
}


class Mutations:
    """One changed input for each seed; the first seeds are the corpus."""

    def __init__(self, inputs: Path, work: Path) -> None:
        """``inputs``: as ``place.make`` leaves it."""
        self._inputs, self._work = inputs, work
        self._kept = len(list(CORPUS.iterdir()))

    def __call__(self, seed: int) -> dict[str, Any]:
        """Make the input, read it, and say what went wrong."""
        draw, folder = random.Random(seed), self._fresh()
        kind = "corpus" if seed < self._kept else list(KINDS)[seed % len(KINDS)]
        commands = _corpus(folder, draw, seed) if kind == "corpus" else KINDS[kind](folder, draw)
        outside = _outside(self._work)
        faults, codes, seconds = [], [], 0.0
        for arguments in commands:
            more = ["--store", "none"] if arguments[0] in ("predict", "encode", "evaluate") else []
            ended = run([*arguments, *more], folder).judge()
            faults += [f"{' '.join(arguments)}: {fault}" for fault in ended.faults]
            codes.append(ended.code)
            seconds += ended.seconds
        faults += [f"wrote outside its folder: {name}" for name in _outside(self._work) - outside]
        return {
            "part": "mutations",
            "seed": seed,
            "kind": kind,
            "codes": codes,
            "seconds": round(seconds, 2),
            "faults": faults,
        }

    def _fresh(self) -> Path:
        folder = self._work / "input"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self._inputs, folder)
        for file in self._work.glob("input.*"):
            file.unlink()
        return folder


def _outside(work: Path) -> set[str]:
    return {p.name for p in work.iterdir() if not p.name.startswith("input.")}
