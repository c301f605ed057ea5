"""Conditions and reasons: every way in which a service is, or is not, ready.

A reason is one word for machines and `kubectl get`; its meaning and remedy are for people, and
the documentation's table is made from them. Errors of `lumen_resources`, the operator's checks
and `lumen up` all speak in these reasons.
"""

from collections import defaultdict
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple


class ConditionType(StrEnum):
    """What a condition is about, in the order in which the first false one decides Ready."""

    ACCEPTED = "Accepted"
    RESOURCES_READY = "ResourcesReady"
    DEVICE_READY = "DeviceReady"
    AVAILABLE = "Available"
    PROGRESSING = "Progressing"
    AUTOSCALING = "Autoscaling"
    READY = "Ready"


READY_NEEDS = (
    ConditionType.ACCEPTED,
    ConditionType.RESOURCES_READY,
    ConditionType.DEVICE_READY,
    ConditionType.AVAILABLE,
)
"""Ready is true when all of these are; else it takes the first one's reason and message."""


class Reason(StrEnum):
    """Why a condition is what it is; the groups are the conditions, what is good first."""

    ACCEPTED = "Accepted"
    INVALID_SPEC = "InvalidSpec"
    UNKNOWN_POOL = "UnknownPool"
    RUNTIME_NOT_ON_POOL = "RuntimeNotOnPool"
    DEFAULT_CONFLICT = "DefaultConflict"
    NAME_CONFLICT = "NameConflict"
    FIELD_CONFLICT = "FieldConflict"
    CHILD_REFUSED = "ChildRefused"

    VERIFIED = "Verified"
    FETCHING = "Fetching"
    PREPARING = "Preparing"
    REPOSITORY_NOT_FOUND = "RepositoryNotFound"
    UNAUTHORIZED = "Unauthorized"
    SOURCE_UNREACHABLE = "SourceUnreachable"
    CHECKSUM_MISMATCH = "ChecksumMismatch"
    FILE_MISSING = "FileMissing"
    FILES_INVALID = "FilesInvalid"
    MODEL_INFO_INVALID = "ModelInfoInvalid"
    MODEL_MISMATCH = "ModelMismatch"
    RUNTIME_UNAVAILABLE = "RuntimeUnavailable"
    LABEL_SET_INVALID = "LabelSetInvalid"
    TOKENIZER_INVALID = "TokenizerInvalid"
    PERMISSION_DENIED = "PermissionDenied"
    DISK_FULL = "DiskFull"
    CACHE_EVICTED = "CacheEvicted"
    VOLUME_NOT_BOUND = "VolumeNotBound"
    INIT_CRASHED = "InitCrashed"
    STALLED = "Stalled"
    UNKNOWN = "Unknown"

    DEVICE_ATTESTED = "DeviceAttested"
    WAITING_FOR_DEVICE = "WaitingForDevice"
    NO_NODE_IN_POOL = "NoNodeInPool"
    DEVICE_MISMATCH = "DeviceMismatch"
    DRIVER_MISMATCH = "DriverMismatch"
    DEVICE_TREE_MASKED = "DeviceTreeMasked"
    PARITY_FAILED = "ParityFailed"

    MINIMUM_REPLICAS_AVAILABLE = "MinimumReplicasAvailable"
    DEGRADED = "Degraded"
    NO_REPLICA_READY = "NoReplicaReady"
    SCALED_TO_ZERO = "ScaledToZero"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    START_FAILED = "StartFailed"
    PODS_FORBIDDEN = "PodsForbidden"
    UNSCHEDULABLE = "Unschedulable"
    NODE_NOT_READY = "NodeNotReady"
    POD_EVICTED = "PodEvicted"
    SERVER_CRASHED = "ServerCrashed"
    OUT_OF_MEMORY = "OutOfMemory"

    ROLLING_OUT = "RollingOut"
    ROLLED_BACK = "RolledBack"
    ROLLOUT_COMPLETE = "RolloutComplete"
    ROLLOUT_STALLED = "RolloutStalled"

    ACTIVE = "Active"
    METRICS_UNAVAILABLE = "MetricsUnavailable"

    READY = "Ready"

    @property
    def meaning(self) -> str:
        """One sentence: what is the case."""
        return EXPLANATIONS[self].meaning

    def remedy(self, **facts: str) -> str:
        """One sentence: what to do; empty when nothing is to be done.

        Facts that the sentence asks for and that are not known appear as `<name>`.
        """
        return filled(EXPLANATIONS[self].remedy, facts)


def filled(sentence: str, facts: Mapping[str, str]) -> str:
    """Fill in the facts that a remedy asks for; those that are not known appear as `<name>`."""
    return sentence.format_map(_Placeholders(str, facts))


class _Placeholders(defaultdict[str, str]):
    def __missing__(self, key: str) -> str:
        return f"<{key}>"


class Explanation(NamedTuple):
    """What a reason means, and what to do about it (`{fact}` marks what only the case knows)."""

    meaning: str
    remedy: str = ""


EXPLANATIONS: Mapping[Reason, Explanation] = MappingProxyType(
    {
        Reason.ACCEPTED: Explanation("The manifest is understood and its pool is there."),
        Reason.INVALID_SPEC: Explanation(
            "The manifest says something that cannot be done.",
            "Correct the field that the message names and apply the manifest again.",
        ),
        Reason.UNKNOWN_POOL: Explanation(
            "spec.pool names a LumenNodePool that does not exist.",
            "List the pools with `kubectl get lnp`, and name one of them or create {pool}.",
        ),
        Reason.RUNTIME_NOT_ON_POOL: Explanation(
            "The pool has no image for this runtime.",
            "Choose one of the pool's runtimes ({runtimes}), or another pool.",
        ),
        Reason.DEFAULT_CONFLICT: Explanation(
            "Another service is already the family's default in this namespace.",
            "Remove `default: true` here or from {other}.",
        ),
        Reason.NAME_CONFLICT: Explanation(
            "Callers who say one of this service's names mean another service, or a family.",
            "Take {name} out of spec.aliases, here or there; a service's own name can only be "
            "changed by making the service anew under another one.",
        ),
        Reason.FIELD_CONFLICT: Explanation(
            "An object of somebody else's has the name of a child, "
            "or another field manager applies a field that Lumen renders.",
            "Remove {object} if nobody needs it, or give the service another name; "
            "stop {manager} from applying {field}, and set it in the LumenModelService instead.",
        ),
        Reason.CHILD_REFUSED: Explanation(
            "The API server does not take an object that the service needs.",
            "Change the policy that refuses it, or the spec; it is tried again until then.",
        ),
        Reason.VERIFIED: Explanation("Every file is here and agrees with its digest."),
        Reason.FETCHING: Explanation(
            "The model's files are being fetched.",
            "Wait; status.files.progress shows how far it is.",
        ),
        Reason.PREPARING: Explanation(
            "The vectors of a label set are being computed, once.",
            "Wait; status.files.progress shows how far it is.",
        ),
        Reason.REPOSITORY_NOT_FOUND: Explanation(
            "The source has no such repository or revision.",
            "Check the spelling of spec.model.name and spec.model.source; "
            "a private repository needs spec.model.source.secretRef.",
        ),
        Reason.UNAUTHORIZED: Explanation(
            "The source refuses access.",
            "Put a token that may read {source} into the Secret of spec.model.source.secretRef.",
        ),
        Reason.SOURCE_UNREACHABLE: Explanation(
            "The source does not answer, or with something else than the file.",
            "Check network, proxy and NetworkPolicies on the way to {source}, "
            "or name a mirror (docs/resources.md lists the variables). "
            "It is tried again by itself.",
        ),
        Reason.CHECKSUM_MISMATCH: Explanation(
            "A file's size or digest is not what the source or the lock file says.",
            "Run again to fetch it anew; if it stays, the repository is damaged: "
            "report it to its owner.",
        ),
        Reason.FILE_MISSING: Explanation(
            "The repository lacks a file that the model info or the manifest names.",
            "Choose a runtime and precision whose files exist, or put the missing file there.",
        ),
        Reason.FILES_INVALID: Explanation(
            "A file has the right digest but not the right contents.",
            "The repository's owner must replace {file}; choose another revision until then.",
        ),
        Reason.MODEL_INFO_INVALID: Explanation(
            "model_info.json is missing, breaks its rules, proves no digests, or contradicts "
            "another file about the preprocessing.",
            "See what is wrong with `lumen resources validate-model-info FOLDER`; "
            "record missing digests with `lumen resources verify --write FOLDER`.",
        ),
        Reason.MODEL_MISMATCH: Explanation(
            "The files are of another model, or of another family, than the manifest names.",
            "Correct spec.model.name or spec.family, or name the right files in spec.model.source.",
        ),
        Reason.RUNTIME_UNAVAILABLE: Explanation(
            "The model has no files for this runtime, or the runtime's library is not installed.",
            "Choose another runtime, put this one's files there, or install {package}.",
        ),
        Reason.LABEL_SET_INVALID: Explanation(
            "A label set is missing, its labels and vectors do not fit together, or a vector is "
            "zero or not finite.",
            "Correct spec.labelSets, or compute the vectors anew with "
            "`lumen resources labels -f FILE --prepare`.",
        ),
        Reason.TOKENIZER_INVALID: Explanation(
            "The tokenizer cannot be loaded, does not fit the text model, or its settings ask for "
            "what is not done here.",
            "The repository's owner must replace {file}; choose another revision until then.",
        ),
        Reason.PERMISSION_DENIED: Explanation(
            "The cache cannot be written, or the source cannot be read.",
            "Give user and group 65532 access to {path}.",
        ),
        Reason.DISK_FULL: Explanation(
            "The cache has no room for the model's files.",
            "Free {missing}, or raise spec.cache.sizeLimit or the claim's size.",
        ),
        Reason.CACHE_EVICTED: Explanation(
            "The kubelet evicted the pod because its cache grew beyond the limit.",
            "Raise spec.cache.sizeLimit above {needed}.",
        ),
        Reason.VOLUME_NOT_BOUND: Explanation(
            "A claim that the pods mount does not exist or is not bound.",
            "Create the claim {claim} in this namespace, or correct spec.cache.claimName or "
            "spec.model.source.uri.",
        ),
        Reason.INIT_CRASHED: Explanation(
            "An init container ended without saying why.",
            "Read its log: kubectl logs -n {namespace} {pod} -c {container} --previous",
        ),
        Reason.STALLED: Explanation(
            "Fetching or preparing has made no progress for spec.rollout.stallSeconds.",
            "Look at the init container's log; check the network, or raise stallSeconds.",
        ),
        Reason.UNKNOWN: Explanation(
            "No pod has said anything yet.",
            "Wait for the first pod; `kubectl describe` shows what holds it.",
        ),
        Reason.DEVICE_ATTESTED: Explanation("The server proved that it computes on its device."),
        Reason.WAITING_FOR_DEVICE: Explanation(
            "Every device of the pool is in use.",
            "Free it, add a node, or share the card "
            "(docs/pools.md#sharing prints the device plugin's snippet).",
        ),
        Reason.NO_NODE_IN_POOL: Explanation(
            "No node has the pool's labels.",
            "Label a node: kubectl label node NAME {selector}",
        ),
        Reason.DEVICE_MISMATCH: Explanation(
            "The server finds another device than its pool promises.",
            "Check the pool's nodeSelector and device, and the node's device plugin.",
        ),
        Reason.DRIVER_MISMATCH: Explanation(
            "The device's driver does not fit the image's library.",
            "Update the driver on {node}, or name another image in the pool's images.",
        ),
        Reason.DEVICE_TREE_MASKED: Explanation(
            "The NPU's library cannot read /proc/device-tree.",
            "Set podSecurity.procMount: Unmasked and hostUsers: false in the pool, "
            "or run the server on the board and name it in spec.external.",
        ),
        Reason.PARITY_FAILED: Explanation(
            "The vectors differ from the model's reference vectors.",
            "Use another precision or runtime, or export the files anew; "
            "vectors that are off would spoil every search.",
        ),
        Reason.MINIMUM_REPLICAS_AVAILABLE: Explanation("Enough pods serve."),
        Reason.DEGRADED: Explanation(
            "Pods serve, but fewer than were asked for, and something holds the others.",
            "Do what the message says of the pod that is held; the others serve meanwhile.",
        ),
        Reason.NO_REPLICA_READY: Explanation(
            "No pod serves yet.",
            "Wait for the first pod; `kubectl describe pod -l lumen.dev/service={service}` "
            "shows what holds it.",
        ),
        Reason.SCALED_TO_ZERO: Explanation(
            "spec.replicas is 0.",
            "Start it with `kubectl scale lms {service} --replicas=1`.",
        ),
        Reason.IMAGE_PULL_FAILED: Explanation(
            "The node cannot pull the server's image.",
            "Check the image's name in the pool, and spec.podTemplate.imagePullSecrets.",
        ),
        Reason.START_FAILED: Explanation(
            "The node cannot set a pod up or start one of its containers.",
            "Put right on node {node} what the message names; it is tried again by itself.",
        ),
        Reason.PODS_FORBIDDEN: Explanation(
            "The cluster does not admit the pods: a quota, a limit, a policy or a Pod Security "
            "level, or something that they name does not exist.",
            "Change the rule that the message names, or what it is against in the spec.",
        ),
        Reason.UNSCHEDULABLE: Explanation(
            "The scheduler finds no node for a pod.",
            "Make room on a node of pool {pool} or add one; see the message for what each lacks.",
        ),
        Reason.NODE_NOT_READY: Explanation(
            "The node of a pod is not ready, or is gone.",
            "Bring node {node} back, or, if it will not return, run `kubectl delete node {node}`: "
            "its pods are then made anew elsewhere.",
        ),
        Reason.POD_EVICTED: Explanation(
            "A node evicted a pod, or took none in.",
            "See with `kubectl describe node {node}` what it is short of.",
        ),
        Reason.SERVER_CRASHED: Explanation(
            "The server ended by itself.",
            "Read its last lines: kubectl logs -c server --previous -l lumen.dev/service={service}",
        ),
        Reason.OUT_OF_MEMORY: Explanation(
            "A container needed more memory than it may have.",
            "Raise spec.resources.limits.memory, or lower spec.server.maxBatchSize.",
        ),
        Reason.ROLLING_OUT: Explanation("A new revision is taking over."),
        Reason.ROLLED_BACK: Explanation(
            "The revision failed, and the last Ready one serves again.",
            "Apply a corrected manifest; the rejected one is not tried a second time.",
        ),
        Reason.ROLLOUT_COMPLETE: Explanation("Every pod runs the current revision."),
        Reason.ROLLOUT_STALLED: Explanation(
            "The new revision did not become Ready within its deadline.",
            "Do what the message says; where nothing is wrong and it only takes longer, raise "
            "spec.rollout.progressDeadlineSeconds.",
        ),
        Reason.ACTIVE: Explanation("The number of pods follows the load."),
        Reason.METRICS_UNAVAILABLE: Explanation(
            "The metric that autoscaling asks for is not there; minReplicas holds.",
            "Install metrics-server for cpu, or prometheus-adapter with Lumen's rules for the "
            "others.",
        ),
        Reason.READY: Explanation("The service answers."),
    }
)


class Outcomes(NamedTuple):
    """The reasons a condition may carry, by its status."""

    true: tuple[Reason, ...]
    otherwise: tuple[Reason, ...]


def _from(first: Reason, last: Reason) -> tuple[Reason, ...]:
    every = tuple(Reason)
    return every[every.index(first) : every.index(last) + 1]


OUTCOMES: Mapping[ConditionType, Outcomes] = MappingProxyType(
    {
        ConditionType.ACCEPTED: Outcomes(
            (Reason.ACCEPTED,), _from(Reason.INVALID_SPEC, Reason.CHILD_REFUSED)
        ),
        ConditionType.RESOURCES_READY: Outcomes(
            (Reason.VERIFIED,), _from(Reason.FETCHING, Reason.UNKNOWN)
        ),
        ConditionType.DEVICE_READY: Outcomes(
            (Reason.DEVICE_ATTESTED,),
            (*_from(Reason.WAITING_FOR_DEVICE, Reason.PARITY_FAILED), Reason.UNKNOWN),
        ),
        ConditionType.AVAILABLE: Outcomes(
            (Reason.MINIMUM_REPLICAS_AVAILABLE, Reason.DEGRADED),
            _from(Reason.NO_REPLICA_READY, Reason.OUT_OF_MEMORY),
        ),
        ConditionType.PROGRESSING: Outcomes(
            (Reason.ROLLING_OUT, Reason.ROLLED_BACK),
            (Reason.ROLLOUT_COMPLETE, Reason.ROLLOUT_STALLED),
        ),
        ConditionType.AUTOSCALING: Outcomes((Reason.ACTIVE,), (Reason.METRICS_UNAVAILABLE,)),
    }
)
"""Ready is not listed: it is true with Ready, else it repeats one of READY_NEEDS."""

NOT_AS_ASKED = frozenset({Reason.ROLLED_BACK, Reason.ROLLOUT_STALLED})
"""What Progressing says when the newest revision was given up; an earlier one may run on."""
