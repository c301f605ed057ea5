"""Reads `GET /status` of a process; `lumen_manifest.pod_reports` says what it means.

A dozen lines of HTTP over asyncio instead of a client library: the page is ours, on loopback and
small, and the library's import would cost every start a tenth of a second.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import orjson

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


def ready_pods(page: Mapping[str, Any]) -> set[str]:
    """Return the addresses of the pods to which a router sends calls."""
    services = page.get("services")
    return {
        pod["address"]
        for service in (services if isinstance(services, list) else [])
        for pod in service.get("pods", [])
        if pod.get("ready")
    }
