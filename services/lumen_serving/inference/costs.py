"""How long batches take, measured at warm-up: the batch cap and the cost curve.

Admission predicts waits with the curve and the batcher obeys the cap. `fitted` and `chosen_cap`
are pure; `measure` runs a backend on noise.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from lumen_resources.model.layouts import VerifiedModel
from lumen_serving.backends.base import Backend, noise
from lumen_terms.modality import Modality

# A batch this close to the best throughput is big enough; a larger one only adds waiting.
NEAR_BEST = 0.95
# Batches fill when a server is busy, and then decoding takes the cores from the model: a warm-up
# without it sees half of what they gain, and one beside other starting servers nothing at all
# (ViT-B/32 on 2 cores, 32 in flight: bf16 10 % of 19, fp32 7 of 21, int8 25). So they may be so
# large where nothing speaks clearly against it, as long as one holds up nobody for longer.
_BUSY_SIZE, _BUSY_MS = 8, 250.0
_ALIKE = 0.9
# How long one modality is measured with care: three runs a size, and patience.
BUDGET_S = 0.6
# After that each size runs once, with less patience, and none begins later than this.
LIMIT_S = 5.0
_RUNS = 3
# Sizes without a new best after which larger ones are not tried: a CPU may be no quicker with two
# or four items than with one, and a tenth quicker with eight.
_PATIENCE, _LATE_PATIENCE = 3, 2


@dataclass(frozen=True, slots=True)
class BatchTiming:
    """A batch of `size` items took `ms`."""

    size: int
    ms: float


@dataclass(frozen=True, slots=True)
class LatencyModel:
    """A batch of n items takes a_ms * n + b_ms; filled up to the next of `sizes`, if any."""

    a_ms: float
    b_ms: float
    sizes: tuple[int, ...] = ()

    def predict_ms(self, size: int) -> float:
        """Return the milliseconds that a batch of `size` items takes."""
        return self.a_ms * next((full for full in self.sizes if full >= size), size) + self.b_ms


@dataclass(frozen=True, slots=True)
class Measured:
    """What warm-up learned of one modality."""

    max_batch_size: int
    curve: LatencyModel


def fitted(samples: Sequence[BatchTiming]) -> LatencyModel:
    """Return the least-squares line through the samples, neither part negative.

    Each sample counts by its relative error, so that the small batches are not lost beside the
    large ones. One sample gives a line through the origin.
    """
    sizes = np.array([sample.size for sample in samples], np.float64)
    times = np.array([max(sample.ms, 1e-6) for sample in samples], np.float64)
    weight = 1 / times
    through_origin = float(np.sum(sizes * times * weight**2) / np.sum((sizes * weight) ** 2))
    if len(set(sizes)) < 2:
        return LatencyModel(through_origin, 0.0)
    columns = np.stack([sizes, np.ones_like(sizes)], axis=1) * weight[:, None]
    (a, b), *_ = np.linalg.lstsq(columns, np.ones_like(times), rcond=None)
    if b < 0:
        return LatencyModel(through_origin, 0.0)
    if a < 0:
        return LatencyModel(0.0, float(np.sum(times * weight**2) / np.sum(weight**2)))
    return LatencyModel(float(a), float(b))


def chosen_cap(samples: Sequence[BatchTiming]) -> int:
    """Return the smallest measured size within 5 % of the best items per millisecond.

    Of those up to 8 whose batches take a quarter of a second at most, the largest within 10 % of
    their best will do.
    """
    rates = {sample.size: sample.size / sample.ms for sample in samples}
    near = min(size for size in rates if rates[size] >= NEAR_BEST * max(rates.values()))
    short = [one.size for one in samples if one.size <= _BUSY_SIZE and one.ms <= _BUSY_MS]
    best = max((rates[size] for size in short), default=0.0)
    return max([near, *(size for size in short if rates[size] >= _ALIKE * best)])


def measure_batches(
    run: Callable[[int], object],
    sizes: Sequence[int],
    budget_s: float = BUDGET_S,
    clock: Callable[[], float] = time.perf_counter,
) -> Measured:
    """Time `run(size)` at these sizes, ascending, until larger is not better.

    Takes about `budget_s`; past that, only while larger ones may still be better: a slow machine
    must not end up with small batches where large ones pay. At least two are measured, and
    nothing begins after `LIMIT_S`.
    """
    run(sizes[0])  # the first run pays for lazy initialisation
    began_at = clock()
    samples: list[BatchTiming] = []
    best, best_at = 0.0, 0
    for size in sizes:
        elapsed_s = clock() - began_at
        patience = _PATIENCE if elapsed_s < budget_s else _LATE_PATIENCE
        unpaid = len(samples) - best_at
        if len(samples) >= 2 and (unpaid >= patience or elapsed_s > LIMIT_S):
            break
        samples.append(BatchTiming(size, _time_ms(run, size, began_at + budget_s, clock)))
        if size / samples[-1].ms > best / NEAR_BEST:
            best, best_at = size / samples[-1].ms, len(samples)
    return Measured(chosen_cap(samples), fitted(samples))


def measure(
    backend: Backend, model: VerifiedModel, max_batch: int, budget_s: float = BUDGET_S
) -> Mapping[Modality, Measured]:
    """Measure a loaded backend on noise, for each modality that the model can embed."""
    sizes = sizes_up_to(max_batch, backend.batch_sizes)
    items = noise(model, max(sizes))

    def run(modality: Modality, size: int) -> None:
        if modality is Modality.IMAGE:
            backend.embed_images(items[modality][:size])
        else:
            backend.embed_texts(items[modality][:size])

    found = {}
    for modality in sorted(model.modalities):
        one = measure_batches(partial(run, modality), sizes, budget_s)
        curve = replace(one.curve, sizes=backend.batch_sizes)
        found[modality] = Measured(min(one.max_batch_size, max_batch), curve)
    return found


def sizes_up_to(max_batch: int, possible: Sequence[int] = ()) -> list[int]:
    """Return the sizes to try: the possible ones, at least one, or powers of two and the most."""
    if possible:
        return [size for size in possible if size <= max_batch] or [possible[0]]
    powers = [1 << n for n in range(max_batch.bit_length()) if 1 << n < max_batch]
    return [*powers, max_batch]


def _time_ms(
    run: Callable[[int], object], size: int, ends_at: float, clock: Callable[[], float]
) -> float:
    """Return the shortest of up to three runs, the least disturbed; of one when it is late."""
    times = []
    for _ in range(_RUNS):
        began_at = clock()
        run(size)
        times.append((clock() - began_at) * 1000)
        if clock() > ends_at:
            break
    return max(min(times), 1e-6)
