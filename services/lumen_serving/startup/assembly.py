"""Puts a warm model behind the queues, and says what came of it.

Imported once the model is loaded; the only module that knows how the parts fit together.
"""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

from lumen_serving.inference.admission import Admission, AdmissionLimits
from lumen_serving.inference.engine import Engine
from lumen_serving.inference.preprocess_pool import Pipeline, PreprocessPool
from lumen_serving.inference.queue import DecodeQueues
from lumen_serving.label_index.scores import score_facts
from lumen_serving.metrics import ServerMetrics
from lumen_serving.service import ModelService
from lumen_serving.startup.driver import driver_of
from lumen_serving.startup.load import WarmModel
from lumen_wire import capabilities
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.tasks import TaskKind, names_for

_MIB = 1 << 20


@asynccontextmanager
async def assembled(warm: WarmModel, metrics: ServerMetrics) -> AsyncIterator[ModelService]:
    """Own the threads of a model while it serves; gives the device back at the end."""
    limits = AdmissionLimits(
        requests=warm.config.server.max_queue, slots=warm.backend.slots, decoders=warm.cores
    )
    admission = Admission(limits, warm.measured, metrics)
    # Large pictures hold half of the places at most.
    lines = DecodeQueues(
        warm.cores, warm.config.server.decode_memory_mib * _MIB, max(1, limits.requests // 2)
    )
    metrics.decode_bytes_with(lambda: lines.held_bytes)
    computes, space = warm.report, warm.model.embedding_space
    metrics.model_is(computes.runtime, computes.version, computes.device, computes.precision, space)
    try:
        async with (
            Engine(warm.backend, warm.max_batch_sizes, metrics, admission.batch_done) as engine,
            PreprocessPool(warm.cores, lines, engine, metrics, admission) as decoders,
        ):
            yield ModelService(
                warm.config.family,
                warm.model,
                warm.tokenizer,
                warm.classifiers,
                Pipeline(admission, decoders, engine),
            )
    finally:
        warm.backend.close()


def capability(warm: WarmModel, kinds: Collection[TaskKind]) -> pb.Capability:
    """Return what this server says of itself to clients."""
    facts = capabilities.ServiceFacts(
        service_name=warm.config.service,
        model_ids=(warm.model.model_id,),
        runtime=warm.report.runtime,
        max_concurrency=warm.config.server.max_queue,
        precisions=(warm.report.precision,),
        extra={
            "embedding_space": warm.model.embedding_space,
            "model_id": warm.model.model_id,
            "embedding_dim": str(warm.model.embedding_dim),
            "device": warm.report.device,
            "precision": warm.report.precision,
            "runtime_version": warm.report.version,
            "batch_size": str(max(warm.max_batch_sizes.values())),
            **score_facts(warm.model.score),
            **({"license": warm.model.info.license} if warm.model.info.license else {}),
            **{key: text for one in warm.classifiers.values() for key, text in one.facts.items()},
        },
    )
    return capabilities.capability(
        facts,
        names_for(warm.config.family, kinds),
        max_payload_bytes=warm.config.server.max_payload_mib * _MIB,
    )


def facts(warm: WarmModel, record: pb.Capability) -> dict[str, Any]:
    """Return what `/status` shows of a model that serves."""
    return {
        "tasks": [task.name for task in record.tasks],
        "modelId": warm.model.model_id,
        "embeddingDim": warm.model.embedding_dim,
        "embeddingSpace": warm.model.embedding_space,
        "runtime": {
            "name": warm.report.runtime,
            "version": warm.report.version,
            "device": warm.report.device,
            "driver": driver_of(warm.report.device),
            "precision": warm.report.precision,
            "providers": list(warm.report.providers),
            "details": dict(warm.report.details),
            "parityCosine": warm.parity_cosine,
            "coloursFound": warm.colours_found and "{} of {}".format(*warm.colours_found),
        },
        "files": {
            "revision": warm.model.revision,
            "digest": warm.model.digest,
            "bytes": warm.model.bytes,
            "license": warm.model.info.license,
            "labelSets": warm.model.label_revisions or None,
        },
        "cores": warm.cores,
        "batches": {
            modality.value: {
                "cap": measured.max_batch_size,
                "perItemMs": measured.curve.a_ms,
                "perBatchMs": measured.curve.b_ms,
            }
            for modality, measured in warm.measured.items()
        },
        "labelBytes": sum(one.resident_bytes for one in warm.classifiers.values()),
        "warnings": list(warm.warnings),
    }
