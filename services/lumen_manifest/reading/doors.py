"""Sentences for whoever came by another door than a manifest. Pure.

What refuses a model names the field to correct as a manifest calls it (`spec.model.source.uri`).
Somebody who typed options, or wrote an older configuration, has no such field: whatever speaks to
them passes the sentence through their door, which has its own word for each.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_FIELD = re.compile(r"\bspec(?:\.[A-Za-z]+)+")
_IN_CLUSTER = "the Secret that spec.model.source.secretRef names (on one machine: "
# The whole of what `secret_or` writes.
_KEYS = r"(?:the keys? `[a-z-]+`(?: and `[a-z-]+`)? of )?"
_SECRET_OR = re.compile(rf"{_KEYS}{re.escape(_IN_CLUSTER)}(?P<here>[^)]*)\)")


def secret_or(here: str, *keys: str) -> str:
    """Say where a secret goes: into keys of the source's Secret, or on one machine into `here`."""
    named = " and ".join(f"`{key}`" for key in keys)
    of_keys = f"the key{'s' if len(keys) > 1 else ''} {named} of " if keys else ""
    return f"{of_keys}{_IN_CLUSTER}{here})"


@dataclass(frozen=True, slots=True)
class Door:
    """What stands for a manifest's fields where the user came from.

    `words` is by field; a field below one of them is `word.rest`, and one without a word keeps its
    name. `has_secrets` is false where nothing reads a cluster's Secrets.
    """

    words: Mapping[str, str] = field(default_factory=dict)
    has_secrets: bool = True

    def says(self, sentence: str) -> str:
        """Return a sentence in the words of this door."""
        if not self.has_secrets:
            sentence = _SECRET_OR.sub(lambda found: found["here"], sentence)
        return _FIELD.sub(lambda found: self._word_for(found[0]), sentence)

    def _word_for(self, name: str) -> str:
        known, rest = name, ""
        while known not in self.words:
            known, dot, last = known.rpartition(".")
            if not dot:
                return name
            rest = f".{last}{rest}"
        return self.words[known] + rest


MANIFEST = Door()
"""The manifest itself."""
