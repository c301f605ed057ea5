"""The one module that imports torch: towers that begin without weights, and how they get them."""

import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from lumen_manifest.spec.enums import Precision
from lumen_resources.errors import ResourceValidationError

TORCH: Any = torch
VERSION: str = torch.__version__
Tensor: TypeAlias = torch.Tensor
Module: TypeAlias = nn.Module
OUT_OF_MEMORY: type[Exception] = torch.OutOfMemoryError
# The names and shapes of a large model take a megabyte.
_MOST_PICKLE_BYTES = 64 << 20
_DTYPES = {
    Precision.FP32: torch.float32,
    Precision.FP16: torch.float16,
    Precision.BF16: torch.bfloat16,
}


class TorchTower(nn.Module):  # type: ignore[misc]  # torch is not there when types are checked
    """One tower: float pictures [N, 3, S, S] or token rows int64 [N, L] to vectors [N, dim].

    The vectors are as the model gives them, not of unit length. `call` asks the library's module.
    """

    def __init__(self, inner: Module, call: Callable[[Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.inner = inner
        self._call = call

    def forward(self, items: Tensor) -> Tensor:
        """Return [N, dim] in the tower's own precision."""
        return self._call(self.inner, items)


class PictureInput(nn.Module):  # type: ignore[misc]
    """A vision tower that takes pictures as they are decoded: uint8 RGB [N, S, S, 3].

    In float32 and torchvision's order, (level / 255 - mean) / std: bit for bit open_clip's values.
    """

    def __init__(
        self, tower: Module, mean: tuple[float, ...], std: tuple[float, ...], dtype: Any
    ) -> None:
        super().__init__()
        self.tower, self._dtype = tower, dtype
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return [N, dim]."""
        levels = pictures.permute(0, 3, 1, 2).to(torch.float32).contiguous()
        return self.tower(levels.div_(255).sub_(self.mean).div_(self.std).to(self._dtype))


@dataclass(frozen=True, slots=True)
class EmptyTower:
    """A tower whose parameters have no memory yet.

    `file_name` gives the name in the checkpoint of each of its own names, `fuse` what is to be
    made of the tower once it has its weights.
    """

    inner: Module
    call: Callable[[Module, Tensor], Tensor]
    file_name: Callable[[str], str]
    fuse: Callable[[Module], Module] | None = None

    def names(self) -> dict[str, str]:
        """Return the names in the checkpoint, by the tower's own."""
        return {own: self.file_name(own) for own in self.inner.state_dict()}

    def filled(self, read: Callable[[str], Tensor], dtype: Any) -> TorchTower:
        """Return the tower with the tensors that `read` gives by their names in the checkpoint.

        Raises ResourceValidationError when one has another shape, or is not of real numbers.
        """
        # Weights are folded into each other in full precision.
        full = dtype if self.fuse is None else torch.float32
        tensors = {}
        for own, wanted in self.inner.state_dict().items():
            found = read(self.file_name(own))
            if found.numel() != wanted.numel() or _squeezed(found) != _squeezed(wanted):
                raise ResourceValidationError(
                    f"The weights have {self.file_name(own)} as {list(found.shape)}; the model's "
                    f"configuration makes it {list(wanted.shape)}.",
                    remedy="Use the configuration that the weights were published with.",
                )
            if wanted.is_floating_point() and not found.is_floating_point():
                raise ResourceValidationError(
                    f"The weights have {self.file_name(own)} in {found.dtype}, which is not what "
                    "the model computes with: such weights mean something by a scale beside them.",
                    remedy="Use the weights as they were trained, in float32, float16 or bfloat16.",
                )
            # A copy: what stays mapped from a file goes wrong when the file is cut.
            kind = full if found.is_floating_point() else found.dtype
            tensors[own] = found.reshape(wanted.shape).to(kind, copy=True)
        self.inner.load_state_dict(tensors, strict=True, assign=True)
        inner = self.inner.eval() if self.fuse is None else self.fuse(self.inner.eval())
        # Tensors that the checkpoint lacks, such as a causal mask, follow in precision.
        tower = TorchTower(inner.to(dtype), self.call)
        tower.eval().requires_grad_(requires_grad=False)
        return tower


def _squeezed(tensor: Tensor) -> tuple[int, ...]:
    """Return the shape without edges of 1: a scale is a scalar here and [1] there."""
    return tuple(edge for edge in tensor.shape if edge != 1)


@contextmanager
def parameters_without_memory() -> Iterator[None]:
    """Give the parameters of all modules made meanwhile a shape and no memory.

    Buffers stay real: those that no checkpoint has (masks, positions) are computed when a module
    is made. Raises ResourceValidationError for sizes of which no model can be made.
    """

    def bare(module: Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        del module, name
        if parameter is None:
            return None
        return nn.Parameter(parameter.detach().to("meta"), requires_grad=False)

    hook = register_module_parameter_registration_hook(bare)
    try:
        yield
    finally:
        hook.remove()


def pickled_tensors(path: Path) -> Mapping[str, Tensor]:
    """Return the tensors of a .bin, .pt or .pth file by name, mapped where the format allows it.

    Nothing but tensors is unpickled. Raises ResourceValidationError for any other file.
    """
    try:
        content = _unpickled(path)
    # Foreign bytes reach every corner of two readers, their assertions too: no list of exceptions
    # is complete.
    except Exception as error:
        raise _not_tensors(path) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content:
        raise _not_tensors(path)
    if not all(isinstance(k, str) and _is_whole(v) for k, v in content.items()):
        raise _not_tensors(path)
    return content


def _unpickled(path: Path) -> Any:
    is_archive = zipfile.is_zipfile(path)
    if is_archive and not _is_plain(path):
        raise _not_tensors(path)
    return torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)


def _is_plain(path: Path) -> bool:
    """Whether an archive is as torch.save makes it: nothing compressed, a pickle of some names."""
    with zipfile.ZipFile(path) as archive:
        return all(
            entry.compress_type == zipfile.ZIP_STORED
            and not (entry.filename.endswith(".pkl") and entry.file_size > _MOST_PICKLE_BYTES)
            for entry in archive.infolist()
        )


def _is_whole(value: Any) -> bool:
    """Whether it is a tensor whose every element is stored: a few bytes can claim any shape."""
    return (
        torch.is_tensor(value)
        and value.layout is torch.strided
        and value.untyped_storage().nbytes() >= value.numel() * value.element_size()
    )


def _not_tensors(path: Path) -> ResourceValidationError:
    return ResourceValidationError(
        f"{path.name} is not a file of tensors alone: programs and objects in a checkpoint are not "
        "loaded.",
        remedy="Use the model's .safetensors file, or one that torch.save wrote from a state_dict.",
        file=path.name,
    )


def dtype_of(precision: Precision) -> Any:
    """Return torch's type for a precision."""
    return _DTYPES[precision]


def bytes_of(tower: Module) -> int:
    """Return the memory that the tensors of a tower take."""
    return sum(t.numel() * t.element_size() for t in (*tower.parameters(), *tower.buffers()))


def vocabulary_of(tower: Module) -> int:
    """Return how many tokens a text tower has a vector for: the rows of its largest table."""
    tables = (part for part in tower.modules() if isinstance(part, nn.Embedding))
    return max((int(table.num_embeddings) for table in tables), default=0)
