"""What is kept of a page that somebody else wrote."""

import pytest

from lumen_manifest.pod_reports import attestation_of, kept_page, progress_of, verified_of

PAGE = {
    "phase": "serving",
    "runtime": {"name": "onnx", "device": "cpu", "precision": "fp32", "parityCosine": 0.999},
    "modelId": "clip",
    "embeddingDim": 512,
    "embeddingSpace": "a" * 64,
    "tasks": ["clip_image_embed"],
    "files": {"revision": "main", "digest": "d" * 64, "bytes": 9, "license": "mit"},
}
PROGRESS = {
    "phase": "Fetching",
    "file": "model.onnx",
    "bytesDone": 7,
    "bytesTotal": 9,
    "rateBytesPerS": 1.5,
    "etaSeconds": 2,
}


@pytest.mark.parametrize("page", [PAGE, PROGRESS, PAGE | {"runtime": "onnx"}])
def test_all_that_is_read_is_kept(page):
    assert kept_page(page) == page


def test_what_nobody_reads_is_not_kept_and_so_is_no_change():
    page = {**PAGE, "now": 12345, "secrets": ["x"] * 1000, "files": {**PAGE["files"], "key": "x"}}

    assert kept_page(page) == PAGE


def test_only_texts_and_numbers_are_kept_and_none_is_long():
    page = {
        "phase": ["serving"],
        "modelId": {"password": "x"},
        "file": "f" * 100_000,
        "tasks": [{"password": "x"}, 7, None, "clip_image_embed", "t" * 1000, *["t"] * 1000],
        "files": {"revision": ["x"], "digest": None, "bytes": 9},
    }

    kept = kept_page(page)

    assert set(kept) == {"file", "tasks", "files"}
    assert len(kept["file"]) == 4096
    assert kept["files"] == {"bytes": 9}
    assert kept["tasks"][:2] == ["clip_image_embed", "t" * 256]
    assert len(kept["tasks"]) <= 64


@pytest.mark.parametrize("text", ["a\nb", "\x1b[2Jgone", "\x1b]0;title\x07", "a\u202eb", "\x00"])
def test_a_word_that_a_terminal_would_obey_is_no_word(text):
    page = PAGE | {"modelId": text, "tasks": [text], "runtime": {"name": "onnx", "device": text}}

    said = attestation_of(page)

    assert (said.model_id, said.tasks, said.device) == ("", (), "")
    assert progress_of({"phase": text}).phase == ""
    assert verified_of({"revision": text, "digest": text}).digest == ""
