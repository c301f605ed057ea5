"""What a failed request leaves behind."""

import asyncio
import gc
import weakref

import pytest

from lumen_wire.errors import InvalidArgument, WireError
from lumen_wire.server.interceptors import run_handler


class Payload:
    """Stands for megabytes that a request holds."""


def refused(payload: Payload, cause: Exception | None) -> InvalidArgument:
    """Return an error that was raised, in a decode thread say, by who had the payload."""
    try:
        try:
            if cause is not None:
                raise cause
        finally:
            raise InvalidArgument("The picture is damaged.") from cause
    except InvalidArgument as error:
        assert payload is not None
        return error


async def answered_by_a_future(payload: Payload, cause: Exception | None) -> None:
    """Wait as requests do: the future is a local, and what it raises knows this frame."""
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(answer.set_exception, refused(payload, cause))
    await answer


@pytest.mark.parametrize("cause", [None, ValueError("of a library")])
async def test_what_a_refused_request_held_is_free_at_once_and_not_at_the_next_collection(cause):
    gc.disable()
    try:
        payload = Payload()
        gone = weakref.ref(payload)
        error = await run_handler(answered_by_a_future(payload, cause), "request failed")
        del payload
        await asyncio.sleep(0)

        assert isinstance(error, WireError)
        assert gone() is None
    finally:
        gc.enable()
