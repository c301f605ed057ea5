"""Reads `GET /status` of a pod's process: progress of long work, attestation of a ready server.

A dozen lines of HTTP over asyncio instead of a client library: the page is ours, on loopback and
small, and the library's import would cost every start a tenth of a second.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import orjson

from lumen_local.events import Attestation, Progress

MAX_PAGE_BYTES = 256 * 1024
TIMEOUT_S = 1.0


async def fetch_status(host: str, port: int) -> Mapping[str, Any]:
    """Return the page's JSON object; empty when there is none to be had within a second."""
    with contextlib.suppress(OSError, TimeoutError, ValueError):
        async with asyncio.timeout(TIMEOUT_S):
            body = await _get(host, port)
        page = orjson.loads(body)
        if isinstance(page, dict):
            return page
    return {}


async def _get(host: str, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(host, port, limit=MAX_PAGE_BYTES)
    try:
        writer.write(f"GET /status HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        answer = await reader.read(MAX_PAGE_BYTES)
        while more := await reader.read(MAX_PAGE_BYTES - len(answer)):
            answer += more
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise ValueError("The status page did not answer 200.")
    return body


def progress_of(page: Mapping[str, Any]) -> Progress:
    """Read the progress of an init container; what is missing or odd counts as unknown."""
    eta = page.get("etaSeconds")
    return Progress(
        phase=_text(page, "phase"),
        done_bytes=int(_number(page, "bytesDone")),
        total_bytes=int(_number(page, "bytesTotal")),
        rate_bytes_per_s=_number(page, "rateBytesPerS"),
        eta_s=float(eta) if isinstance(eta, int | float) else None,
        file=_text(page, "file"),
    )


def attestation_of(page: Mapping[str, Any]) -> Attestation:
    """Read what a server says of itself."""
    runtime = page.get("runtime")
    computed: Mapping[str, Any] = runtime if isinstance(runtime, dict) else {}
    parity = computed.get("parityCosine")
    tasks = page.get("tasks")
    return Attestation(
        runtime=_text(computed, "name") or _text(page, "runtime"),
        version=_text(computed, "version"),
        device=_text(computed, "device"),
        precision=_text(computed, "precision"),
        parity=float(parity) if isinstance(parity, int | float) else None,
        model_id=_text(page, "modelId"),
        embedding_dim=int(_number(page, "embeddingDim")),
        embedding_space=_text(page, "embeddingSpace"),
        tasks=tuple(str(t) for t in tasks) if isinstance(tasks, list) else (),
    )


def ready_pods(page: Mapping[str, Any]) -> set[str]:
    """Return the addresses of the pods to which a router sends calls."""
    services = page.get("services")
    return {
        pod["address"]
        for service in (services if isinstance(services, list) else [])
        for pod in service.get("pods", [])
        if pod.get("ready")
    }


def _text(page: Mapping[str, Any], key: str) -> str:
    value = page.get(key)
    return value if isinstance(value, str) else ""


def _number(page: Mapping[str, Any], key: str) -> float:
    value = page.get(key)
    return float(value) if isinstance(value, int | float) else 0.0
