"""The items of a call: what a caller hands in, one by one; a folder is its pictures."""

import asyncio
import itertools
import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PilImage

from lumen_client.content import Image, Text
from lumen_client.errors import ContentError
from lumen_client.strings import PICTURE_SUFFIXES, shown

Contents = Iterable[Any] | AsyncIterable[Any]

_SINGLE = (str, bytes, bytearray, memoryview, os.PathLike, Text, Image, PilImage.Image)
_END = object()


def with_texts(content: Contents, texts: Iterable[str]) -> Contents:
    """Return the items of `content` and then `texts`; raises TypeError for a single item."""
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise TypeError("texts is an iterable of texts: write texts=[text]")
    said = map(Text, texts)
    content = checked(content)
    if isinstance(content, AsyncIterable):
        return _one_after_the_other(content, said)
    return itertools.chain(content, said)


def checked(content: Contents) -> Contents:
    """Return the items as they are; raises TypeError for a single one in their place."""
    is_single = (
        isinstance(content, _SINGLE)
        or hasattr(content, "read")  # its lines are not meant
        or (isinstance(content, np.ndarray) and content.ndim < 4)
        or not isinstance(content, Iterable | AsyncIterable)
    )
    if is_single:
        raise TypeError("this takes an iterable of items: write encode([item])")
    return content


async def each_of(content: Contents) -> AsyncGenerator[Any, None]:
    """Yield all items, a folder as its pictures."""
    async for item in _plain(content):
        if not isinstance(item, str | os.PathLike) or not await asyncio.to_thread(_is_folder, item):
            yield item
            continue
        pictures = pictures_in(Path(os.fsdecode(item)))
        while (picture := await asyncio.to_thread(next, pictures, _END)) is not _END:
            yield picture


def pictures_in(folder: Path) -> Iterator[Path]:
    """Yield the pictures below a folder, by their suffixes, in the order of their names.

    Raises ContentError when there are none, or the folder cannot be listed.
    """
    found = False
    try:
        for parent, folders, names in os.walk(folder, onerror=_refuse):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                suffix = name.rpartition(".")[2].lower()
                if suffix in PICTURE_SUFFIXES and not name.startswith("."):
                    found = True
                    yield Path(parent, name)
    except OSError as error:
        raise ContentError(f"{shown(folder)} cannot be listed: {error.strerror}") from error
    if not found:
        raise ContentError(f"the folder {shown(folder)} holds no pictures")


def _refuse(error: OSError) -> None:
    raise error


def _is_folder(item: "str | os.PathLike[Any]") -> bool:
    try:
        return os.path.isdir(item)  # noqa: PTH112 - a string may hold what Path refuses
    except (OSError, ValueError, TypeError):
        return False


async def _one_after_the_other(
    content: AsyncIterable[Any], rest: Iterable[Any]
) -> AsyncIterator[Any]:
    async for item in content:
        yield item
    for item in rest:
        yield item


async def _plain(content: Contents) -> AsyncIterator[Any]:
    if isinstance(content, AsyncIterable):
        async for item in content:
            yield item
        return
    for item in content:
        yield item
