"""How species are named, and the ranks of their lineages."""

from enum import StrEnum


class LabelFormat(StrEnum):
    """How a label of a taxonomy is shown."""

    COMMON = "common"
    SCIENTIFIC = "scientific"
    PATH8 = "path8"


class Rank(StrEnum):
    """The seven ranks of a lineage, broadest first."""

    KINGDOM = "kingdom"
    PHYLUM = "phylum"
    CLASS = "class"
    ORDER = "order"
    FAMILY = "family"
    GENUS = "genus"
    SPECIES = "species"
