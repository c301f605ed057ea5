"""The one package that imports openvino."""

import sys

# While it is imported OpenVINO reports that to its maker, unless what reports cannot be imported.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
