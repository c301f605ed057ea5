"""status of a LumenModelService: what the operator, or `lumen up`, found out.

Status is written by us alone, so an older reader ignores fields of a newer writer.
"""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from lumen_manifest.conditions import ConditionType
from lumen_manifest.spec.field_types import Message, Strict, TaskNames, UniqueBy, Word


class ObservedModel(Strict):
    """A part of status; unknown fields of a newer version are ignored."""

    model_config = ConfigDict(extra="ignore")


class Condition(ObservedModel):
    """One statement about the object, as in meta/v1."""

    type: ConditionType = Field(description="What the statement is about.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: Word = Field(description="One word that says why; docs/conditions.md explains each.")
    message: Message = Field(default="", description="What happened and what to do about it.")
    last_transition_time: Word = Field(
        default="", description="When the status last changed, RFC 3339."
    )
    observed_generation: int = Field(
        default=0, description="The generation of the spec that the statement is about."
    )


Conditions = Annotated[tuple[Condition, ...], Field(max_length=8), UniqueBy("type")]


class RuntimeStatus(ObservedModel):
    """What the server attested about how it computes."""

    name: Word = Field(default="", description="The runtime, such as onnx.")
    device: Word = Field(default="", description="The device it computes on, by its own evidence.")
    precision: Word = Field(default="", description="The precision that is computed.")
    version: Word = Field(default="", description="The runtime library's version.")
    parity_cosine: float | None = Field(
        default=None,
        description="The lowest cosine to the reference vectors; absent when the model has none.",
    )


class ProgressStatus(ObservedModel):
    """How far the fetching of files is."""

    phase: Word = Field(default="", description="What is being done, such as Fetching.")
    bytes_done: int = Field(default=0, ge=0, description="Bytes that are here.")
    bytes_total: int = Field(default=0, ge=0, description="Bytes in all; 0 while unknown.")
    eta_seconds: int | None = Field(default=None, ge=0, description="Seconds left, an estimate.")
    progressed_at: Word = Field(default="", description="When this last moved, RFC 3339.")


class FilesStatus(ObservedModel):
    """The files that were verified, and that every pod uses."""

    revision: Word = Field(default="", description="The commit that the revision resolved to.")
    digest: Word = Field(default="", description="The digest of the lock file.")
    bytes: int = Field(default=0, ge=0, description="The size of all files.")
    license: Word | None = Field(
        default=None, description="The terms that the repository names, such as mit."
    )
    progress: ProgressStatus | None = Field(
        default=None, description="How far fetching is; absent when it is done."
    )


class RouteStatus(ObservedModel):
    """One way of the router to pods of this service."""

    variant: Word = Field(description="The variant that these pods belong to.")
    service: Message = Field(description="The headless Service whose endpoints are the pods.")
    weight: int = Field(default=100, ge=0, le=100, description="The share of calls, in percent.")
    tasks: TaskNames = Field(default=(), description="The tasks that are routed this way.")
    embedding_space: Word = Field(
        default="", description="The space that the vectors of these pods belong to."
    )


class ModelServiceStatus(ObservedModel):
    """What is known about a LumenModelService."""

    observed_generation: int = Field(
        default=0, description="The generation of the spec that this status is about."
    )
    replicas: int = Field(default=0, ge=0, description="Pods that exist.")
    ready_replicas: int = Field(default=0, ge=0, description="Pods that serve.")
    selector: Message = Field(default="", description="The pods' label selector, for the HPA.")
    endpoint: Message = Field(default="", description="Where callers reach the service.")
    tasks: TaskNames = Field(default=(), description="The tasks that are answered.")
    model_id: Word = Field(default="", description="The model_id of every answer.")
    embedding_dim: int = Field(default=0, ge=0, description="The length of the vectors.")
    embedding_space: Word = Field(
        default="", description="The digest of all that decides what a vector means."
    )
    ready: Word = Field(default="", description="Ready pods of those wanted, such as 2/2.")
    reason: Word = Field(
        default="",
        description="Why the service is not ready, has too few pods, or runs another revision; "
        "empty when all is as it was asked for.",
    )
    runtime: RuntimeStatus | None = Field(
        default=None, description="What the server attested about how it computes."
    )
    files: FilesStatus | None = Field(default=None, description="The files in use.")
    routes: Annotated[tuple[RouteStatus, ...], Field(max_length=4)] = Field(
        default=(), description="The router's ways to the pods."
    )
    stable_revision: Word = Field(
        default="", description="The last revision that became Ready; a rollback returns to it."
    )
    rejected_revision: Word = Field(
        default="", description="The revision that failed; it is not tried again."
    )
    conditions: Conditions = Field(default=(), description="Statements about the service.")
