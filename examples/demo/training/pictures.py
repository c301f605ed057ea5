"""The training pictures: drawn by seed, scaled as the server scales, varied as they are used."""

from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from draw import BY_NAME, Subject, draw
from PIL import Image

from training.progress import Progress

SIZE = 64


def _drawn(task: tuple[str, int]) -> np.ndarray:
    name, seed = task
    picture = draw(BY_NAME[name], seed)
    # The server's own resize; a cheaper one here costs accuracy there.
    return np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def drawn_pictures(
    subjects: Sequence[Subject], seeds: range, processes: int, kept: Path | None
) -> dict[str, np.ndarray]:
    """Return uint8 [len(seeds), 64, 64, 3] for every subject.

    `kept` names a file that holds them between runs: read if it is there, written otherwise.
    """
    if kept is not None and kept.exists():
        with np.load(kept) as stored:
            return {name: stored[name] for name in stored.files}
    tasks = [(subject.name, seed) for subject in subjects for seed in seeds]
    progress = Progress("drawing", len(tasks))
    with get_context("spawn").Pool(processes) as pool:
        pictures = []
        for done, picture in enumerate(pool.imap(_drawn, tasks, chunksize=32), start=1):
            pictures.append(picture)
            progress.at(done, f"{len(subjects)} subjects")
    progress.end()
    by_name = {
        subject.name: np.stack(pictures[index * len(seeds) : (index + 1) * len(seeds)])
        for index, subject in enumerate(subjects)
    }
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, **by_name)
    return by_name


def varied(batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return float pictures [n, 3, 64, 64] in 0..1: moved, mirrored, other light, some noise."""
    count = len(batch)

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator)

    pictures = batch.float() / 255
    mirrored = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    pictures = torch.where(mirrored, pictures.flip(3), pictures)
    angle = uniform(-0.12, 0.12).flatten()
    zoom = uniform(0.88, 1.12).flatten()
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = zoom * angle.cos()
    theta[:, 0, 1], theta[:, 1, 0] = -zoom * angle.sin(), zoom * angle.sin()
    theta[:, :, 2] = (torch.rand(count, 2, generator=generator) - 0.5) * 0.16
    grid = torch.nn.functional.affine_grid(theta, list(pictures.shape), align_corners=False)
    pictures = torch.nn.functional.grid_sample(
        pictures, grid, padding_mode="reflection", align_corners=False
    )
    grey = pictures.mean(1, keepdim=True)
    pictures = grey + (pictures - grey) * uniform(0.5, 1.3)
    pictures = (pictures - 0.5) * uniform(0.7, 1.25) + 0.5 + uniform(-0.12, 0.12)
    noise = torch.randn(pictures.shape, generator=generator) * uniform(0.0, 0.04)
    return (pictures + noise).clamp(0, 1)


def batches(
    pictures: dict[str, np.ndarray], size: int, generator: torch.Generator
) -> Iterator[tuple[list[str], torch.Tensor]]:
    """Yield (names, uint8 [size, 3, 64, 64]) for ever, every picture once a round."""
    names = [name for name, stack in pictures.items() for _ in range(len(stack))]
    stacked = torch.from_numpy(np.concatenate(list(pictures.values()))).permute(0, 3, 1, 2)
    while True:
        order = torch.randperm(len(names), generator=generator)
        for start in range(0, len(names) - size + 1, size):
            chosen = order[start : start + size]
            yield [names[index] for index in chosen.tolist()], stacked[chosen]
