"""The closed sets of the custom resources: what a field may say, and nothing else."""

from enum import StrEnum


class Family(StrEnum):
    """The kind of model: it decides task names and the cascade."""

    CLIP = "clip"
    BIOCLIP = "bioclip"
    SIGLIP = "siglip"


# The families that can say which scene a picture shows.
SCENE_FAMILIES = frozenset({Family.CLIP, Family.SIGLIP})


class Runtime(StrEnum):
    """The library that computes."""

    TORCH = "torch"
    ONNX = "onnx"
    RKNN = "rknn"


class Precision(StrEnum):
    """The model files to load, and the tolerance they are checked with."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"


class OnnxEngine(StrEnum):
    """What runs ONNX files."""

    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"
    TENSORRT = "tensorrt"


class Tower(StrEnum):
    """One half of a model: pictures or texts."""

    VISION = "vision"
    TEXT = "text"


class PreprocessPreset(StrEnum):
    """How pictures are prepared: as the model's files say, or as pybioclip does it."""

    MODEL = "model"
    PYBIOCLIP = "pybioclip"


class Accelerator(StrEnum):
    """The device that a pool's nodes offer."""

    CPU = "cpu"
    CUDA = "cuda"
    ROCM = "rocm"
    RK3588 = "rk3588"


class Region(StrEnum):
    """The default hub: ModelScope for `cn`, Hugging Face for `other`."""

    OTHER = "other"
    CN = "cn"


class ScenePreset(StrEnum):
    """Ready-made scene prompts (see `scene_presets`)."""

    OCT2025 = "oct2025"
    AUG2025 = "aug2025"
    ORGANISMS = "organisms"


class MetricType(StrEnum):
    """What autoscaling looks at."""

    INFLIGHT = "inflight"
    QUEUE_WAIT = "queueWait"
    CPU = "cpu"


class CacheType(StrEnum):
    """The volume that holds a service's model files."""

    EMPTY_DIR = "emptyDir"
    PERSISTENT_VOLUME_CLAIM = "persistentVolumeClaim"


class LogLevel(StrEnum):
    """The least severe line that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class ProcMount(StrEnum):
    """Kubernetes' procMount: what of /proc a container sees."""

    DEFAULT = "Default"
    UNMASKED = "Unmasked"
