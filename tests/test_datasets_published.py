"""Data sets in the layout that they are published in, on tiny made files of it."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import tarfile
import wave
import zipfile
from pathlib import Path

import numpy as np
import pytest

from plait.base import registry
from plait.base.errors import TableError
from plait.datasets.fetch import listed

RNG = np.random.default_rng(0)


def zipped(path: Path, members: dict[str, str | bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def tarred(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def record(*labels: int, red: int) -> bytes:
    """A picture that is red in its first row, whatever else."""
    picture = RNG.integers(0, 256, (3, 32, 32), dtype=np.uint8)
    picture[0, 0], picture[1, 0] = red, 7
    return bytes(labels) + picture.tobytes()


def cifar10(root: Path) -> None:
    names = {f"cifar-10-batches-bin/data_batch_{i}.bin": record(i, red=i) + record(0, red=9) for i in range(1, 6)}
    names["cifar-10-batches-bin/test_batch.bin"] = record(9, red=3)
    names["cifar-10-batches-bin/batches.meta.txt"] = (
        b"airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n"
    )
    tarred(root / "cifar-10" / "cifar-10-binary.tar.gz", names)


def cifar100(root: Path) -> None:
    tarred(
        root / "cifar-100" / "cifar-100-binary.tar.gz",
        {
            "cifar-100-binary/train.bin": record(1, 2, red=5) + record(0, 0, red=6),
            "cifar-100-binary/test.bin": record(1, 1, red=8),
            "cifar-100-binary/coarse_label_names.txt": b"fish\nflowers\n",
            "cifar-100-binary/fine_label_names.txt": b"shark\norchid\ntulip\n",
        },
    )


def tiny_imagenet(root: Path) -> None:
    top = "tiny-imagenet-200"
    words = "n01\tgoldfish, Carassius auratus\nn02\tcrane\nn03\tcrane, bird\nn09\tnobody\n"
    marked = "val_0.JPEG\tn02\t0\t0\t9\t9\nval_1.JPEG\tn01\t0\t0\t9\t9\n"
    pictures = {f"{top}/train/{w}/images/{w}_{i}.JPEG": b"x" for w in ("n01", "n02", "n03") for i in range(2)}
    boxes = {f"{top}/train/n01/n01_boxes.txt": "", f"{top}/test/images/test_0.JPEG": b"x"}
    told = {f"{top}/words.txt": words, f"{top}/val/val_annotations.txt": marked, f"{top}/val/images/val_0.JPEG": b"x"}
    zipped(root / "tiny-imagenet" / f"{top}.zip", {**pictures, **boxes, **told})


def qqp(root: Path) -> None:
    head = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
    train = head + '1\t1\t2\tWhat is "a" ?\tWhat is b ?\t0\n2\t3\t4\tHow so?\tWhy so?\t1\n3\t5\t6\tonly one\t\t0\n'
    members = {
        "QQP/train.tsv": train,
        "QQP/dev.tsv": head + "9\t1\t2\tWho?\tWhom?\t1\n",
        "QQP/test.tsv": "id\tquestion1\tquestion2\n",
    }
    zipped(root / "qqp" / "QQP-clean.zip", members)


def coco(root: Path) -> None:
    def told(names: list[str]) -> str:
        images = [{"id": i, "file_name": n} for i, n in enumerate(names)]
        lines = [
            {"image_id": i, "id": 10 * i + k, "caption": f" A {n} {k}. "} for k in range(3) for i, n in enumerate(names)
        ]
        return json.dumps({"images": images, "annotations": lines})

    parts = {"train": ["000000000009.jpg", "000000000025.jpg"], "val": ["000000000139.jpg"]}
    zipped(
        root / "coco" / "annotations_trainval2017.zip",
        {f"annotations/captions_{p}2017.json": told(n) for p, n in parts.items()},
    )
    for part, names in parts.items():
        zipped(root / "coco" / f"{part}2017.zip", {f"{part}2017/{n}": b"x" for n in names})


def flickr8k(root: Path) -> None:
    names = ["1_a.jpg", "2_b.jpg", "3_c.jpg", "4_d.jpg"]
    tokens = "".join(f"{n}#{k}\tA thing {k} .\n" for n in [*names, "2258277193_586949ec62.jpg.1"] for k in range(2))
    lists = {f"Flickr_8k.{p}Images.txt": f"{n}\n" for p, n in zip(("train", "dev", "test"), names, strict=False)}
    zipped(root / "flickr8k" / "Flickr8k_text.zip", {"Flickr8k.token.txt": tokens, **lists})
    zipped(root / "flickr8k" / "Flickr8k_Dataset.zip", {f"Flicker8k_Dataset/{n}": b"x" for n in names})


def stsb(root: Path) -> None:
    (root / "stsbenchmark").mkdir()
    for part in ("train", "dev", "test"):
        line = 'main-captions\tMSRvid\t2012test\t0001\t2.500\tA "plane\tA bird\tsource\n'
        (root / "stsbenchmark" / f"sts-{part}.csv").write_text(line + line.replace("2.500", "5.0"))


def av_digits(root: Path) -> None:
    """MNIST's four files, packed by gzip or not, and a folder of recordings."""
    (root / "mnist").mkdir()
    for part, rows in (("train", 20), ("t10k", 10)):
        images = np.arange(rows * 784, dtype=np.uint32).astype(np.uint8).tobytes()
        labels = (np.arange(rows) % 10).astype(np.uint8).tobytes()
        head = np.array([2051, rows, 28, 28], ">i4").tobytes()
        (root / "mnist" / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + images))
        (root / "mnist" / f"{part}-labels-idx1-ubyte").write_bytes(np.array([2049, rows], ">i4").tobytes() + labels)
    (root / "fsdd" / "recordings").mkdir(parents=True)
    for name, sound in recordings().items():
        (root / "fsdd" / "recordings" / name).write_bytes(sound)


def recordings() -> dict[str, bytes]:
    sounds = {}
    for speaker, digit, number in itertools.product(("george", "lucas"), range(10), (0, 7)):
        place = io.BytesIO()
        with wave.open(place, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(np.full(4 + digit, 100 * digit + number, "<i2").tobytes())
        sounds[f"{digit}_{speaker}_{number}.wav"] = place.getvalue()
    return sounds


def esc50(root: Path) -> None:
    meta = "filename,fold,target,category,esc10,src_file,take\n1-032-A-0.wav,1,0,dog,True,032,A\n2-7-B-3.wav,2,3,cow,False,7,B\n"
    top = "ESC-50-master"
    members = {f"{top}/meta/esc50.csv": meta, f"{top}/audio/1-032-A-0.wav": b"x", f"{top}/audio/2-7-B-3.wav": b"x"}
    zipped(root / "esc50" / f"{top}.zip", members)


MADE = {
    "av_digits": av_digits,
    "esc50": esc50,
    "cifar10_binary": cifar10,
    "cifar100": cifar100,
    "tiny_imagenet": tiny_imagenet,
    "qqp": qqp,
    "coco_captions": coco,
    "flickr8k_full": flickr8k,
    "stsb": stsb,
}


@pytest.mark.parametrize("name", MADE)
def test_every_column_has_its_place_and_every_file_is_told(name: str, tmp_path: Path) -> None:
    MADE[name](tmp_path)
    cls = registry.find("datasets", name)
    loaded = cls().load(tmp_path)
    for target in loaded.schemas:
        rows, schema = loaded.of(target)
        used = [column for modality in schema.modalities for column in modality.columns]
        assert sorted([*used, *schema.ignored, *([schema.target] if schema.target else [])]) == sorted(rows.columns)
    assert loaded.split is None or set(loaded.frame[loaded.split]) >= {"train", "test"}
    if name != "stsb":
        assert all(file.existing(tmp_path) for file in cls.files)
        [state] = [state for state in listed(tmp_path) if state.name == name]
        assert (state.state, state.missing) == ("here", ())


def test_pictures_of_cifar_are_those_of_the_records(tmp_path: Path) -> None:
    cifar10(tmp_path)
    frame = registry.find("datasets", "cifar10_binary")().load(tmp_path).frame
    assert frame["split"].tolist() == ["train"] * 10 + ["test"]
    assert frame["label"].tolist()[:4] == ["automobile", "airplane", "bird", "airplane"]
    assert frame["label"].iloc[-1] == "truck"
    assert frame["image"].iloc[2].shape == (32, 32, 3)
    assert (frame["image"].iloc[2][0, :, :2] == [2, 7]).all()
    cifar100(tmp_path)
    frame = registry.find("datasets", "cifar100")().load(tmp_path).frame
    assert list(zip(frame["coarse"], frame["fine"], strict=True)) == [
        ("flowers", "tulip"),
        ("fish", "shark"),
        ("flowers", "orchid"),
    ]


def test_tiny_imagenet_takes_its_labelled_parts_and_names_that_differ(tmp_path: Path) -> None:
    tiny_imagenet(tmp_path)
    frame = registry.find("datasets", "tiny_imagenet")().load(tmp_path).frame
    assert frame["split"].value_counts().to_dict() == {"train": 6, "test": 2}
    assert frame["label"].unique().tolist() == ["goldfish", "crane (n02)", "crane (bird)"]
    assert frame["image"].iloc[-2].endswith("tiny-imagenet-200.zip!tiny-imagenet-200/val/images/val_0.JPEG")


def test_qqp_has_glues_parts_and_no_question_that_is_missing(tmp_path: Path) -> None:
    qqp(tmp_path)
    frame = registry.find("datasets", "qqp")().load(tmp_path).frame
    assert frame.to_dict("list") == {
        "a": ['What is "a" ?', "How so?", "Who?"],
        "b": ["What is b ?", "Why so?", "Whom?"],
        "paraphrase": ["no", "yes", "yes"],
        "split": ["train", "train", "test"],
    }


def test_captions_of_coco_are_paired_with_pictures_or_with_each_other(tmp_path: Path) -> None:
    coco(tmp_path)
    cls = registry.find("datasets", "coco_captions")
    frame = cls().load(tmp_path).frame
    assert len(frame) == 9
    assert frame["caption"].tolist()[:3] == [f"A 000000000009.jpg {k}." for k in range(3)]
    assert frame["image"].iloc[-1].endswith("val2017.zip!val2017/000000000139.jpg")
    (tmp_path / "coco" / "train2017.zip").unlink()
    pairs = cls(pairs="captions").load(tmp_path).frame  # no picture is needed
    assert len(pairs) == 6
    assert pairs.loc[1, ["a", "b"]].tolist() == ["A 000000000009.jpg 1.", "A 000000000009.jpg 2."]
    assert cls(photographs=1, pairs="captions").load(tmp_path).frame["photograph"].nunique() == 1


def test_flickr8k_has_its_official_parts(tmp_path: Path) -> None:
    flickr8k(tmp_path)
    frame = registry.find("datasets", "flickr8k_full")().load(tmp_path).frame
    assert frame.groupby("split")["photograph"].unique().map(list).to_dict() == {
        "train": ["1_a.jpg"],
        "valid": ["2_b.jpg"],
        "test": ["3_c.jpg"],
    }


def test_sentences_of_the_published_benchmark_keep_their_quotes(tmp_path: Path) -> None:
    stsb(tmp_path)
    frame = registry.find("datasets", "stsb")().load(tmp_path).frame
    assert frame.iloc[0].tolist() == ['A "plane', "A bird", 2.5, "train"]


def test_digits_are_those_of_the_published_files(tmp_path: Path) -> None:
    av_digits(tmp_path)
    frame = registry.find("datasets", "av_digits")(pairs=30, test_pairs=10).load(tmp_path).frame
    for digit, image, (sound, rate), part, recording in zip(
        frame["digit"], frame["image"], frame["audio"], frame["split"], frame["recording"], strict=True
    ):
        row = int(np.flatnonzero([int(image[0, 0]) == (784 * i) % 256 for i in range(20)])[0])
        assert row % 10 == int(digit) or part == "train"
        number = 0 if part == "test" else 7
        assert (rate, sound.tolist()) == (8000, [100 * int(digit) + number] * (4 + int(digit)))
        assert recording.endswith(f"_{number}")
    packed = tmp_path / "packed"
    av_digits_of = {f"free-spoken-digit-dataset-1.0.10/recordings/{name}": data for name, data in recordings().items()}
    zipped(packed / "fsdd" / "free-spoken-digit-dataset-1.0.10.zip", av_digits_of)
    (packed / "mnist").symlink_to(tmp_path / "mnist")
    again = registry.find("datasets", "av_digits")(pairs=30, test_pairs=10).load(packed).frame
    assert again["recording"].tolist() == frame["recording"].tolist()


def test_sounds_of_esc50_keep_their_folds(tmp_path: Path) -> None:
    esc50(tmp_path)
    found = registry.find("datasets", "esc50")().load(tmp_path)
    assert found.frame[["label", "fold", "recording"]].to_numpy().tolist() == [["dog", 1, "032"], ["cow", 2, "7"]]
    assert found.frame["audio"][1].endswith("ESC-50-master.zip!ESC-50-master/audio/2-7-B-3.wav")
    assert (found.folds, found.groups) == ("fold", "recording")


@pytest.mark.parametrize(
    ("name", "path", "data", "match"),
    [
        ("av_digits", "mnist/t10k-labels-idx1-ubyte", b"\0\0\x08\x01\0\0\0\x0bxx", "2 bytes for 11; half a download"),
        ("av_digits", "mnist/t10k-labels-idx1-ubyte", b"\0\0\x08\x03\0\0\0\x01", "begins with 2051, expected 2049"),
        ("av_digits", "mnist/train-images-idx3-ubyte.gz", b"half", "ubyte.gz is damaged, or no .gz file"),
        ("av_digits", "fsdd/recordings/0_george_0.wav", b"RIFF", "0_george_0.wav: no wav file"),
        ("av_digits", "fsdd/recordings/nought.wav", b"", "expected DIGIT_SPEAKER_NUMBER.wav"),
        ("av_digits", "fsdd/fsdd.npz", b"half", "fsdd.npz is damaged, or no .npz file"),
        ("esc50", "esc50/ESC-50-master.zip", b"half", "ESC-50-master.zip is damaged, or no .zip file"),
        (
            "cifar100",
            "cifar-100/cifar-100-binary.tar.gz",
            b"half",
            "binary.tar.gz is damaged, or no .gz file .*bring it again",
        ),
        ("qqp", "qqp/QQP-clean.zip", b"half", "QQP-clean.zip is damaged, or no .zip file"),
        (
            "tiny_imagenet",
            "tiny-imagenet/tiny-imagenet-200.zip",
            b"half",
            "tiny-imagenet-200.zip is damaged, or no .zip file",
        ),
        ("coco_captions", "coco/annotations_trainval2017.zip", b"half", "trainval2017.zip is damaged, or no .zip file"),
        ("flickr8k_full", "flickr8k/Flickr8k_text.zip", b"half", "Flickr8k_text.zip is damaged, or no .zip file"),
        ("stsb", "stsbenchmark/sts-dev.csv", b"a\tb\n", "line 1: 2 columns, expected 7 or more"),
    ],
)
def test_half_a_file_is_one_line(name: str, path: str, data: bytes, match: str, tmp_path: Path) -> None:
    MADE[name](tmp_path)
    (tmp_path / path).write_bytes(data)
    with pytest.raises(TableError, match=match):
        registry.find("datasets", name)().load(tmp_path)


def test_records_of_another_layout_are_one_line(tmp_path: Path) -> None:
    cifar100(tmp_path)
    names = {"train.bin": b"12", "test.bin": b"", "coarse_label_names.txt": b"a", "fine_label_names.txt": b"a"}
    tarred(tmp_path / "cifar-100" / "cifar-100-binary.tar.gz", names)
    with pytest.raises(TableError, match=r"train.bin: 2 bytes, expected records of 3,074"):
        registry.find("datasets", "cifar100")().load(tmp_path)
    tarred(tmp_path / "cifar-100" / "cifar-100-binary.tar.gz", {"train": b""})
    with pytest.raises(TableError, match=r"test.bin.* not in it; expected CIFAR's binary version"):
        registry.find("datasets", "cifar100")().load(tmp_path)
