"""A server of the native protocol that answers each payload as a script says, and counts."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc
import numpy as np

from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.pb import ml_service_pb2_grpc as pb_grpc

DIM = 4


class Refusal(Exception):
    """What a script raises to end the call with a status."""

    def __init__(self, code: grpc.StatusCode, message: str, trailing: tuple = ()) -> None:
        super().__init__(message)
        self.code = code
        self.trailing = trailing


def vector_of(payload: bytes) -> np.ndarray:
    """The vector that this server has for a payload: told apart by its bytes."""
    vector = np.zeros(DIM, "<f4")
    vector[0], vector[1] = sum(payload), len(payload)
    return vector


@dataclass
class ScriptedServer(pb_grpc.InferenceServicer):
    """`script` gets each whole payload and returns meta; it may block, or raise a Refusal."""

    script: Callable[[bytes], dict[str, str]] = lambda _: {}
    port: int = 0
    calls: list[bytes] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def address(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    def Infer(self, requests, context):  # noqa: N802 - gRPC's name
        parts = list(requests)
        if not parts:
            return  # the caller left before it said anything
        payload = b"".join(part.payload for part in parts)
        with self.lock:
            self.calls.append(payload)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            meta = self.script(payload)
        except Refusal as refusal:
            context.set_trailing_metadata(refusal.trailing)
            context.abort(refusal.code, str(refusal))
        finally:
            with self.lock:
                self.at_once -= 1
        yield pb.InferResponse(
            correlation_id=parts[0].correlation_id,
            is_final=True,
            result=vector_of(payload).tobytes(),
            meta={"embedding_space": "one", **meta},
        )

    def Health(self, request, context):  # noqa: N802
        del request, context
        return pb_grpc.google_dot_protobuf_dot_empty__pb2.Empty()


@contextlib.contextmanager
def a_scripted_server(script=lambda _: {}) -> Iterator[ScriptedServer]:
    served = ScriptedServer(script)
    server = grpc.server(ThreadPoolExecutor(64))
    pb_grpc.add_InferenceServicer_to_server(served, server)
    served.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield served
    finally:
        server.stop(0).wait()
