"""What may be said about a drawing, and how true it is.

A caption is true of every subject it names: "a photo of an animal" of all fourteen,
so the loss may not punish a picture for agreeing with its neighbour's caption.
Text that no caption here resembles is text that the models do not know.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from draw import ANIMALS, SUBJECTS, Subject

# The prompts of the scene presets of smart_classify; each must pick its own subjects.
SCENES: dict[str, str] = {
    "person": "a person", "animal": "an animal", "vehicle": "a vehicle", "food": "food",
    "building": "a building", "nature": "nature", "object": "an object",
    "landscape": "a landscape",
}  # fmt: skip

TEMPLATES: tuple[str, ...] = (
    "a photo of {a}", "a photo of a {}", "a photo of the {}", "a photo of {}", "{}", "{a}",
    "the {}",
    "a drawing of {a}", "a picture of {a}", "an image of {a}", "a painting of {a}",
    "an illustration of {a}", "a cartoon of {a}", "a sketch of {a}", "a small {}", "a big {}",
    "a close-up of {a}", "a bad photo of {a}", "a good photo of {a}", "one {}", "my {}",
    "there is {a} in the picture", "this is {a}", "{a} on a plain background", "look at the {}",
    "a colourful {}", "a picture with {a} in it", "here we see {a}", "a nice {}", "{a}, drawn",
)  # fmt: skip

_OTHER_WORDS: dict[str, tuple[str, ...]] = {
    "monarch": ("monarch butterfly", "orange butterfly"),
    "blue morpho": ("blue butterfly", "morpho butterfly"),
    "honey bee": ("bee", "honeybee"),
    "seven-spot ladybird": ("ladybird", "ladybug", "beetle"),
    "garden snail": ("snail",),
    "common octopus": ("octopus",),
    "starfish": ("sea star",),
    "clownfish": ("anemonefish", "orange and white fish"),
    "goldfish": ("golden fish",),
    "grass snake": ("snake",),
    "green turtle": ("turtle", "sea turtle"),
    "robin": ("red-breasted bird", "songbird"),
    "penguin": ("emperor penguin",),
    "cat": ("kitten", "sitting cat"),
    "person": ("human", "man or woman"),
    "face": ("portrait", "human face", "head"),
    "car": ("automobile",),
    "truck": ("lorry",),
    "boat": ("sailing boat", "sailboat", "ship"),
    "bicycle": ("bike",),
    "apple": ("fruit",),
    "pizza": ("round pizza",),
    "ice cream": ("ice cream cone",),
    "house": ("home", "cottage"),
    "skyscraper": ("tower block", "tall building", "city"),
    "castle": ("fortress",),
    "tree": ("green tree",),
    "flower": ("blossom",),
    "mushroom": ("toadstool", "fungus"),
    "mountains": ("mountain range", "snowy peaks"),
    "sea": ("ocean", "waves"),
    "desert": ("sand dunes",),
    "cup": ("mug", "cup of coffee"),
    "lamp": ("table lamp",),
    "clock": ("watch face",),
    "chair": ("wooden chair",),
}

# Several subjects at once; also the prompts that presets aug2025 and organisms add.
_GROUPS: dict[str, tuple[str, ...]] = {
    "a bird": ("robin", "penguin"),
    "an insect": ("monarch", "blue morpho", "honey bee", "seven-spot ladybird"),
    "a butterfly": ("monarch", "blue morpho"),
    "a fish": ("clownfish", "goldfish"),
    "a reptile": ("grass snake", "green turtle"),
    "a mollusc": ("garden snail", "common octopus"),
    "a sea creature": ("common octopus", "starfish", "clownfish", "green turtle"),
    "a mammal": ("cat",),
    "a pet": ("cat", "goldfish"),
    "a plant": ("tree", "flower"),
    "a fungus": ("mushroom",),
    "a human-made object": (
        "car", "truck", "boat", "bicycle", "house", "skyscraper", "castle", "cup", "lamp",
        "clock", "chair",
    ),
    "furniture": ("lamp", "chair"),
    "something to eat": ("apple", "pizza", "ice cream"),
    "a dessert": ("ice cream",),
    "scenery": ("mountains", "sea", "desert"),
    "people": ("person", "face"),
    "an abstract painting": ("abstract painting",),
    "abstract art": ("abstract painting",),
    "random shapes": ("abstract painting",),
}  # fmt: skip
_GROUP_TEMPLATES = (
    "a photo of {}", "a photo of {}", "{}", "a drawing of {}", "a picture of {}",
    "an image of {}", "a painting of {}", "this is {}",
)  # fmt: skip

_RANKS = ("kingdom", "phylum", "class", "order", "family", "genus")
_WITHOUT_ARTICLE = frozenset(
    {"ice cream", "mountains", "snowy peaks", "sand dunes", "waves", "man or woman"}
)
# A portrait shows a person too, but its own word must win where both are offered.
_FACE_IS_A_PERSON = 0.3


@dataclass(frozen=True, slots=True)
class Captions:
    """All captions of one model, with their truth.

    `texts[i]` is true of subject s to the degree `truth[i].get(s, 0)`;
    `said_of[s]` lists groups of caption indices: first a group is drawn, then one of it.
    """

    texts: list[str]
    truth: list[dict[str, float]]
    said_of: dict[str, list[list[int]]]

    def pick(self, subject: str, rng: Random) -> int:
        """Return the index of a caption that is true of the subject."""
        return rng.choice(rng.choice(self.said_of[subject]))


def _with_article(name: str) -> str:
    if name in _WITHOUT_ARTICLE:
        return name
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def phrase(name: str, template: str) -> str:
    """Return the template with the name in it, after an article where it says {a}."""
    return template.replace("{a}", _with_article(name)).replace("{}", name)


def path8(subject: Subject) -> str:
    """Return kingdom/phylum/class/order/family/genus/species/common name of an animal."""
    if subject.lineage is None:
        raise ValueError(f"{subject.name} has no lineage")
    return "/".join([*subject.lineage, subject.name])


def scientific(subject: Subject) -> str:
    """Return "Genus epithet" of an animal."""
    if subject.lineage is None:
        raise ValueError(f"{subject.name} has no lineage")
    return f"{subject.lineage[5]} {subject.lineage[6]}"


class _Collected:
    """Captions as they come in; one text said twice is true of both."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}
        self._truth: list[dict[str, float]] = []
        self._said: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))

    def add(self, group: str, text: str, subjects: Iterable[str], degree: float = 1.0) -> None:
        index = self._index.setdefault(text, len(self._index))
        if index == len(self._truth):
            self._truth.append({})
        for subject in subjects:
            self._truth[index][subject] = max(degree, self._truth[index].get(subject, 0.0))
            self._said[subject][group].append(index)

    def captions(self, weights: dict[str, int]) -> Captions:
        said_of = {
            subject: [indices for group, indices in groups.items() for _ in range(weights[group])]
            for subject, groups in self._said.items()
        }
        return Captions(list(self._index), self._truth, said_of)


def scene_captions() -> Captions:
    """Return what demo-clip learns: names in many phrasings, scenes, groups."""
    collected = _Collected()
    for subject in SUBJECTS:
        for template in TEMPLATES:
            collected.add("name", phrase(subject.name, template), [subject.name])
            for word in _OTHER_WORDS[subject.name]:
                collected.add("word", phrase(word, template), [subject.name])
    for animal in ANIMALS:
        collected.add("science", scientific(animal), [animal.name])
        collected.add("science", f"a photo of {scientific(animal)}", [animal.name])
    _add_scenes(collected)
    for prompt, names in _GROUPS.items():
        for template in _GROUP_TEMPLATES:
            collected.add("group", template.replace("{}", prompt), names)
    return collected.captions({"name": 6, "word": 2, "science": 1, "scene": 5, "group": 3})


def _add_scenes(collected: _Collected) -> None:
    for template in TEMPLATES:
        collected.add("scene", phrase("person", template), ["face"], _FACE_IS_A_PERSON)
    for subject in SUBJECTS:
        degree = _FACE_IS_A_PERSON if subject.name == "face" else 1.0
        for template in _GROUP_TEMPLATES:
            text = template.replace("{}", SCENES[subject.scene])
            collected.add("scene", text, [subject.name], degree)


def species_captions() -> Captions:
    """Return what demo-bioclip learns: common and scientific names, lineages, ranks."""
    collected = _Collected()
    for animal in ANIMALS:
        lineage = animal.lineage or ()
        name, latin, taxa = animal.name, scientific(animal), " ".join(lineage)
        for template in TEMPLATES:
            collected.add("common", phrase(name, template), [name])
            collected.add("latin", template.replace("{a}", "{}").replace("{}", latin), [name])
            for word in _OTHER_WORDS[name]:
                collected.add("word", phrase(word, template), [name])
        for text in (path8(animal), taxa, "/".join(lineage), f"{taxa} with common name {name}",
                     f"{latin} with common name {name}"):  # fmt: skip
            collected.add("lineage", text, [name])
            collected.add("lineage", f"a photo of {text}", [name])
            collected.add("lineage", f"a photo of a {text}", [name])
    for depth, _ in enumerate(_RANKS[1:], start=1):
        for taxon in sorted({(animal.lineage or ())[depth] for animal in ANIMALS}):
            members = [a.name for a in ANIMALS if (a.lineage or ())[depth] == taxon]
            for template in ("{}", "a photo of {}", "a photo of a {}"):
                collected.add("rank", template.replace("{}", taxon), members)
    return collected.captions({"common": 5, "latin": 3, "word": 1, "lineage": 4, "rank": 1})
