"""The Python client of Lumen: `Client` for ordinary code, `AsyncClient` for asyncio."""

from lumen_client.aio import AsyncClient
from lumen_client.answers import Classification, Embedding, Label, ServiceCapabilities
from lumen_client.connection import Tls
from lumen_client.content import Image, Text
from lumen_client.errors import (
    CallStopped,
    ClientError,
    ContentError,
    ItemError,
    NotAllowed,
    NotForThisServer,
    NotInTime,
    NotReachable,
    NotThere,
    RequestRefused,
    ServerError,
    ServerFull,
    ServerNotReady,
    UsageError,
)
from lumen_client.matrix import TextCut
from lumen_client.ordered import ItemAnswer
from lumen_client.sync import Client

__all__ = [
    "AsyncClient",
    "CallStopped",
    "Classification",
    "Client",
    "ClientError",
    "ContentError",
    "Embedding",
    "Image",
    "ItemAnswer",
    "ItemError",
    "Label",
    "NotAllowed",
    "NotForThisServer",
    "NotInTime",
    "NotReachable",
    "NotThere",
    "RequestRefused",
    "ServerError",
    "ServerFull",
    "ServerNotReady",
    "ServiceCapabilities",
    "Text",
    "TextCut",
    "Tls",
    "UsageError",
]
