"""The volumes of a model pod and where they are mounted."""

from lumen_manifest import names
from lumen_manifest.model_service import CacheSpec, CacheType
from lumen_manifest.render.context import Manifest, Rendering
from lumen_manifest.source_uri import source_claim

CONFIG, CACHE, TMP, SOURCE = "config", "cache", "tmp", "source"
TMP_LIMIT = "1Gi"


def cache_of(rendering: Rendering) -> CacheSpec:
    """The service's cache, else its pool's."""
    return rendering.service.spec.cache or rendering.pool.spec.cache


def volumes(rendering: Rendering, config_map: str) -> list[Manifest]:
    """Render the pod's volumes."""
    found: list[Manifest] = [
        {"name": CONFIG, "configMap": {"name": config_map}},
        {"name": CACHE, **_cache_volume(cache_of(rendering))},
        {"name": TMP, "emptyDir": {"sizeLimit": TMP_LIMIT}},
    ]
    claim = source_claim(rendering.service.spec)
    if claim is not None:
        found.append(
            {"name": SOURCE, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
        )
    return found


def mounts(rendering: Rendering, *, cache_read_only: bool) -> list[Manifest]:
    """Render a container's mounts; only the server sees the cache read-only."""
    found: list[Manifest] = [
        {"name": CONFIG, "mountPath": names.CONFIG_DIR, "readOnly": True},
        {"name": CACHE, "mountPath": names.CACHE_DIR, "readOnly": cache_read_only},
        {"name": TMP, "mountPath": names.TMP_DIR, "readOnly": False},
    ]
    if source_claim(rendering.service.spec) is not None:
        found.append({"name": SOURCE, "mountPath": names.SOURCE_DIR, "readOnly": True})
    return found


def _cache_volume(cache: CacheSpec) -> Manifest:
    if cache.type is CacheType.PERSISTENT_VOLUME_CLAIM:
        return {"persistentVolumeClaim": {"claimName": cache.claim_name}}
    return {"emptyDir": {"sizeLimit": cache.size_limit}}
