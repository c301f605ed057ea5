"""What a damaged or lying array file may do: be refused, with a sentence, and nothing else."""

import io
import random
import struct
import zipfile

import numpy as np
import pytest
from model_sources import a_label_set

from lumen_resources.arrays import UnreadableArrayError, map_npy, read_npz
from lumen_resources.errors import LabelSetError, ResourceError
from lumen_resources.labels.checks import matrix_shape
from lumen_resources.labels.label_sets import load_labels, parse_labels

LIES = {
    "more rows than any file has": "{'descr':'<f4','fortran_order':False,'shape':(2**62,2)}",
    "more bytes than follow": "{'descr':'<f4','fortran_order':False,'shape':(2147483648,512)}",
    "fewer bytes than follow": "{'descr':'<f4','fortran_order':False,'shape':(1,2)}",
    "less than nothing": "{'descr':'<f4','fortran_order':False,'shape':(-1,512)}",
    "a number without end": f"{{'descr':'<f4','fortran_order':False,'shape':({'9' * 4000},2)}}",
    "truth for a length": "{'descr':'<f4','fortran_order':False,'shape':(True,2)}",
    "Python objects": "{'descr':'|O','fortran_order':False,'shape':(2,2)}",
    "no type": "{'descr':5,'fortran_order':False,'shape':(2,2)}",
    "brackets that never close": "(" * 9000,
    "a text that never closes": "'''abc",
    "lines that are no expression": "  a\n b",
}


def an_npy(header: str, body: bytes = b"\0" * 16) -> bytes:
    text = header.replace("2**62", str(2**62)).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def an_npz(**arrays: object) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def labels_of(tmp_path, content: bytes):
    path = tmp_path / "labels.npz"
    path.write_bytes(content)
    return load_labels(a_label_set(path))


@pytest.mark.parametrize("header", LIES.values(), ids=LIES.keys())
def test_a_header_that_lies_is_refused_with_one_short_line(tmp_path, header):
    path = tmp_path / "m.npy"
    path.write_bytes(an_npy(header))

    with pytest.raises(UnreadableArrayError) as refused:
        map_npy(path)
    assert 0 < len(str(refused.value)) <= 300
    assert "\n" not in str(refused.value)
    with pytest.raises(LabelSetError, match=r"m\.npy"):
        matrix_shape(path)


@pytest.mark.parametrize("header", LIES.values(), ids=LIES.keys())
def test_a_header_that_lies_inside_an_archive_is_refused_too(tmp_path, header):
    if header == LIES["fewer bytes than follow"]:
        header = "{'descr':'<f4','fortran_order':False,'shape':(9,2)}"
    path = tmp_path / "m.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("embeddings.npy", an_npy(header))

    with pytest.raises(LabelSetError, match=r"m\.npz"):
        matrix_shape(path)


def test_a_matrix_that_is_whole_is_mapped_as_it_was_written(tmp_path):
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.save(tmp_path / "m.npy", rows)
    (tmp_path / "m.npz").write_bytes(an_npz(embeddings=rows))

    assert map_npy(tmp_path / "m.npy").tolist() == rows.tolist()
    assert read_npz(tmp_path / "m.npz", ("vecs", "embeddings")).tolist() == rows.tolist()


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_random_damage_is_refused_or_read_and_never_anything_else(tmp_path, kind):
    rows = np.linspace(0, 1, 8, dtype=np.float32).reshape(4, 2)
    whole = io.BytesIO()
    np.save(whole, rows)
    content = whole.getvalue() if kind == "npy" else an_npz(embeddings=rows)
    chance = random.Random(4)
    path = tmp_path / f"m.{kind}"
    for _ in range(600):
        damaged = bytearray(content)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(min(len(content), 400))] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            matrix_shape(path)
        except ResourceError:
            continue


def test_an_archive_member_that_is_no_array_is_refused(tmp_path):
    path = tmp_path / "m.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../embeddings", b"no array")
        archive.writestr("embeddings", b"no array")

    with pytest.raises(LabelSetError):
        matrix_shape(path)
    assert [p.name for p in tmp_path.iterdir()] == ["m.npz"]


def test_the_names_of_an_archive_are_texts(tmp_path):
    assert labels_of(tmp_path, an_npz(labels=np.array(["cat", "dög"]))).names == ["cat", "dög"]


@pytest.mark.parametrize(
    "names",
    [
        np.array("cat"),
        np.array([["cat", "dog"]]),
        np.arange(3),
        np.array([b"cat"]),
        np.array([], "U1"),
        np.frombuffer(np.array([0xD800, 0x61], "<u4").tobytes(), "<U2"),
        np.frombuffer(np.array([0x7FFFFFFF, 0x61], "<u4").tobytes(), "<U2"),
        np.array(["x" * 2001]),
    ],
    ids=["one", "a table", "numbers", "bytes", "none", "half of a pair", "no Unicode", "long"],
)
def test_names_of_an_archive_that_are_none_are_refused(tmp_path, names):
    with pytest.raises(LabelSetError):
        labels_of(tmp_path, an_npz(labels=names))


@pytest.mark.parametrize("content", ["5", "null", '"abc"', "{}", "[]"])
def test_an_id2label_that_holds_no_names_is_refused(tmp_path, content):
    path = tmp_path / "labels.json"
    path.write_text(f'{{"id2label": {content}}}')

    with pytest.raises(LabelSetError):
        load_labels(a_label_set(path))


@pytest.mark.parametrize("form", ['["{}"]', '{{"0": "{}"}}', '[[["{}"], ""]]', '[[[], "{}"]]'])
def test_a_label_that_would_fill_every_answer_is_refused(tmp_path, form):
    path = tmp_path / "labels.json"
    path.write_text(form.format("x" * 2001))

    assert len(parse_labels(form.format("x" * 2000).encode())) == 1
    with pytest.raises(LabelSetError, match="2,001 characters"):
        load_labels(a_label_set(path))
