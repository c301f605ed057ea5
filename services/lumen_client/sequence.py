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
from lumen_client.folders import PictureFolder
from lumen_client.strings import shown

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


def pictures_in(path: Path) -> Iterator[Path]:
    """Yield the pictures below a folder, as `PictureFolder` finds them.

    Raises ContentError when there are none and, after the others, when a part cannot be listed.
    """
    folder = PictureFolder(path)
    found = False
    for picture in folder:
        found = True
        yield picture
    if folder.unreadable:
        where, why = folder.unreadable[0]
        raise ContentError(f"the folder {shown(where)} cannot be listed: {why}")
    if not found:
        raise ContentError(folder.nothing_found())


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
