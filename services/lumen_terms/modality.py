"""What a model takes, and so what it can embed."""

from enum import StrEnum


class Modality(StrEnum):
    """Which tower an item goes through; items of the two never share a batch."""

    IMAGE = "image"
    TEXT = "text"
