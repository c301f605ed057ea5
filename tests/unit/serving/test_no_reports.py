"""Does a library report to its maker that it was started?"""

import subprocess
import sys

CODE = """
import os, sys
import lumen_serving.graphs.{}
print(os.environ.get("ORT_DISABLE_TELEMETRY"), sys.modules.get("openvino_telemetry"))
"""


def reports_of(module: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", CODE.format(module)], capture_output=True, text=True, check=True
    )
    return ran.stdout.strip()


def test_onnxruntime_is_told_not_to():
    assert reports_of("ort").split()[0] == "1"


def test_openvino_finds_nothing_to_report_with():
    assert reports_of("openvino.session").split()[1] == "None"
    assert "openvino_telemetry" not in reports_of("openvino.session")
