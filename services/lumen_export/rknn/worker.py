"""Runs inside the toolkit's environment: converts one graph, and simulates what came of it.

A script of that environment: it imports nothing of Lumen, and is started by its path with a job
(JSON) and the place of its answer. Lines on the first standard output are steps for people;
whatever the toolkit prints goes to the second.
"""

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

# What the toolkit reads and a graph may leave to its default, by operation.
_DEFAULTS: dict[str, dict[str, Any]] = {"LayerNormalization": {"axis": -1, "epsilon": 1e-5}}
_LEVELS = 255.0


def main() -> None:
    """Carry out the job of argv[1] and write the answer to argv[2]."""
    steps = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    answer = _carried_out(job, lambda text: print(text, file=steps))
    Path(sys.argv[2]).write_text(json.dumps(answer), "utf-8")


def _carried_out(job: dict[str, Any], say: Any) -> dict[str, Any]:
    say("loading rknn-toolkit2")
    from rknn.api import RKNN  # noqa: PLC0415 - takes seconds, which a person should know of

    began_at = time.monotonic()
    graph, name, shape = _prepared(Path(job["onnx"]))
    toolkit = RKNN(verbose=False)
    levels = {
        key: [[_LEVELS * value for value in job[word]]]
        for key, word in (("mean_values", "mean"), ("std_values", "std"))
        if job[word]
    }
    _done("config", toolkit.config(target_platform=job["target"], **levels))
    say("reading the graph")
    _done("load_onnx", toolkit.load_onnx(str(graph), inputs=[name], input_size_list=[shape]))
    say(f"compiling for {job['target']}")
    quantised: dict[str, Any] = {"do_quantization": False}
    if job["calibration"]:
        quantised = {"do_quantization": True, "dataset": _dataset(Path(job["calibration"]))}
    _done("build", toolkit.build(**quantised))
    _done("export_rknn", toolkit.export_rknn(job["out"]))
    converted_at = time.monotonic()
    vectors, wanted = _simulated(toolkit, job, name, say)
    toolkit.release()
    np.save(job["vectors"], vectors)
    return {
        "cosines": _cosines(vectors, wanted),
        "convert_s": round(converted_at - began_at, 2),
        "simulate_s": round(time.monotonic() - converted_at, 2),
    }


def _done(step: str, code: int) -> None:
    if code != 0:
        raise SystemExit(f"{step} answered {code}")


def _prepared(path: Path) -> tuple[Path, str, list[int]]:
    """Return the graph with its defaults written out, its input and the shape of one item."""
    import onnx  # noqa: PLC0415 - beside the toolkit only

    model = onnx.load(str(path))
    for node in model.graph.node:
        said = {attribute.name for attribute in node.attribute}
        for name, value in _DEFAULTS.get(node.op_type, {}).items():
            if name not in said:
                node.attribute.append(onnx.helper.make_attribute(name, value))
    _turn_constant_queries(model)
    weights = {each.name for each in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in weights]
    if len(inputs) != 1:
        raise SystemExit(f"the graph has {len(inputs)} inputs, one is expected")
    lengths = [each.dim_value for each in inputs[0].type.tensor_type.shape.dim]
    shape = [1, *lengths[1:]]
    if len(shape) not in {2, 4} or not all(shape):
        raise SystemExit(f"the input is {lengths}: all but the first length must be fixed")
    prepared = Path("prepared.onnx").resolve()
    # Above protobuf's 2 GiB the weights must stand apart.
    onnx.save(model, str(prepared), save_as_external_data=True, location="prepared.data")
    return prepared, inputs[0].name, shape


def _turn_constant_queries(model: Any) -> None:
    """Swap the sides of products whose left one is constant: AB is (B'A')'.

    A learned query that pools a picture (SigLIP's) is such a one, and the toolkit fails when it
    makes an attention of it that has no query to be fed with.
    """
    from onnx import helper, shape_inference  # noqa: PLC0415 - beside the toolkit only

    graph = model.graph
    with suppress(ValueError):  # above 2 GiB; an exporter of such graphs says the shapes itself
        graph = shape_inference.infer_shapes(model).graph
    known = [*graph.value_info, *graph.input, *graph.output]
    ranks = {each.name: len(each.type.tensor_type.shape.dim) for each in known}
    ranks |= {each.name: len(each.dims) for each in graph.initializer}
    constant = {each.name for each in graph.initializer}
    graph, nodes = model.graph, []
    for node in graph.node:
        given = [name for name in node.input if name]
        # With a batch of one every shape is known.
        if node.op_type in {"Shape", "Constant"} or (given and constant.issuperset(given)):
            constant.update(node.output)
        rank = ranks.get(node.input[0], 0) if node.op_type == "MatMul" else 0
        if rank <= 2 or node.input[0] not in constant or node.input[1] in constant:
            nodes.append(node)
            continue
        swap = [*range(rank - 2), rank - 1, rank - 2]
        (left, right), (out,) = node.input, node.output
        nodes += [
            helper.make_node("Transpose", [right], [f"{out}_right"], perm=swap),
            helper.make_node("Transpose", [left], [f"{out}_left"], perm=swap),
            helper.make_node("MatMul", [f"{out}_right", f"{out}_left"], [f"{out}_swapped"]),
            helper.make_node("Transpose", [f"{out}_swapped"], [out], perm=swap),
        ]
    del graph.node[:]
    graph.node.extend(nodes)


def _dataset(path: Path) -> str:
    """Write what the toolkit calibrates with: a line for each item; pictures as PNG."""
    import cv2  # noqa: PLC0415 - beside the toolkit only

    lines = []
    for number, item in enumerate(np.load(path)):
        place = Path(f"calibration-{number}").resolve()
        if item.ndim == 3:
            place = place.with_suffix(".png")
            # OpenCV writes blue first.
            cv2.imwrite(str(place), item[..., ::-1])
        else:
            place = place.with_suffix(".npy")
            np.save(place, item[None])
        lines.append(str(place))
    listed = Path("dataset.txt").resolve()
    listed.write_text("\n".join(lines) + "\n", "utf-8")
    return str(listed)


def _simulated(toolkit: Any, job: dict[str, Any], name: str, say: Any) -> tuple[Any, Any]:
    """Return [N, dim] of the simulated NPU, and of onnxruntime on the graph as it was given."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # its own function to refuse comes too late
    import onnxruntime  # noqa: PLC0415 - beside the toolkit only

    _done("init_runtime", toolkit.init_runtime())
    session = onnxruntime.InferenceSession(job["onnx"], providers=["CPUExecutionProvider"])
    probes = np.load(job["probes"])
    found, wanted = [], []
    for number, probe in enumerate(probes):
        say(f"simulating {number + 1} of {len(probes)}")
        item = probe[None]
        picture = item.ndim == 4
        # With its normalisation inside the file takes bytes, else what the graph takes.
        feed = _normalised(item, job) if picture else item
        given = item if picture and job["mean"] else feed.transpose(0, 2, 3, 1) if picture else item
        outputs = toolkit.inference([given], data_format=["nhwc"] if picture else None)
        if outputs is None:
            raise SystemExit("the simulator gave no vector")
        found.append(np.asarray(outputs[0], np.float32).reshape(-1))
        types = {each.name: each.type for each in session.get_inputs()}
        kind = np.int32 if "int32" in types[name] else feed.dtype
        wanted.append(session.run(None, {name: feed.astype(kind)})[0].reshape(-1))
    return np.stack(found), np.stack(wanted)


def _normalised(item: Any, job: dict[str, Any]) -> Any:
    """Return float32 [1, 3, S, S] of bytes [1, S, S, 3]."""
    mean, std = (np.asarray(job[word] or default, np.float32) for word, default in _NEUTRAL)
    planes = (item.astype(np.float32) / np.float32(_LEVELS) - mean) / std
    return np.ascontiguousarray(planes.transpose(0, 3, 1, 2), np.float32)


_NEUTRAL = (("mean", (0.0, 0.0, 0.0)), ("std", (1.0, 1.0, 1.0)))


def _cosines(a: Any, b: Any) -> list[float]:
    a, b = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return [float(value) for value in (a * b).sum(axis=1) / lengths]


if __name__ == "__main__":
    main()
