"""Whether a request may come in: by count, and by whether it would be in time.

Bytes are the third bound, and the wire's: it counts payload while it arrives, with the budget
that all streams share. Places are shared by the same rule, and callers take turns in the line, so
whoever has little in flight finds a place and waits for little. Asked before anything is decoded.
A refusal is immediate and says when to come back; nothing that is admitted waits longer than its
deadline allows, as far as can be told.
"""

import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from lumen_serving.errors import Overloaded, TooLate
from lumen_serving.inference.costs import Measured
from lumen_serving.metrics import ServerMetrics
from lumen_terms.modality import Modality
from lumen_wire.request.budget import Account, places
from lumen_wire.request.callers import STRANGER, Caller

# Both averages follow what happens now, so that a node that became slow refuses in time.
_WEIGHT = 0.2
_PACE_BOUNDS = (0.25, 20.0)


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """How many requests of one caller may be in flight, and of all callers twice as many.

    `slots` batches and `decoders` payloads run at a time.
    """

    requests: int
    slots: int = 1
    decoders: int = 1


class Admission:
    """Counts what is in flight and predicts what a newcomer would wait.

    `measured` is from the warm-up, for each tower of the model. Lives on the event loop, but for
    the two verbs about decoding.
    """

    def __init__(
        self,
        limits: AdmissionLimits,
        measured: Mapping[Modality, Measured],
        metrics: ServerMetrics,
    ) -> None:
        self._limits = limits
        self._measured = dict(measured)
        self._metrics = metrics
        self._pending = dict.fromkeys(measured, 0)
        self._places = places(limits.requests)
        self._decode_lock = threading.Lock()
        self._decoding = 0
        self._pace = 1.0
        self._decode_s = 0.0
        metrics.predict_wait_with(lambda: max(map(self.predicted_wait_s, measured)))

    @property
    def in_flight(self) -> int:
        """How many requests are admitted and not answered yet."""
        return sum(self._pending.values())

    @contextmanager
    def admit(
        self, modality: Modality, deadline_at: float, caller: Caller = STRANGER
    ) -> Iterator[None]:
        """Hold a place while the request is answered.

        Raises:
            TooLate: the deadline has passed.
            Overloaded: too many are in flight, or the deadline can't be met; with `retry_after_ms`.

        """
        place = self._places.account(*caller)
        try:
            turns = place.ahead
            self._take_one(place)
            self._refuse_what_comes_too_late(modality, deadline_at - time.monotonic(), turns)
            self._change(modality, 1)
            try:
                yield
            finally:
                self._change(modality, -1)
        finally:
            place.close()

    def batch_done(self, modality: Modality, size: int, seconds: float) -> None:
        """Learn from a batch how the present compares with the warm-up."""
        predicted_ms = self._measured[modality].curve.predict_ms(size)
        if predicted_ms <= 0:
            return
        low, high = _PACE_BOUNDS
        now = min(max(seconds * 1000 / predicted_ms, low), high)
        self._pace += _WEIGHT * (now - self._pace)

    def decode_begins(self) -> None:
        """Count a payload that waits to be decoded; from any thread."""
        with self._decode_lock:
            self._decoding += 1

    def decode_ended(self, seconds: float) -> None:
        """Learn how long a payload took, 0 if it was dropped undecoded; from any thread."""
        with self._decode_lock:
            self._decoding -= 1
            if seconds > 0:
                self._decode_s += _WEIGHT * (seconds - self._decode_s)

    def predicted_wait_s(self, modality: Modality, turns: int | None = None) -> float:
        """Return the seconds until a newcomer of that modality would have its answer.

        `turns` is how many of those that are in flight have theirs before it, None: all.
        """
        share = 1.0 if turns is None else self._share_ahead(turns)
        ahead = {m: math.ceil(count * share) for m, count in self._pending.items()}
        ahead[modality] += 1
        total_ms = sum(self._work_ms(m, count) for m, count in ahead.items())
        # Batches of several slots overlap, but no batch ends sooner than it takes alone.
        model_s = max(self._work_ms(modality, 1), total_ms / self._limits.slots) / 1000
        # Decoding goes on beside the model; whichever is the longer decides.
        decode_s = self._decode_s * self._decoding * share / self._limits.decoders
        return self._decode_s + max(model_s, decode_s)

    def _share_ahead(self, turns: int) -> float:
        """Return the part of what is in flight that goes first; what runs now runs to its end."""
        running = self._limits.slots * max(one.max_batch_size for one in self._measured.values())
        return min(1.0, (turns + running) / max(1, self.in_flight))

    def _work_ms(self, modality: Modality, count: int) -> float:
        most, curve = self._measured[modality].max_batch_size, self._measured[modality].curve
        full, rest = divmod(count, most)
        whole_ms = full * curve.predict_ms(most)
        return self._pace * (whole_ms + (curve.predict_ms(rest) if rest else 0.0))

    def _take_one(self, place: Account) -> None:
        if not place.try_take(1):
            self._metrics.refused("count")
            raise Overloaded(
                f"{self.in_flight} requests are in flight, and this caller has its share of them. "
                "Send the request again later.",
                retry_after_ms=self._one_batch_ms(),
            )

    def _refuse_what_comes_too_late(
        self, modality: Modality, remaining_s: float, turns: int
    ) -> None:
        if remaining_s <= 0:
            self._metrics.refused("deadline")
            raise TooLate("The deadline had passed when the request arrived.")
        wait_s = self.predicted_wait_s(modality, turns)
        # An idle server always tries: a wrong prediction could heal in no other way.
        if wait_s > remaining_s and self.in_flight > 0:
            self._metrics.refused("wait")
            raise Overloaded(
                f"The answer would take about {wait_s:.1f} s and the deadline leaves "
                f"{remaining_s:.1f} s. Send the request again later or give it more time.",
                retry_after_ms=max(1, math.ceil((wait_s - remaining_s) * 1000)),
            )

    def _one_batch_ms(self) -> int:
        """Return when the batch that runs now should be done, and with it some places free."""
        batches_ms = [
            self._work_ms(modality, min(pending, self._measured[modality].max_batch_size))
            for modality, pending in self._pending.items()
        ]
        return max(1, math.ceil(max(batches_ms)))

    def _change(self, modality: Modality, requests: int) -> None:
        self._pending[modality] += requests
        self._metrics.inflight(self.in_flight)
