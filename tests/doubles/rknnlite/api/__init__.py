"""A double of rknn-toolkit-lite2, which exists for arm64 boards only.

Signatures, messages and what it forgives are those of the wheels 2.3.2 and 2.5.0, tried under
emulation (docs/runtimes.md): it answers -1 and None and logs why; `inference` does not look at what
`rknn_run` answers; fewer bytes than a tensor has are taken without a word. What it computes with is
onnxruntime, on the graph that `rknn_files` keeps in a file.

Variables of the environment make the board fail: RKNN_INIT and RKNN_SET name an error (such as
RKNN_ERR_MODEL_INVALID), RKNN_RUN is what a run answers, RKNN_CONTEXTS how many the NPU has memory
for, RKNN_API and RKNN_DRV are the versions, RKNN_ABSENT is `library` or `node`.
"""

import json
import logging
import os
import traceback
from ast import literal_eval

import numpy as np
import onnxruntime as ort
import rknn_files

_CODES = {
    "float32", "float16", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "bool",
}  # fmt: skip


class _Log:
    """The package's one logger, which all of its objects share."""

    logger = logging.getLogger("acuityLogger")

    @classmethod
    def e(cls, text, throw=True):
        cls.logger.error(text)
        if throw:
            raise ValueError(text)


class RKNNRuntime:
    """One context of librknnrt.so."""

    contexts = 0

    def __init__(self, root_dir, target, device_id, perf_debug=False, eval_memory=False,
                 async_mode=False, rknn2precompile=False, core_mask=0):  # fmt: skip
        self._check_container()
        if os.environ.get("RKNN_ABSENT") == "library":
            raise Exception("Can not find dynamic library on Linux!")
        self.core_mask = core_mask
        self.context = None

    @staticmethod
    def _check_container():
        if os.environ.get("RKNN_ABSENT") == "node":
            raise RuntimeError

    def build_graph(self, rknn_model, load_model_in_npu=False, user_key=None):
        error = os.environ.get("RKNN_INIT", "")
        if RKNNRuntime.contexts >= int(os.environ.get("RKNN_CONTEXTS", "100")):
            error = "RKNN_ERR_MALLOC_FAIL"
        if error:
            raise Exception(f"RKNN init failed. error code: {error}")
        RKNNRuntime.contexts += 1
        self.context = _Graph(bytes(rknn_model))

    def set_core_mask(self, core_mask):
        if core_mask not in {0, 1, 2, 4, 3, 7, 0xFFFF}:
            raise Exception(f"The core mode {core_mask} is not supported currently.")
        return 0

    def get_sdk_version(self):
        api = os.environ.get("RKNN_API", "2.3.2 (429f97ae6b@2025-04-09T09:09:27)")
        driver = os.environ.get("RKNN_DRV", "0.9.8")
        line = "=" * 46
        return f"{line}\nRKNN VERSION:\n  API: {api}\n  DRV: {driver}\n{line}\n", api, driver

    def set_inputs(self, inputs, data_type, data_format, inputs_pass_through=None,
                   eval_perf=False):  # fmt: skip
        fed = []
        for index, (each, tensor) in enumerate(zip(inputs, self.context.inputs, strict=True)):
            if not isinstance(each, np.ndarray):
                raise Exception(f"E Type of inputs[{index}] is not np.ndarray!")
            if each.dtype.name not in _CODES:
                raise Exception(f"E Unsupport inputs[{index}].dtype: {each.dtype.name}")
            wanted = len(tensor["shape"])
            if each.ndim != wanted and wanted == 4:
                raise Exception(
                    f"The input[{index}] need {wanted}dims input, but {each.ndim}dims input "
                    "buffer feed."
                )
            layout = data_format[index] if isinstance(data_format, list) else data_format
            if isinstance(data_format, list) and layout not in {"nchw", "nhwc"}:
                raise Exception(f"Unsupport data format: {layout}")
            if isinstance(data_format, list):
                data_format[index] = {"nchw": 0, "nhwc": 1}[layout]
            fed.append(np.moveaxis(each, -1, 1) if wanted == 4 and layout != "nchw" else each)
        if os.environ.get("RKNN_SET"):
            raise Exception(f"Set inputs failed. error code: {os.environ['RKNN_SET']}")
        self.context.fed = fed
        return 0

    def run(self, get_frame_id=False):
        code = int(os.environ.get("RKNN_RUN", "0"))
        if code == 0:
            self.context.compute()
        return (code, 0) if get_frame_id else code

    def get_outputs(self, get_frame_id=False, reuse_outputs=False):
        return [each.copy() for each in self.context.computed]

    def release(self):
        if self.context is not None:
            RKNNRuntime.contexts -= 1
            self.context = None


class _Graph:
    """What the NPU would compute: normalised as the file says, in half precision."""

    def __init__(self, content):
        head, _, _ = content[rknn_files.HEADER :].partition(rknn_files.BODY)
        begins = head.find(b"{'attrs': ")
        said = literal_eval(head[begins:].decode())["attrs"] if begins >= 0 else {}
        length = int.from_bytes(content[16:24], "little")
        document = json.loads(content[rknn_files.HEADER + length + 8 :])
        count = document["input_num"]
        plain = {"mean": [0], "std": [1]}
        self.inputs = [
            {**plain, **said.get(each["url"], {}), "name": each["url"], "shape": each["size"]}
            for each in document["norm_tensor"][:count]
        ]
        self.session = ort.InferenceSession(rknn_files.graph_of(content))
        self.fed, self.computed = [], []

    def compute(self):
        types = {each.name: each.type for each in self.session.get_inputs()}
        feeds = {}
        for each, tensor in zip(self.fed, self.inputs, strict=True):
            if types[tensor["name"]] == "tensor(float)":
                shape = (1, -1, *[1] * (each.ndim - 2))
                mean, std = (np.reshape(tensor[key], shape) for key in ("mean", "std"))
                half = ((each.astype(np.float64) - mean) / std).astype(np.float16)
                feeds[tensor["name"]] = half.astype(np.float32)
            else:
                kind = types[tensor["name"]].removeprefix("tensor(").removesuffix(")")
                feeds[tensor["name"]] = each.astype(kind)
        found = self.session.run(None, feeds)
        self.computed = [each.astype(np.float16).astype(np.float32) for each in found]


class RKNNLite:
    """The package's one public class."""

    NPU_CORE_AUTO = 0
    NPU_CORE_0 = 1
    NPU_CORE_1 = 2
    NPU_CORE_2 = 4
    NPU_CORE_0_1 = 3
    NPU_CORE_0_1_2 = 7
    NPU_CORE_ALL = 0xFFFF

    def __init__(self, verbose=False, verbose_file=None):
        self.rknn_log = _Log
        self.rknn_data = None
        self.rknn_runtime = None
        self.load_model_in_npu = False

    def load_rknn(self, path, key_path=None):
        if not os.path.exists(path):  # noqa: PTH110
            self.rknn_log.e(f"Invalid RKNN model path: {path or 'None'}", False)
            return -1
        with open(path, "rb") as file:  # noqa: PTH123
            self.rknn_data = file.read()
        return 0

    def init_runtime(self, target=None, device_id=None, async_mode=False, core_mask=NPU_CORE_AUTO):
        if self.rknn_data is None:
            self.rknn_log.e(
                "Model is not loaded yet, this interface should be called after load_rknn!", False
            )
            return -1
        try:
            self.rknn_runtime = RKNNRuntime(None, target, device_id, core_mask=core_mask)
            self.rknn_runtime.build_graph(self.rknn_data, self.load_model_in_npu)
            return self.rknn_runtime.set_core_mask(core_mask)
        except Exception:
            self.rknn_log.e("Catch exception when init runtime!", False)
            self.rknn_log.e(traceback.format_exc(), False)
            return -1

    def inference(self, inputs, data_type=None, data_format=None, inputs_pass_through=None,
                  get_frame_id=False, reuse_outputs=False):  # fmt: skip
        if self.rknn_runtime is None:
            self.rknn_log.e(
                "Runtime environment is not inited, please call init_runtime to init it first!",
                False,
            )
            return None
        try:
            self.rknn_runtime.set_inputs(inputs, data_type, data_format, inputs_pass_through)
            self.rknn_runtime.run(get_frame_id)
            return self.rknn_runtime.get_outputs(get_frame_id, reuse_outputs=reuse_outputs)
        except Exception:
            self.rknn_log.e(traceback.format_exc(), False)
            return None

    def get_sdk_version(self):
        if self.rknn_runtime is None:
            self.rknn_log.e(
                "Runtime environment is not inited, please call init_runtime to init it first!",
                False,
            )
            return None
        return self.rknn_runtime.get_sdk_version()[0]

    def release(self):
        if self.rknn_runtime is not None:
            self.rknn_runtime.release()
            self.rknn_runtime = None
