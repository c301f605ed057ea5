"""Which service callers mean by a name: one name, one owner, of all services behind one router.

The operator's conditions, the router's table and the door for manifests ask here, so that they
never differ. Of two services that ask for a name the older one keeps it, and its callers: they
compare vectors, and those of another service may be of another embedding space.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lumen_manifest.model_service import LumenModelService
from lumen_manifest.spec.enums import Family

FAMILIES = frozenset(family.value for family in Family)


@dataclass(frozen=True, slots=True)
class Claimant:
    """What a service says of its names; `created` orders services by age, the oldest first."""

    name: str
    family: str
    aliases: tuple[str, ...] = ()
    default: bool = False
    model: str = ""
    created: tuple[str, int] = ("", 0)

    @property
    def age(self) -> tuple[tuple[str, int], str]:
        """The order of age; of services that are equally old, that of their names."""
        return self.created, self.name

    @property
    def rank(self) -> tuple[bool, tuple[tuple[str, int], str]]:
        """The order in which services of one family are its default."""
        return not self.default, self.age

    @property
    def asked(self) -> tuple[str, ...]:
        """The names that it asks for, its own first."""
        return tuple(dict.fromkeys((self.name, *self.aliases)))

    @property
    def words(self) -> frozenset[str]:
        """Every word by which it may meet another service: its names and its model."""
        return frozenset({*map(_folded, self.asked), _folded(self.model)} - {""})


@dataclass(frozen=True, slots=True)
class LostName:
    """A name that a service asks for and does not have; `said` is a sentence about why.

    `other` is who has it, or whose model it is; empty when it is the name of another family.
    """

    name: str
    other: str
    said: str


_Field = tuple[str | int, ...]
_Groups = defaultdict[str, dict[str, Claimant]]


class CallerNames:
    """The names of all services of one namespace; services may come and go."""

    def __init__(self, claimants: Iterable[Claimant] = ()) -> None:
        self._claimants: dict[str, Claimant] = {}
        self._by_word: _Groups = defaultdict(dict)
        self._by_family: _Groups = defaultdict(dict)
        self._defaults: dict[str, Claimant | None] = {}
        for claimant in claimants:
            self.put(claimant)

    def get(self, service: str) -> Claimant | None:
        """Return what a service says of its names, None when there is no such service."""
        return self._claimants.get(service)

    def put(self, claimant: Claimant) -> None:
        """Take a service in, or what it says now."""
        if self._claimants.get(claimant.name) == claimant:
            return
        self.drop(claimant.name)
        self._claimants[claimant.name] = claimant
        self._by_family[claimant.family][claimant.name] = claimant
        for word in claimant.words:
            self._by_word[word][claimant.name] = claimant
        self._defaults.pop(claimant.family, None)

    def drop(self, service: str) -> None:
        """Forget a service, if it is there."""
        gone = self._claimants.pop(service, None)
        if gone is None:
            return
        del self._by_family[gone.family][service]
        for word in gone.words:
            del self._by_word[word][service]
            if not self._by_word[word]:
                del self._by_word[word]
        self._defaults.pop(gone.family, None)

    def default_of(self, family: str) -> Claimant | None:
        """Return who answers for a family: of those that say `default`, else of all, the oldest."""
        if family not in self._defaults:
            of_it = self._of_family(family)
            self._defaults[family] = min(of_it, key=lambda each: each.rank, default=None)
        return self._defaults[family]

    def older_default(self, service: str) -> str:
        """Return the older service that says `default` for the same family too, empty for none."""
        own, first = self._claimants[service], self.default_of(self._claimants[service].family)
        return first.name if own.default and first is not None and first is not own else ""

    def owner(self, name: str) -> Claimant | None:
        """Return the service that callers mean by a name, None when it means nobody."""
        if name in FAMILIES:
            return self._owner_of_family(name)
        candidates = (each for each in self._asking(name) if not self._model_of(name, each))
        return min(candidates, key=lambda each: each.age, default=None)

    def owners(self) -> dict[str, str]:
        """Return the service of every name that means one."""
        names = FAMILIES.union(*(each.asked for each in self._claimants.values()))
        found = {name: self.owner(name) for name in sorted(names)}
        return {name: each.name for name, each in found.items() if each is not None}

    def held(self, service: str) -> tuple[str, ...]:
        """Return the names by which callers reach a service, its own first."""
        own = self._claimants[service]
        names = dict.fromkeys((*own.asked, own.family))
        return tuple(name for name in names if self.owner(name) is own)

    def lost(self, service: str) -> Iterator[LostName]:
        """Yield the names that a service asks for and another has."""
        own = self._claimants[service]
        for name in own.asked:
            owner = self.owner(name)
            if owner is not own:
                yield self._lost(name, own, owner)

    def concerned(self, claimant: Claimant) -> set[str]:
        """Return the services whose names may be others because this one came, changed or went."""
        found = {each.name for word in claimant.words for each in self._met(word)}
        family = self._of_family(claimant.family)
        found |= {each.name for each in family if each.default}
        others = (each for each in family if each.name != claimant.name)
        first = min(others, key=lambda each: each.rank, default=None)
        if first and (claimant.rank < first.rank or claimant.family in claimant.asked):
            found.add(first.name)
            asking = (each.name for each in self._asking(claimant.family))
            found.update(name for name in asking if name != claimant.family)
        return found - {claimant.name}

    def _owner_of_family(self, family: str) -> Claimant | None:
        """A service of the family that is called as it is means itself, whoever is the default."""
        own, first = self._claimants.get(family), self.default_of(family)
        if own is not None and own.family == family:
            return own
        asking = (each for each in self._asking(family) if each.family == family)
        candidates = asking if first is None else (*asking, first)
        return min(candidates, key=lambda each: each.age, default=None)

    def _of_family(self, family: str) -> Iterable[Claimant]:
        return self._by_family.get(family, {}).values()

    def _met(self, word: str) -> Iterable[Claimant]:
        return self._by_word.get(word, {}).values()

    def _asking(self, name: str) -> Iterator[Claimant]:
        return (each for each in self._met(_folded(name)) if name in each.asked)

    def _model_of(self, name: str, claimant: Claimant) -> Claimant | None:
        """Return the older service whose model an alias names, though its own is another one."""
        key = _folded(name)
        if name == claimant.name or _folded(claimant.model) == key:
            return None
        older = (m for m in self._met(key) if _folded(m.model) == key and m.age < claimant.age)
        return min(older, key=lambda each: each.age, default=None)

    def _lost(self, name: str, own: Claimant, owner: Claimant | None) -> LostName:
        if name in FAMILIES and name != own.family:
            said = f"{name} is the name of a family, and {own.name} is of family {own.family}."
            return LostName(name, "", said)
        if owner is None:
            owner = self._model_of(name, own)
            assert owner is not None, "what nobody has is another's model"
            said = f"{name} is the model of {owner.name}, which came first; {own.name} has another."
            return LostName(name, owner.name, said)
        how = "is the family's default and came first"
        if name == owner.name:
            how = "is called so" if name in FAMILIES else "is called so and came first"
        elif name in owner.asked:
            how = "has it as an alias and came first"
        said = f"Callers who say {name} reach {owner.name}, which {how}."
        return LostName(name, owner.name, said)


def claimant_of(service: LumenModelService, position: int = 0) -> Claimant:
    """Return what a service says of its names; of two without an age the one listed first came."""
    spec, metadata = service.spec, service.metadata
    created = (metadata.creation_timestamp or "", position)
    return Claimant(
        service.name, spec.family.value, spec.aliases, spec.default, spec.model.name, created
    )


def clashes(services: Sequence[LumenModelService]) -> Iterator[tuple[int, _Field, str]]:
    """Yield what services that are applied together ask for twice: position, field, sentence.

    They are of one namespace.
    """
    callers = CallerNames(claimant_of(each, at) for at, each in enumerate(services))
    for at, service in enumerate(services):
        other = callers.older_default(service.name)
        if other:
            family = service.spec.family
            said = f"{other} is the default for {family} and came first. Leave it to one of the two"
            yield at, ("spec", "default"), said
        for lost in callers.lost(service.name):
            if lost.name == service.name:
                yield at, ("metadata", "name"), f"{lost.said} Give one of them another name"
            else:
                field = ("spec", "aliases", service.spec.aliases.index(lost.name))
                yield at, field, f"{lost.said} Take it out of spec.aliases"


def _folded(name: str) -> str:
    """Write a name as models' names are compared: without the hub's owner, in lower case."""
    return name.rpartition("/")[2].casefold()
