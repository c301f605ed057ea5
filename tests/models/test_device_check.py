"""The script for a borrowed GPU does what it says, on a CPU and on small models."""

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("device_check.py")


def test_every_check_runs_and_says_what_it_found():
    ended = subprocess.run(
        [sys.executable, str(SCRIPT), "--device", "cpu", "--tiny"],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": f"{SCRIPT.parent}:{SCRIPT.parents[1] / 'worlds'}"},
        text=True,
        timeout=280,
    )

    said = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.returncode == 0, ended.stdout + ended.stderr
    checks = [one["check"] for one in said]
    assert checks[:4] == ["torch fp32", "torch bf16", "speed fp32", "onnx fp32"]
    assert {one["model"] for one in said} == {"laion-vit-b-32", "transformers-siglip"}
    assert all(one["ok"] for one in said)
    assert min(said[2]["from_bytes"].values()) > 0
