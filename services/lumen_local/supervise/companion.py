"""A command that runs beside the services: started when they are ready, its end ends the run."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass

NOT_STARTED = 127


@dataclass(frozen=True, slots=True)
class CommandEnded:
    """How the command ended: its exit code as a shell gives it, and why it did not start."""

    code: int
    error: str = ""


async def run_companion(command: Sequence[str], address: str) -> CommandEnded:
    """Run the command to its end with LUMEN_SERVER set to `address`; cancelling terminates it."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command, env=os.environ | {"LUMEN_SERVER": address}
        )
    except OSError as error:
        return CommandEnded(NOT_STARTED, f"{command[0]} can't be started: {error.strerror}")
    try:
        code = await process.wait()
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise
    return CommandEnded(code if code >= 0 else 128 - code)
