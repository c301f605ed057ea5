"""A program that behaves like a model server as far as a supervisor can see.

Environment: SWITCH names a file that says `loading`, `ready` or `dead` (absent: ready); DIARY names
a file to which signals are appended; HABITS may hold `stubborn` (ignores SIGTERM) and `parent`
(starts a process of its own, in a session of its own, and writes its pid beside the diary).
"""

import os
import signal
import subprocess
import sys
import threading
from concurrent import futures
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
name, habits = os.environ["NAME"], os.environ.get("HABITS", "").split(",")
switch, diary = Path(os.environ["SWITCH"]), Path(os.environ["DIARY"])
done = threading.Event()


def write(text: str) -> None:
    with diary.open("a") as file:
        file.write(f"{name} {text}\n")


def on_term(number: int, frame: object) -> None:
    write("SIGTERM")
    if "stubborn" not in habits:
        done.set()


signal.signal(signal.SIGTERM, on_term)
if "parent" in habits:
    child = subprocess.Popen(
        [sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True
    )
    write(f"grandchild {child.pid}")

board = health.HealthServicer()
server = grpc.server(futures.ThreadPoolExecutor(2))
health_pb2_grpc.add_HealthServicer_to_server(board, server)
server.add_insecure_port(f"127.0.0.1:{os.environ['LUMEN_HEALTH_PORT']}")
server.start()
sys.stdout.write(f"{name} listens\n")
sys.stdout.flush()
while not done.wait(0.02):
    says = switch.read_text() if switch.exists() else "ready"
    board.set("liveness", NOT_SERVING if says == "dead" else SERVING)
    board.set("home_native.v1.Inference", SERVING if says == "ready" else NOT_SERVING)
write("ends")
