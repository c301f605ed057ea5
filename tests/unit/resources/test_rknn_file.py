"""What an RKNN file says of itself, and what a model is refused for."""

from dataclasses import replace

import pytest
from rknn_files import RknnSpec, RknnTensor, write_rknn

from lumen_resources.errors import ResourceValidationError, RuntimeNotSupportedError
from lumen_resources.model.layouts import ChosenFiles, Preprocess
from lumen_resources.model.rknn_file import RknnPort, check_rknn, read_rknn

MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.1)
LEVEL_MEAN, LEVEL_STD = [127.5, 102.0, 76.5], [63.75, 51.0, 25.5]
PREPROCESS = Preprocess(32, "shortest", "bicubic", MEAN, STD)
PIXELS = RknnTensor("pixels", [1, 3, 32, 32], mean=LEVEL_MEAN, std=LEVEL_STD)
IDS = RknnTensor("ids", [1, 24], "int64")
VECTOR = RknnTensor("vector", [1, 16])
VISION, TEXT = RknnSpec([PIXELS], [VECTOR]), RknnSpec([IDS], [VECTOR])


def written(tmp_path, vision=VISION, text=TEXT):
    write_rknn(tmp_path / "vision.rknn", vision)
    write_rknn(tmp_path / "text.rknn", text)
    return ChosenFiles(vision="vision.rknn", text="text.rknn")


def checked(tmp_path, chosen, target="rk3588", dim=16):
    return check_rknn(lambda path: tmp_path / path, chosen, PREPROCESS, dim, target)


def test_it_names_chip_toolkit_and_tensors_and_how_a_picture_is_normalised(tmp_path):
    file = read_rknn(write_rknn(tmp_path / "a.rknn", VISION))

    assert (file.targets, file.version) == (("rk3588",), "2.3.2")
    assert file.outputs == (RknnPort("vector", (1, 16), "float32"),)
    assert file.inputs == (
        RknnPort("pixels", (1, 3, 32, 32), "float32", tuple(LEVEL_MEAN), tuple(LEVEL_STD)),
    )
    assert file.inputs[0].takes_levels


@pytest.mark.parametrize(
    ("pixels", "levels"),
    [
        (replace(PIXELS, mean=[], std=[]), False),
        (replace(PIXELS, mean=[0, 0, 0], std=[1, 1, 1]), False),
        (replace(PIXELS, mean=[0, 0, 0], std=[255, 255, 255]), True),
        (replace(PIXELS, mean=[], std=[], dtype="uint8"), True),
    ],
)
def test_it_wants_bytes_when_it_normalises_or_its_graph_took_bytes(tmp_path, pixels, levels):
    file = read_rknn(write_rknn(tmp_path / "a.rknn", replace(VISION, inputs=[pixels])))

    assert file.inputs[0].takes_levels is levels


def test_a_file_without_the_second_description_says_nothing_of_types(tmp_path):
    spec = replace(VISION, says_attributes=False)

    assert read_rknn(write_rknn(tmp_path / "a.rknn", spec)).inputs == (
        RknnPort("pixels", (1, 3, 32, 32)),
    )


def test_both_towers_fit_and_tell_the_text_length(tmp_path):
    assert checked(tmp_path, written(tmp_path)) == 24


def test_a_model_of_pictures_alone_has_no_text_length(tmp_path):
    assert checked(tmp_path, replace(written(tmp_path), text=None)) is None


def test_a_graph_with_channels_last_fits_too(tmp_path):
    pixels = replace(PIXELS, shape=[1, 32, 32, 3], mean=[], std=[], dtype="uint8")
    chosen = written(tmp_path, vision=replace(VISION, inputs=[pixels]))

    assert checked(tmp_path, chosen) == 24
    assert read_rknn(tmp_path / "vision.rknn").inputs[0].channels_last


def test_files_for_another_chip_are_refused_with_what_to_do(tmp_path):
    with pytest.raises(RuntimeNotSupportedError, match="made for rk3588, this device is rk3576"):
        checked(tmp_path, written(tmp_path), target="rk3576")


@pytest.mark.parametrize(
    ("vision", "text", "found"),
    [
        (replace(VISION, inputs=[replace(PIXELS, mean=[0, 0, 0])]), TEXT, "normalises with mean"),
        (replace(VISION, inputs=[replace(PIXELS, std=[255.0])]), TEXT, "normalises with mean"),
        (replace(VISION, inputs=[replace(PIXELS, shape=[1, 3, 64, 64])]), TEXT, r"\[1, 3, 64, 64"),
        (replace(VISION, inputs=[replace(PIXELS, shape=[4, 3, 32, 32])]), TEXT, "one item"),
        (replace(VISION, inputs=[]), TEXT, "takes nothing"),
        (
            replace(VISION, outputs=[replace(VECTOR, shape=[1, 8])]),
            TEXT,
            r"gives vector: float32 \[1, 8\]",
        ),
        (replace(VISION, outputs=[]), TEXT, "gives nothing"),
        (VISION, replace(TEXT, inputs=[replace(IDS, shape=[1, 24, 1])]), r"\[1, L\] is expected"),
        (VISION, replace(TEXT, inputs=[IDS, replace(IDS, name="m", shape=[1, 9])]), r"\[1, L\]"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(tmp_path, vision, text, found):
    with pytest.raises(ResourceValidationError, match=found):
        checked(tmp_path, written(tmp_path, vision, text))


GOOD = RknnSpec([PIXELS], [VECTOR])


def damaged(content: bytes, kind: str) -> bytes:
    return {
        "empty": b"",
        "short": content[:40],
        "onnx": b"\x08\x08" + content[2:],
        "cut": content[:-30],
        "huge graph": content[:16] + b"\xff" * 8 + content[24:],
        "no description": content[: 64 + int.from_bytes(content[16:24], "little") + 8],
    }[kind]


@pytest.mark.parametrize("kind", ["empty", "short", "onnx", "cut", "huge graph", "no description"])
def test_a_damaged_file_is_refused_with_a_sentence(tmp_path, kind):
    path = write_rknn(tmp_path / "a.rknn", GOOD)
    path.write_bytes(damaged(path.read_bytes(), kind))

    with pytest.raises(ResourceValidationError, match="Convert the model anew"):
        read_rknn(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"norm_tensor": None},
        {"norm_tensor": [{"tensor_id": [], "size": [1]}]},
        {"norm_tensor": []},
        {"graph": [{"left": "middle", "left_tensor_id": 0, "right_tensor_id": 0}]},
        {"graph": [{"left": "input", "left_tensor_id": 1e400, "right_tensor_id": 0}]},
        {"graph": {"a": 1}},
        {"version": None, "graph": 7},
    ],
)
def test_a_hostile_description_is_refused_with_a_sentence(tmp_path, changes):
    with pytest.raises(ResourceValidationError, match="cannot be read"):
        read_rknn(write_rknn(tmp_path / "a.rknn", replace(GOOD, changes=changes)))


def test_a_second_description_that_is_no_dict_is_passed_over(tmp_path):
    path = write_rknn(tmp_path / "a.rknn", GOOD)
    path.write_bytes(path.read_bytes().replace(b"'dtype'", b"dtype  "))

    assert read_rknn(path).inputs[0] == RknnPort("pixels", (1, 3, 32, 32))
