"""ConfigMaps: the server's settings, and the pinned files.

Settings are immutable and named by their hash: a change makes another ConfigMap and so new pods.
Pins are apart from them and mutable, since recording a pin must not restart the pod it came from;
they are named by the model they belong to, so that a rollout and its way back have each their own.
"""

from lumen_manifest.model_service import LumenModelService
from lumen_manifest.names import config_map_name, digest_of, pins_name
from lumen_manifest.render.context import Manifest, Rendering
from lumen_manifest.render.metadata import child_metadata
from lumen_manifest.render.once import once
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
        rknn_target=context.rknn_target or (accelerator.value if on_npu else ""),
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
        "metadata": child_metadata(rendering.service, pins_name_of(rendering.service)),
        "data": {
            "revision": pinned.revision,
            "digest": pinned.digest,
            "embeddingSpace": pinned.embedding_space,
            "model": model_digest(rendering.service),
        },
    }


@once
def pins_name_of(service: LumenModelService) -> str:
    """Name the ConfigMap of the service's pins: they are of its model and its label sets."""
    spec = service.spec
    sets = [
        {"name": one.name, "source": one.source and one.source.model_dump(mode="json")}
        for one in spec.label_sets
    ]
    return pins_name(service.name, {"model": spec.model.model_dump(mode="json"), "sets": sets})


@once
def model_digest(service: LumenModelService) -> str:
    """Hash spec.model: while it stays, so does the commit."""
    return digest_of(service.spec.model.model_dump(mode="json"))
