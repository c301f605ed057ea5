"""What is stored of a service: the server's settings, the pinned files, and the last specs.

Settings are immutable and named by their hash: a change makes another ConfigMap and so new pods.
Pins are apart from them and mutable, since recording a pin must not restart the pod it came from;
they are named by the model they belong to, so that a rollout and its way back have each their own.
"""

from lumen_manifest.model_service import LumenModelService
from lumen_manifest.names import config_map_name
from lumen_manifest.render.context import Manifest, Rendering, child_metadata
from lumen_manifest.server_config import CONFIG_KEY, ServerConfig
from lumen_manifest.spec.enums import Accelerator


def server_config(rendering: Rendering) -> ServerConfig:
    """Gather all that the pod's processes are told."""
    service, context = rendering.service, rendering.context
    spec, accelerator = service.spec, rendering.pool.spec.accelerator
    on_npu = accelerator is Accelerator.RK3588
    return ServerConfig(
        service=service.name,
        namespace=service.metadata.namespace,
        family=spec.family,
        model=spec.model,
        label_sets=spec.label_sets,
        scenes=spec.scenes,
        server=spec.server,
        accelerator=accelerator,
        rknn_target=(context.rknn_target or accelerator.value) if on_npu else "",
        mdns=context.mdns,
        onnx_providers=context.backend.onnx_providers,
        intra_op_threads=context.backend.intra_op_threads,
        inter_op_threads=context.backend.inter_op_threads,
    )


def settings_config_map(rendering: Rendering) -> Manifest:
    """Render the settings as the file that LUMEN_CONFIG names."""
    data = {CONFIG_KEY: server_config(rendering).to_json()}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": child_metadata(
            rendering.service, config_map_name(rendering.service.name, data)
        ),
        "immutable": True,
        "data": data,
    }


def pins_config_map(rendering: Rendering) -> Manifest | None:
    """Render the pinned commit and digest; None until a pod has verified its files."""
    pinned = rendering.context.pinned
    if pinned is None:
        return None
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": child_metadata(rendering.service, rendering.service.pins_name),
        "data": {
            "revision": pinned.revision,
            "digest": pinned.digest,
            "embeddingSpace": pinned.embedding_space,
            "model": rendering.service.model_digest,
            **({"labelSets": pinned.label_sets} if pinned.label_sets else {}),
        },
    }


KEPT = 5


def controller_revision(service: LumenModelService, number: int) -> Manifest:
    """Render the stored spec; `number` counts up and orders the revisions."""
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": child_metadata(service, service.revision_name),
        "revision": number,
        "data": {"spec": service.revised_spec},
    }
