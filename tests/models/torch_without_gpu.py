"""torch as a process with a GPU sees it, computing on the CPU: a double, and no proof of a GPU.

Every function has torch's own signature; the rest is torch. A captured graph is what torch's is to
its caller: nothing but what was done under `torch.cuda.graph` is done again by `replay`, on the
same memory. A graph whose code looks at a value fails to capture, as torch's does.
"""

from contextlib import contextmanager
from types import SimpleNamespace

import torch


class _Stream:
    def __init__(self, device=None, priority=0):
        self.waited = 0

    def wait_stream(self, stream):
        assert stream is not None

    def synchronize(self):
        self.waited += 1


class _Graph:
    def __init__(self, keep_graph=False):
        self.replays = 0
        self.again = None

    def replay(self):
        self.replays += 1
        self.again()


class GpuTorch:
    """`capturable` False: capturing fails."""

    def __init__(self, *, cuda="12.8", hip=None, available=True, bf16=True, capturable=True):
        self.version = SimpleNamespace(cuda=cuda, hip=hip)
        self.capturable = capturable
        self.share = None
        self.captured = []
        self.pinned = 0
        self.cuda = SimpleNamespace(
            Stream=_Stream,
            CUDAGraph=_Graph,
            current_stream=lambda device=None: _Stream(),
            device_count=lambda: int(available),
            get_device_name=lambda device=None: "A GPU",
            get_device_properties=lambda device=None: SimpleNamespace(total_memory=16 << 30),
            graph=self._graph,
            is_available=lambda: available,
            is_bf16_supported=lambda including_emulation=True: bf16,
            set_per_process_memory_fraction=self._set_share,
            stream=self._on,
        )

    def __getattr__(self, name):
        return getattr(torch, name)

    def device(self, kind, index=None):
        assert (kind, index) == ("cuda", 0)
        return torch.device("cpu")

    def empty(self, size, *, dtype=None, device=None, pin_memory=False):
        self.pinned += pin_memory
        return torch.empty(size, dtype=dtype, device=device)

    def _set_share(self, fraction, device=None):
        self.share = fraction

    @contextmanager
    def _on(self, stream):
        yield

    @contextmanager
    def _graph(self, cuda_graph, pool=None, stream=None, capture_error_mode="global"):
        if not self.capturable:
            raise RuntimeError("operation not permitted when stream is capturing")
        recorder = _Recorder()
        with recorder:
            yield
        cuda_graph.again = recorder.again
        self.captured.append(cuda_graph)


class _Recorder(torch.overrides.TorchFunctionMode):
    """Keeps what is called, and calls it again on the same tensors."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, out))
        return out

    def again(self):
        for func, args, kwargs, out in self.calls:
            new = func(*args, **kwargs)
            if torch.is_tensor(out) and torch.is_tensor(new) and new.data_ptr() != out.data_ptr():
                out.copy_(new)
