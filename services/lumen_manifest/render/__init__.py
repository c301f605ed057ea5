"""From a service and its pool to Kubernetes manifests: pure, one module per kind."""

from lumen_manifest.render.children import Children, render
from lumen_manifest.render.context import Images, Pinned, RenderContext, RenderError

__all__ = ["Children", "Images", "Pinned", "RenderContext", "RenderError", "render"]
