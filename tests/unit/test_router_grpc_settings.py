"""What the router tells gRPC before it is loaded."""

import os
import subprocess
import sys

SAY = "import os, lumen_router.__main__; print(os.environ['GRPC_EXPERIMENTS'])"


def said(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("GRPC_")}
    return subprocess.run(
        [sys.executable, "-c", SAY],
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def test_the_grpc_installed_knows_every_experiment_that_the_router_turns_off():
    process = said({})

    assert process.stdout == "-event_engine_client,-event_engine_listener\n"
    assert process.stderr == ""


def test_whoever_starts_the_router_decides_about_experiments():
    assert said({"GRPC_EXPERIMENTS": "-event_engine_client"}).stdout == "-event_engine_client\n"


def test_an_experiment_that_grpc_does_not_know_would_be_seen():
    assert "Unknown experiment" in said({"GRPC_EXPERIMENTS": "-no_such_thing"}).stderr
