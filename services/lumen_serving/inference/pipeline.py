"""One item's way: admission, decode threads, engine, and back within its deadline."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from lumen_serving.backends.base import Modality
from lumen_serving.inference.admission import Admission
from lumen_serving.inference.decoding import PreprocessPool
from lumen_serving.inference.engine import Engine, Item, ItemOutcome, Scoring
from lumen_serving.media.work import PreprocessWork
from lumen_wire.request.callers import Caller


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The long-lived parts that every request goes through."""

    admission: Admission
    decoders: PreprocessPool
    engine: Engine

    async def run(
        self,
        caller: Caller,
        modality: Modality,
        deadline_at: float,
        look: Callable[[], PreprocessWork],
        scoring: Scoring | None = None,
    ) -> ItemOutcome:
        """Return what the model makes of the one item whose work `look` finds in a thread.

        A caller that is cancelled, as it is at its deadline, leaves every queue.

        Raises:
            Overloaded, TooLate: refused at once, or the deadline passed in a queue.
            WireError: what `look`, its work or the model answered.

        """
        with self.admission.admit(modality, deadline_at, caller):
            answer: asyncio.Future[ItemOutcome] = asyncio.get_running_loop().create_future()
            self.admission.decode_begins()
            item = Item(modality, deadline_at, answer, scoring, caller=caller)
            self.decoders.submit(item, look)
            return await answer
