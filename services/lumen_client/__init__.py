"""The Python client of Lumen: `Client` for ordinary code, `AsyncClient` for asyncio."""

from lumen_client.aio import AsyncClient
from lumen_client.answers import Classification, Label, ServiceCapabilities
from lumen_client.connection import Tls
from lumen_client.content import Image, Text
from lumen_client.errors import ClientError, ContentError, ItemError, NotReachable, ServerError
from lumen_client.sync import Client

__all__ = [
    "AsyncClient",
    "Classification",
    "Client",
    "ClientError",
    "ContentError",
    "Image",
    "ItemError",
    "Label",
    "NotReachable",
    "ServerError",
    "ServiceCapabilities",
    "Text",
    "Tls",
]
