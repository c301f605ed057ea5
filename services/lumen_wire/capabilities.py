"""What a service says of itself, and how the oldest clients get all services in one record."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lumen_wire import results
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.tasks import TaskKind

PROTOCOL_VERSION = "1.0.0"
MERGED_NAME = "lumen"
MIXED_RUNTIME = "mixed"

MAX_PAYLOAD_BYTES = 50 * 1024 * 1024
MAX_PAYLOAD_LIMIT = "max_payload_size"

TEXT_MIMES = ("text/plain",)
IMAGE_MIMES = ("image/jpeg", "image/png", "image/webp", "image/avif")


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """What goes into a Capability beside the tasks."""

    service_name: str
    model_ids: Sequence[str]
    runtime: str
    max_concurrency: int
    precisions: Sequence[str] = ()
    extra: Mapping[str, str] = field(default_factory=dict)


def capability(
    facts: ServiceFacts,
    names: Mapping[str, TaskKind],
    *,
    max_payload_bytes: int = MAX_PAYLOAD_BYTES,
) -> pb.Capability:
    """Return the record of one service: one task per advertised name, aliases included."""
    return pb.Capability(
        service_name=facts.service_name,
        model_ids=facts.model_ids,
        runtime=facts.runtime,
        max_concurrency=facts.max_concurrency,
        precisions=facts.precisions,
        extra=facts.extra,
        tasks=[_io_task(name, kind, max_payload_bytes) for name, kind in names.items()],
        protocol_version=PROTOCOL_VERSION,
    )


def _io_task(name: str, kind: TaskKind, max_payload_bytes: int) -> pb.IOTask:
    """Return the record of one task name; the limit that it states the assembler enforces."""
    inputs = TEXT_MIMES if kind is TaskKind.TEXT_EMBED else IMAGE_MIMES
    if kind in {TaskKind.TEXT_EMBED, TaskKind.IMAGE_EMBED}:
        outputs: tuple[str, ...] = (results.EMBEDDING_MIME, results.EMBEDDING_F32LE_MIME)
    else:
        outputs = (results.LABELS_MIME,)
    return pb.IOTask(
        name=name,
        input_mimes=inputs,
        output_mimes=outputs,
        limits={MAX_PAYLOAD_LIMIT: str(max_payload_bytes)},
    )


def merge(records: Iterable[pb.Capability]) -> pb.Capability:
    """Return one record for clients that know only unary GetCapabilities.

    `extra` keeps `runtime.<service>` for each, and the smallest `batch_size` (a client that
    sends so many at once overruns nobody). A task name stays with the record that has it first.
    """
    merged = pb.Capability(service_name=MERGED_NAME, protocol_version=PROTOCOL_VERSION)
    seen: set[str] = set()
    runtimes: dict[str, None] = {}
    batch_sizes: list[int] = []
    for record in records:
        _extend(merged.model_ids, record.model_ids)
        _extend(merged.precisions, record.precisions)
        merged.max_concurrency = max(merged.max_concurrency, record.max_concurrency)
        merged.tasks.extend(task for task in record.tasks if task.name not in seen)
        seen.update(task.name for task in record.tasks)
        if record.runtime:
            runtimes[record.runtime] = None
            merged.extra[f"runtime.{record.service_name}"] = record.runtime
        size = record.extra.get("batch_size", "")
        batch_sizes += [int(size)] if size.isascii() and size.isdigit() and len(size) < 10 else []
    merged.runtime = next(iter(runtimes), "") if len(runtimes) < 2 else MIXED_RUNTIME
    if batch_sizes:
        merged.extra["batch_size"] = str(min(batch_sizes))
    return merged


def _extend(target: "Sequence[str]", values: Iterable[str]) -> None:
    for value in values:
        if value not in target:
            target.append(value)  # type: ignore[attr-defined]
