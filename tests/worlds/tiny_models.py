"""Builds small but real CLIP-like model folders: seeded weights, ONNX, in milliseconds.

The folder has what a published one has (model info with digests, tokenizer, label sets, a parity
set), and its expected vectors come from Pillow, numpy and onnxruntime used directly, never from
the packages under test. `pyproject.toml` makes this module importable as `tiny_models`.
"""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

OPSET = 17
IR_VERSION = 8
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
START, END = "<|startoftext|>", "<|endoftext|>"
SPLIT = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d"
    r"|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)

CLASSES = ("cat", "dog", "red car", "green tree", "house by the sea", "bowl of soup")
SPECIES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("Animalia", "Chordata", "Aves", "Passeriformes", "Muscicapidae", "Erithacus", "rubecula"),
     "European Robin"),
    (("Animalia", "Chordata", "Aves", "Sphenisciformes", "Spheniscidae", "Aptenodytes", "forsteri"),
     "Emperor Penguin"),
    (("Animalia", "Arthropoda", "Insecta", "Lepidoptera", "Nymphalidae", "Danaus", "plexippus"),
     "Monarch"),
    (("Animalia", "Arthropoda", "Insecta", "Lepidoptera", "Nymphalidae", "Morpho", "menelaus"), ""),
    (("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Felis", "catus"),
     "Domestic Cat"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TinyModel:
    """What to build; two specs that differ in `seed` give two embedding spaces.

    `label_sets` maps a name to a list of class names or of `[lineage, common name]` entries.
    `ship_vectors` False leaves their matrices to be computed by `prepare`. `score` is the model
    info's own section, in place of the scale.
    """

    name: str = "tiny-clip"
    model_type: str = "clip"
    dim: int = 32
    image_size: int = 32
    context_length: int = 24
    logit_scale: float = 50.0
    score: dict[str, object] | None = None
    resize_mode: str = "shortest"
    seed: int = 7
    label_sets: dict[str, Sequence[object]] = field(
        default_factory=lambda: {"tiny-classes": CLASSES}
    )
    template: str = "a photo of a {}"
    ship_vectors: bool = True
    parity: bool = True


def a_bioclip(**changes: object) -> TinyModel:
    """A second model: another space, a label set with lineages."""
    values: dict[str, object] = {
        "name": "tiny-bioclip",
        "model_type": "bioclip",
        "seed": 11,
        "label_sets": {"tiny-species": SPECIES},
    }
    return TinyModel(**{**values, **changes})  # type: ignore[arg-type]


def write_model(cache_dir: Path, spec: TinyModel | None = None) -> Path:
    """Write `{cache_dir}/models/{name}` and return that folder."""
    spec = spec or TinyModel()
    root = cache_dir / "models" / spec.name
    (root / "onnx").mkdir(parents=True)
    onnx.save(vision_graph(spec), root / "onnx" / "vision.fp32.onnx")
    onnx.save(text_graph(spec), root / "onnx" / "text.fp32.onnx")
    a_tokenizer().save(str(root / "tokenizer.json"))
    datasets = _write_label_sets(root, spec)
    parity = _write_parity(root, spec) if spec.parity else None
    write_model_info(root, spec, datasets, parity)
    return root


def write_model_info(
    root: Path, spec: TinyModel, datasets: dict[str, object], parity: dict[str, object] | None
) -> None:
    """Record sizes and digests of every file under `root` in `model_info.json`."""
    info_path = root / "model_info.json"
    paths = sorted(p for p in root.rglob("*") if p.is_file() and p != info_path)
    files = {
        p.relative_to(root).as_posix(): {
            "size": p.stat().st_size,
            "sha256": hashlib.sha256(p.read_bytes()).hexdigest(),
        }
        for p in paths
    }
    lumen: dict[str, object] = {
        "files": files,
        "preprocess": preprocess_cfg(spec),
        **({"score": spec.score} if spec.score else {"logit_scale": spec.logit_scale}),
        "context_length": spec.context_length,
    }
    if parity is not None:
        lumen["parity"] = parity
    info = {
        "name": spec.name,
        "version": "1.0.0",
        "description": "A tiny model with seeded weights, for tests",
        "model_type": spec.model_type,
        "source": {"format": "custom", "repo_id": f"tests/{spec.name}"},
        "runtimes": {
            "onnx": {
                "available": True,
                "files": ["onnx/vision.fp32.onnx", "onnx/text.fp32.onnx", "tokenizer.json"],
            }
        },
        "embedding_dim": spec.dim,
        "datasets": datasets,
        "extra_metadata": {"lumen": lumen},
    }
    info_path.write_text(json.dumps(info, indent=2))


def spoil_parity(root: Path) -> None:
    """Let the golden set hold other vectors than the model gives, and its digests agree."""
    vectors = root / "parity" / "vectors.npy"
    np.save(vectors, np.roll(np.load(vectors), 1, axis=0))
    info = json.loads((root / "model_info.json").read_text())
    parity = info["extra_metadata"]["lumen"]["parity"]
    write_model_info(root, TinyModel(), info["datasets"], parity)


def ignore_input(root: Path, graph: str = "vision") -> None:
    """Let a tower of a model without a golden set answer the same for everything."""
    path = root / "onnx" / f"{graph}.fp32.onnx"
    model = onnx.load(path)
    last = model.graph.node[-1]
    nothing = numpy_helper.from_array(np.zeros(1, np.float32), "nothing")
    always = numpy_helper.from_array(np.arange(1, 33, dtype=np.float32), "always")
    model.graph.initializer.extend([nothing, always])
    wanted, last.output[0] = last.output[0], "own"
    model.graph.node.append(helper.make_node("Mul", ["own", "nothing"], ["none"]))
    model.graph.node.append(helper.make_node("Add", ["none", "always"], [wanted]))
    onnx.save(model, path)
    info = json.loads((root / "model_info.json").read_text())
    write_model_info(root, TinyModel(), info["datasets"], None)


def preprocess_cfg(spec: TinyModel) -> dict[str, object]:
    """open_clip's own description of the image transform."""
    return {
        "size": spec.image_size,
        "mode": "RGB",
        "mean": list(MEAN),
        "std": list(STD),
        "interpolation": "bicubic",
        "resize_mode": spec.resize_mode,
        "fill_color": 0,
    }


def a_picture(seed: int = 0, width: int = 80, height: int = 60) -> Image.Image:
    """A seeded picture: soft colour fields with a darker disc, unlike any other seed's."""
    rng = np.random.default_rng(seed)
    field_ = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    picture = np.asarray(field_.resize((width, height), Image.Resampling.BICUBIC)).copy()
    y, x = np.mgrid[0:height, 0:width]
    centre = rng.uniform(0.3, 0.7, 2) * (height, width)
    disc = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < (0.22 * height) ** 2
    picture[disc] = rng.integers(0, 256, 3)
    return Image.fromarray(picture)


def encoded(picture: Image.Image, image_format: str = "JPEG", **options: object) -> bytes:
    """The bytes of `picture` in a container format that Pillow writes."""
    out = io.BytesIO()
    picture.save(out, image_format, **options)
    return out.getvalue()


def a_jpeg(seed: int = 0, width: int = 80, height: int = 60) -> bytes:
    """A seeded JPEG."""
    return encoded(a_picture(seed, width, height), quality=92)


def vision_graph(spec: TinyModel) -> onnx.ModelProto:
    """pixel_values [N, 3, S, S] float32 -> image_embeds [N, dim], by convolutions and a pool."""
    rng = np.random.default_rng(spec.seed)
    weights = {
        "w1": rng.normal(0, 0.2, (24, 3, 4, 4)),
        "w2": rng.normal(0, 0.2, (48, 24, 3, 3)),
        "head": rng.normal(0, 0.3, (48, spec.dim)),
    }
    nodes = [
        helper.make_node("Conv", ["pixel_values", "w1"], ["c1"], strides=[4, 4]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("Tanh", ["c2"], ["t2"]),
        helper.make_node("GlobalAveragePool", ["t2"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], ["image_embeds"]),
    ]
    side = spec.image_size
    shape = ["batch", 3, side, side]
    return _model(nodes, weights, ("pixel_values", TensorProto.FLOAT, shape), "image_embeds", spec)


def text_graph(spec: TinyModel) -> onnx.ModelProto:
    """input_ids [N, L] int64 -> text_embeds [N, dim]: the mean over tokens that are not pad."""
    rng = np.random.default_rng(spec.seed + 1000)
    width, vocabulary = 48, a_tokenizer().get_vocab_size()
    weights = {
        "tokens": rng.normal(0, 1.0, (vocabulary, width)),
        "positions": rng.normal(0, 0.1, (spec.context_length, width)),
        "head": rng.normal(0, 0.3, (width, spec.dim)),
    }
    nodes = [
        helper.make_node("Gather", ["tokens", "input_ids"], ["t0"]),
        helper.make_node("Add", ["t0", "positions"], ["t1"]),
        helper.make_node("Tanh", ["t1"], ["t2"]),
        helper.make_node("Cast", ["input_ids"], ["present"], to=TensorProto.BOOL),
        helper.make_node("Cast", ["present"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["mask3"]),
        helper.make_node("Mul", ["t2", "mask3"], ["t3"]),
        helper.make_node("ReduceSum", ["t3", "middle"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["mask", "middle"], ["count"], keepdims=1),
        helper.make_node("Div", ["sum", "count"], ["mean"]),
        helper.make_node("MatMul", ["mean", "head"], ["text_embeds"]),
    ]
    axes = {"last": np.array([2], np.int64), "middle": np.array([1], np.int64)}
    shape = ["batch", spec.context_length]
    graph_input = ("input_ids", TensorProto.INT64, shape)
    return _model(nodes, {**weights, **axes}, graph_input, "text_embeds", spec)


def a_tokenizer() -> Tokenizer:
    """CLIP's kind of byte-level BPE with a few merges of its own; token 0 is `!`, as in CLIP."""
    letters = _byte_letters()
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges = [
        ("p", "h"), ("o", "t"), ("ot", "o</w>"), ("ph", "oto</w>"), ("o", "f</w>"), ("c", "a"),
        ("ca", "t</w>"), ("d", "o"), ("do", "g</w>"), ("t", "h"), ("th", "e</w>"),
    ]  # fmt: skip
    vocabulary += [a + b for a, b in merges] + [START, END]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={token: i for i, token in enumerate(vocabulary)},
            merges=merges,
            end_of_word_suffix="</w>",
            unk_token=END,
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([START, END])
    return tokenizer


def text_vectors(root: Path, texts: Sequence[str]) -> NDArray[np.float32]:
    """Unit text vectors of a written model, computed here from plain ASCII texts."""
    info = json.loads((root / "model_info.json").read_text()) if _has_info(root) else None
    context = info["extra_metadata"]["lumen"]["context_length"] if info else None
    session = _session(root / "onnx" / "text.fp32.onnx")
    context = context or session.get_inputs()[0].shape[1]
    tokenizer = Tokenizer.from_file(str(root / "tokenizer.json"))
    start, end = tokenizer.token_to_id(START), tokenizer.token_to_id(END)
    ids = np.zeros((len(texts), context), np.int64)
    for row, text in enumerate(texts):
        body = tokenizer.encode(text, add_special_tokens=False).ids[: context - 2]
        ids[row, : len(body) + 2] = [start, *body, end]
    return _units(np.concatenate([session.run(None, {"input_ids": one[None]})[0] for one in ids]))


def image_vectors(
    root: Path, pictures: Sequence[Image.Image], spec: TinyModel
) -> NDArray[np.float32]:
    """Unit image vectors of a written model for RGB pictures, by open_clip's own steps."""
    session = _session(root / "onnx" / "vision.fp32.onnx")
    pixels = [_pixels(picture, spec) for picture in pictures]
    return _units(
        np.concatenate([session.run(None, {"pixel_values": one[None]})[0] for one in pixels])
    )


def square(picture: Image.Image, side: int, resize_mode: str, resample: int) -> Image.Image:
    """open_clip's geometry by Pillow alone, on the whole picture."""
    size = (side, side)
    if resize_mode == "shortest":
        short = min(picture.size)
        size = tuple(side if edge == short else int(side * edge / short) for edge in picture.size)
    left, top = (round((edge - side) / 2.0) for edge in size)
    resized = picture.convert("RGB").resize(size, resample)
    return resized.crop((left, top, left + side, top + side))


def levels_apart(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How far two pictures are from each other, value by value."""
    return np.abs(a.astype(int) - b.astype(int))


def _pixels(picture: Image.Image, spec: TinyModel) -> NDArray[np.float32]:
    crop = square(picture, spec.image_size, spec.resize_mode, Image.Resampling.BICUBIC)
    normal = (np.asarray(crop, np.float32) / 255 - np.float32(MEAN)) / np.float32(STD)
    return np.ascontiguousarray(normal.transpose(2, 0, 1))


def _write_label_sets(root: Path, spec: TinyModel) -> dict[str, object]:
    datasets: dict[str, object] = {}
    for name, entries in spec.label_sets.items():
        folder = root / "labels"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(list(entries)))
        datasets[name] = {"labels": f"labels/{name}.json"}
        vectors = f"labels/{name}.npy"
        texts = [spec.template.format(label_text(entry)) for entry in entries]
        if spec.ship_vectors:
            np.save(root / vectors, text_vectors(root, texts))
        datasets[name] = {"labels": f"labels/{name}.json", "embeddings": vectors}
    return datasets


def label_text(entry: object) -> str:
    """What a label is called: its name, its common name, or `Genus epithet`."""
    if isinstance(entry, str):
        return entry
    lineage, common = entry  # type: ignore[misc]
    return common or f"{lineage[5]} {lineage[6]}"


def _write_parity(root: Path, spec: TinyModel) -> dict[str, object]:
    folder = root / "parity"
    folder.mkdir()
    side = int(spec.image_size * 1.5)
    pictures = [a_picture(900 + i, side + 6 * i, side) for i in range(3)]
    texts = ["a photo of a cat", "the dog"]
    for i, picture in enumerate(pictures):
        picture.save(folder / f"{i}.png")
    vectors = np.concatenate([image_vectors(root, pictures, spec), text_vectors(root, texts)])
    np.save(folder / "vectors.npy", vectors)
    inputs = [{"image": f"parity/{i}.png"} for i in range(len(pictures))]
    inputs += [{"text": text} for text in texts]
    return {"inputs": inputs, "vectors": "parity/vectors.npy"}


def _model(nodes, weights, graph_input, output, spec):
    initializers = [
        numpy_helper.from_array(w if w.dtype == np.int64 else w.astype(np.float32), name)
        for name, w in weights.items()
    ]
    graph = helper.make_graph(
        nodes,
        spec.name,
        [helper.make_tensor_value_info(*graph_input)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", spec.dim])],
        initializers,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    onnx.checker.check_model(model)
    return model


def _session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _units(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _has_info(root: Path) -> bool:
    return (root / "model_info.json").is_file()


def _byte_letters() -> list[str]:
    """GPT-2's printable letter for each byte, `!` first."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(rest))]
