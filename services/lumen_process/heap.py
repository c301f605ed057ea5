"""What the C heap keeps of memory that was freed."""

import ctypes


def trim_heap() -> None:
    """Return freed pages to the system.

    glibc keeps them: 107 MiB of the weights of a ViT-B/32, which ONNX Runtime frees once it has
    packed them for its kernels, and most of what messages needed that were given up. Other C
    libraries have no such call and need none.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
