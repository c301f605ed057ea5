"""What the C heap keeps of memory that was freed; `startup` calls it once a model is warm."""

import ctypes


def give_back_freed() -> None:
    """Return freed pages to the system.

    ONNX Runtime frees each weight once it has packed it for its kernels, but glibc keeps such
    pages: 107 MiB for a ViT-B/32. Other C libraries have no such call and need none.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
