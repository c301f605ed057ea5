"""From verified files to a warm model: all that is slow, in a thread, while the port is open.

Imports the runtime and numpy; nothing that must be there within two seconds of the start imports
this module.
"""

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from lumen_manifest.server_config import ServerConfig
from lumen_manifest.spec.enums import SCENE_FAMILIES, Family
from lumen_process.heap import trim_heap
from lumen_resources.fetch.fetch import open_verified
from lumen_resources.fetch.verify import ensure_unchanged
from lumen_resources.labels.rows import WrongRowError, refuse_wrong_rows
from lumen_resources.model.layouts import VerifiedModel
from lumen_serving.backends.base import (
    Backend,
    BackendReport,
    BackendSettings,
    load_backend,
)
from lumen_serving.classify.labels import LabelClassifier, LabelSet, load_label_sets
from lumen_serving.classify.protocol import Classifier
from lumen_serving.classify.scenes import SceneClassifier, SceneSet
from lumen_serving.errors import LabelsUnusable
from lumen_serving.inference.costs import Measured, measure
from lumen_serving.media.text import Tokenizer
from lumen_serving.settings import ServerSettings
from lumen_serving.startup.parity import FAKE, check_parity, check_report
from lumen_serving.startup.probe import colours_found, probe, probe_texts
from lumen_serving.startup.reference import record_reference
from lumen_terms.modality import Modality
from lumen_wire.tasks import TaskKind, task_for

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WarmModel:
    """A model that may serve: loaded, attested, compared with the reference, and measured.

    `tokenizer` is None when the model has no text tower; `measured` has the towers that it has.
    `parity_cosine` is None when the model ships no golden set, or nothing real computes.
    `colours_found` is how many plain pictures found the name of their colour, and of how many;
    None where that was not tried.
    `warnings` are sentences for whoever runs the service.
    """

    config: ServerConfig
    model: VerifiedModel
    backend: Backend
    report: BackendReport
    tokenizer: Tokenizer | None
    classifiers: Mapping[TaskKind, Classifier]
    measured: Mapping[Modality, Measured]
    parity_cosine: float | None
    cores: int
    colours_found: tuple[int, int] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def max_batch_sizes(self) -> dict[Modality, int]:
        """The largest batch of each modality."""
        return {modality: measured.max_batch_size for modality, measured in self.measured.items()}


def warm_up(config: ServerConfig, settings: ServerSettings) -> WarmModel:
    """Return the model, ready to serve.

    Raises:
        ResourceError: the files are not those that were verified.
        StartError: the runtime, the device, the vectors or the labels are not what they must be.

    """
    model = open_verified(config, settings.cache_dir, settings.source_dir)
    cores = usable_cores(settings.cpu_limit)
    log.info("loading", model=model.model_id, runtime=runtime_of(config, settings), cores=cores)
    backend = on_its_device(model, config, settings)
    with ExitStack() as on_failure:
        on_failure.callback(backend.close)
        model = replace(model, score=backend.report().score or model.score)
        warm = _warm(model, backend, config, cores)
        ensure_unchanged(model)
        if model.parity is None:
            record_reference(model, backend)
        on_failure.pop_all()
    trim_heap()
    return warm


def runtime_of(config: ServerConfig, settings: ServerSettings) -> str:
    """Return the name of the backend that computes."""
    return settings.backend or config.model.runtime.value


def on_its_device(model: VerifiedModel, config: ServerConfig, settings: ServerSettings) -> Backend:
    """Return a backend that has loaded the model, on the device that was asked for.

    Raises:
        StartError: there is no such runtime here, what computes is not what it must be, or its
            vectors cannot mean anything.

    """
    backend = load_backend(runtime_of(config, settings), config, settings)
    with ExitStack() as on_failure:
        on_failure.callback(backend.close)
        use = BackendSettings(
            accelerator=config.accelerator,
            threads=config.intra_op_threads or usable_cores(settings.cpu_limit),
            device_memory_mib=config.server.device_memory_mib,
        )
        backend.load(model, use)
        report = backend.report()
        check_report(report, config.accelerator, model.embedding_dim)
        log.info(
            "loaded",
            engine=f"{report.runtime} {report.version}",
            precision=report.precision,
            details=dict(report.details),
        )
        if report.runtime != FAKE:
            probe(backend, model)
        on_failure.pop_all()
    return backend


def _warm(model: VerifiedModel, backend: Backend, config: ServerConfig, cores: int) -> WarmModel:
    report = backend.report()
    if report.runtime == FAKE:
        log.warning("the fake backend answers: its vectors mean nothing")
    tokenizer = Tokenizer.load(model) if Modality.TEXT in model.modalities else None
    if tokenizer is not None and report.runtime != FAKE:
        probe_texts(backend, tokenizer)
    parity = check_parity(backend, model, tokenizer)
    sets = {one.name: one for one in load_label_sets(model, cores)}
    return WarmModel(
        config=config,
        model=model,
        backend=backend,
        report=report,
        tokenizer=tokenizer,
        classifiers=_classifiers(config, model, backend, tokenizer, sets),
        measured=measure(backend, model, config.server.max_batch_size),
        parity_cosine=parity,
        cores=cores,
        colours_found=_colours(config, model, backend, tokenizer),
        warnings=(*model.warnings, *_label_remarks(sets.values()), *_unserved(config, model)),
    )


def _unserved(config: ServerConfig, model: VerifiedModel) -> tuple[str, ...]:
    """Return what the manifest asks for and one tower alone cannot answer, and log it."""
    fields = {"spec.scenes": config.scenes, "spec.labelSets": config.label_sets}
    asked = [field for field, value in fields.items() if value]
    said = ""
    if asked and Modality.IMAGE not in model.modalities:
        said = f"{model.name} embeds texts alone: {' and '.join(asked)} classify nothing."
    elif config.scenes and Modality.TEXT not in model.modalities:
        said = f"{model.name} embeds pictures alone: spec.scenes need the text tower too."
    if said:
        log.warning("not served", message=said)
    return (said,) if said else ()


def _colours(
    config: ServerConfig, model: VerifiedModel, backend: Backend, tokenizer: Tokenizer | None
) -> tuple[int, int] | None:
    """Try colours where they are known: not on species, not without both towers."""
    sees = Modality.IMAGE in model.modalities and backend.report().runtime != FAKE
    if config.family is Family.BIOCLIP or tokenizer is None or not sees:
        return None
    found, tried = colours_found(backend, model, tokenizer)
    if found <= tried // 2:
        log.warning(
            "plain colours are not told apart by their names",
            found=found,
            tried=tried,
            remedy="Check that the weights are trained and both towers of one model.",
        )
    return found, tried


def _refuse_wrong_scenes(scenes: SceneSet, vectors: NDArray[np.float32]) -> None:
    try:
        refuse_wrong_rows(np.linalg.norm(vectors, axis=1))
    except WrongRowError as error:
        raise LabelsUnusable(
            f"The vector of the scene {scenes.prompts[error.row]!r} is {error.found}.",
            remedy="Check the model: its parity, and its precision on this device.",
        ) from error


def _label_remarks(sets: Iterable[LabelSet]) -> tuple[str, ...]:
    """Return what a user should know of the labels, and log it."""
    remarks = [(s.name, remark) for s in sets for remark in s.remarks]
    for name, remark in remarks:
        log.warning("label set", label_set=name, message=remark)
    return tuple(f"{name}: {remark}" for name, remark in remarks)


def _classifiers(
    config: ServerConfig,
    model: VerifiedModel,
    backend: Backend,
    tokenizer: Tokenizer | None,
    sets: Mapping[str, LabelSet],
) -> dict[TaskKind, Classifier]:
    """Return what pictures can be ranked by: scenes, and label sets where there are any."""
    classifiers: dict[TaskKind, Classifier] = {}
    if Modality.IMAGE not in model.modalities:
        return classifiers
    if config.family in SCENE_FAMILIES and tokenizer is not None:
        scenes = SceneSet.from_spec(config.scenes)
        tokens, _ = tokenizer.encode(scenes.prompts)
        vectors = backend.embed_texts(tokens)
        _refuse_wrong_scenes(scenes, vectors)
        classifiers[TaskKind.SCENE_CLASSIFY] = SceneClassifier(scenes, vectors, model.score)
    if sets:
        task = task_for(config.family, TaskKind.CLASSIFY)
        default_k = (task.default_top_k if task else None) or 1
        classifiers[TaskKind.CLASSIFY] = LabelClassifier(sets, model.score, default_k)
    return classifiers


_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1_QUOTA = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
_CGROUP_V1_PERIOD = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")


def usable_cores(declared: float | None) -> int:
    """Return the number of threads worth having, at least 1.

    `declared` is the CPU limit as the pod was told; without it, affinity and cgroup decide.
    """
    if declared is not None:
        return max(1, int(declared))
    affinity = len(os.sched_getaffinity(0))
    quota = _cgroup_quota()
    return affinity if quota is None else max(1, min(affinity, int(quota)))


def parse_cpu_max(text: str) -> float | None:
    """Return the cores that cgroup v2's `cpu.max` grants, None for no limit."""
    quota, _, period = text.strip().partition(" ")
    if quota == "max" or not quota:
        return None
    return int(quota) / int(period or 100_000)


def _cgroup_quota() -> float | None:
    try:
        if _CGROUP_V2.exists():
            return parse_cpu_max(_CGROUP_V2.read_text())
        quota = int(_CGROUP_V1_QUOTA.read_text())
        return None if quota <= 0 else quota / int(_CGROUP_V1_PERIOD.read_text())
    except (OSError, ValueError):
        return None
