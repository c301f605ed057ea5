"""A good manifest as text, and what is said of one that is not."""

import pytest

from lumen_manifest.reading.parse import ManifestError, parse_text

HEAD = """\
apiVersion: lumen.dev/v1alpha1
kind: LumenModelService
metadata:
  name: clip
"""
GOOD = (
    HEAD
    + """\
spec:
  family: clip
  model:
    name: MobileCLIP2-S2
    runtime: onnx
  pool: cpu
"""
)


def problems_of(text: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        parse_text(text, "clip-service.yaml")
    return str(caught.value).splitlines()


def spec_problem(line: str) -> str:
    """Give the one problem of a good manifest with one more line in its spec."""
    (problem,) = problems_of(f"{GOOD}  {line}\n")
    return problem.partition("  ")[2]
