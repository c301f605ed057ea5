"""What the fields of both custom resources are made of.

`Strict` is the base of every model; `Rule` states a cross-field rule once, for pydantic and for
the API server (CEL); `Pattern` keeps a regular expression beside the sentence that explains it.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, DecimalException
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.alias_generators import to_camel
from pydantic.annotated_handlers import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from lumen_manifest.reading.doors import secret_or
from lumen_manifest.schema.structural import SIZE


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule over several fields of one model: `holds` here, `cel` in the API server.

    `at` is the dotted path, below the model, that the message is about; empty for the model itself.
    """

    cel: str
    message: str
    at: str
    holds: Callable[[Any], bool]


_ANOTHERS_ADDRESS = r"^((https?|s3)://[^/]*@|(https?|s3|hf|modelscope)://[^?]*[?])"
"""A password, or a query as of an address that was signed for whoever has it."""


def plain_address(*, required: bool) -> Rule:
    """Return the rule for a model's `uri`: what is secret stands in a Secret, not in a manifest."""
    found = re.compile(_ANOTHERS_ADDRESS)
    there = "" if required else "!has(self.uri) || "
    return Rule(
        cel=f"{there}!self.uri.matches('{_ANOTHERS_ADDRESS}')",
        message="an address holds no password, key or query, which others would read: put them "
        f"into {secret_or('LUMEN_SOURCE_TOKEN, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY')}",
        at="uri",
        holds=lambda model: model.uri is None or not found.search(model.uri),
    )


SPEC_MAX_BYTES = 64 * 1024
"""Of a whole spec as JSON. Each field alone is bounded too, but what they multiply to is not."""


def _fits(spec: BaseModel) -> bool:
    written = spec.model_dump_json(by_alias=True, exclude_none=True)
    return len(written.encode()) <= SPEC_MAX_BYTES


SPEC_FITS = Rule(
    cel=f"{SIZE} <= {SPEC_MAX_BYTES}",
    message=f"the spec is larger than {SPEC_MAX_BYTES >> 10} KiB: shorten its longest lists",
    at="",
    holds=_fits,
)


def always(_: object) -> bool:
    """Stand for a rule that compares with the stored object: only the API server knows that."""
    return True


class Strict(BaseModel):
    """A frozen model with camelCase keys that refuses what it does not know."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        allow_inf_nan=False,
    )
    RULES: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def rules_broken(self) -> Self:
        """Report every broken rule at once, so that a manifest is corrected in one go."""
        broken = [rule for rule in self.RULES if not rule.holds(self)]
        if broken:
            raise PydanticCustomError(
                "rules_broken",
                "{summary}",
                {
                    "summary": "; ".join(rule.message for rule in broken),
                    "problems": [(rule.at, rule.message) for rule in broken],
                },
            )
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler, /
    ) -> JsonSchemaValue:
        """Carry the rules into the schema, where the CRD generator finds them."""
        json_schema = super().__get_pydantic_json_schema__(schema, handler)
        target = handler.resolve_ref_schema(json_schema)
        rules = [{"rule": rule.cel, "message": rule.message} for rule in cls.RULES]
        if rules:
            target["x-kubernetes-validations"] = rules
        return json_schema


@dataclass(frozen=True, slots=True)
class UniqueBy:
    """A list whose items differ: by one key of theirs (a list-map), or as a whole (a set)."""

    key: str | None = None

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Check after the items are valid."""
        return core_schema.no_info_after_validator_function(self._unique, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Say it to the API server in its own words."""
        json_schema = handler(schema)
        json_schema["x-kubernetes-list-type"] = "map" if self.key else "set"
        if self.key:
            json_schema["x-kubernetes-list-map-keys"] = [self.key]
        return json_schema

    def _unique(self, items: Sequence[Any]) -> Sequence[Any]:
        seen: set[object] = set()
        for item in items:
            value = getattr(item, self.key) if self.key else item
            if value in seen:
                raise PydanticCustomError(
                    "duplicate_item",
                    '"{value}" stands here twice; each {noun} may occur once',
                    {"value": str(value), "noun": self.key or "entry"},
                )
            seen.add(value)
        return items


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression (RE2, anchored) and what a person reads when a value does not match."""

    regex: str
    says: str


DNS_LABEL = Pattern(
    r"^[a-z]([-a-z0-9]*[a-z0-9])?$",
    "use lower-case letters, digits and hyphens, starting with a letter",
)
DNS_LABEL_OR_NONE = Pattern(f"^$|{DNS_LABEL.regex}", f"{DNS_LABEL.says}; or leave it out")
NAMESPACE = Pattern(
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "use lower-case letters, digits and hyphens"
)
DNS_SUBDOMAIN = Pattern(
    r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
    "use lower-case letters, digits, hyphens and dots",
)
CALLER_NAME = Pattern(
    r"^[A-Za-z0-9]([A-Za-z0-9._:/-]*[A-Za-z0-9])?$",
    "use letters, digits and . _ : / - in between",
)
MODEL_NAME_MAX = 100
MODEL_NAME = Pattern(
    r"^[A-Za-z0-9][A-Za-z0-9._-]*((::|/)[A-Za-z0-9][A-Za-z0-9._-]*)?$",
    "write a model's name such as MobileCLIP2-S2, open_clip's arch::tag, or a hub's owner/name",
)
FILE_STEM = Pattern(
    r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
    "use letters, digits, dots, underscores and hyphens, starting with a letter or digit",
)
MODEL_INFO_NAME = Pattern(
    r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$",
    "use up to 100 letters, digits and . _ + -, starting with a letter or digit",
)
MODEL_INFO_VERSION = Pattern(
    r"^\d+\.\d+\.\d+$", "write three numbers with dots between, such as 1.0.0"
)
LANGUAGE = Pattern(
    r"^([a-z]{2,3}(_[A-Z][a-z]{3})?)?$",
    "write a language's code, such as de, or with its script, such as deu_Latn",
)
SHA256 = Pattern(r"^[0-9a-f]{64}$", "write the 64 lower-case hexadecimal digits of a SHA-256")
COMMIT = Pattern(r"^[0-9a-f]{40}$", "a commit has 40 lower-case hexadecimal digits")
MODEL_URI = Pattern(
    r"^(hf://(datasets/)?[^/\s]+/[^/\s@]+(@\S+)?|modelscope://(datasets/)?[^/\s]+/[^/\s@]+(@\S+)?"
    r"|https?://\S+|s3://[^/\s]+(/\S*)?"
    r"|pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/\S*)?|file://\S+)$",
    "write hf://owner/name, hf://datasets/owner/name, modelscope://owner/name, https://host/path, "
    "s3://bucket/prefix, pvc://claim/path or file:///path",
)
LIST_URI = Pattern(
    r"^((hf|modelscope)://(datasets/)?[^/\s@]+/[^/\s@]+(@[^/\s]+)?(/[^/\s]+)+"
    r"|(https?|s3)://[^/\s]+(/[^/\s]+)+|pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[^/\s]+)+"
    r"|file://\S*[^/\s])$",
    "name one file: https://host/birds.csv, hf://datasets/owner/name/birds.csv, "
    "s3://bucket/birds.csv, pvc://claim/birds.csv or file://./birds.csv",
)
REVISION = Pattern(
    r"^[A-Za-z0-9][A-Za-z0-9._/-]*$", "name a branch, a tag or a commit, such as main"
)
TEMPLATE = Pattern(
    r"^([^{}]*\{\}[^{}]*|openai-80)$",
    'mark the place of the label by one {}, as in "a photo of a {}", or write openai-80',
)
RANK_FILTER = Pattern(
    r"^(kingdom|phylum|class|order|family|genus|species)=.*\S$",
    "write rank=name, such as class=Aves "
    "(ranks: kingdom, phylum, class, order, family, genus, species)",
)
RELATIVE_FILE = Pattern(
    r"^[^/~\s][^\\]*$", "name a file below the manifest's folder, such as birds.txt"
)
QUANTITY = Pattern(
    r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?$",
    "write an amount such as 2, 500m or 8Gi",
)
ENV_NAME = Pattern(
    r"^[A-Za-z_][A-Za-z0-9_]*$", "use letters, digits and underscores, as for any variable"
)
EXTERNAL_ADDRESS = Pattern(
    r"^([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$",
    "write host:port, such as board.local:50051",
)
SHA256 = Pattern(
    r"^[0-9a-f]{64}$", "write the 64 hexadecimal digits that sha256sum shows, in lower case"
)
EMBEDDING_SPACE = Pattern(
    r"^([0-9a-f]{64})?$", "write the 64 hexadecimal digits that status.embeddingSpace shows"
)
LABEL_KEY = Pattern(
    r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
    "write a Kubernetes label key, such as example.com/team",
)
LABEL_VALUE = Pattern(
    r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$",
    "write at most 63 letters, digits, hyphens, underscores and dots",
)
IMAGE = Pattern(r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$", "write an image such as registry/name:tag")

PATTERNS: tuple[Pattern, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Pattern)
)


def _as_text(value: object) -> object:
    """Read a bare whole number as a CRD may: `cpu: 2` means the quantity "2"; 1.5 needs quotes."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


Quantity = Annotated[
    str,
    Field(pattern=QUANTITY.regex, max_length=32),
    BeforeValidator(_as_text),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "minimum": 0,
            "pattern": QUANTITY.regex,
            "maxLength": 32,
        }
    ),
]
"""An amount as Kubernetes writes it, kept as text: "2", "500m", "8Gi"."""

_FACTORS = {"n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1)} | {
    f"{letter}{binary}": Decimal((2**10 if binary else 10**3) ** power)
    for letters, binary in (("kMGTPE", ""), ("KMGTPE", "i"))
    for power, letter in enumerate(letters, 1)
}


def amount_of(quantity: str) -> Decimal | None:
    """Return a quantity as a number; None for what is not one.

    >>> [str(amount_of(each)) for each in ("2", "500m", "8Gi", "1e3")]
    ['2', '0.500', '8589934592', '1E+3']
    """
    number = quantity.rstrip("numkKMGTPEi")
    factor = _FACTORS.get(quantity[len(number) :])
    try:
        return Decimal(number) * factor if factor is not None else None
    except DecimalException:  # no number, or one beyond what anybody counts to
        return None


Labels = Annotated[
    dict[
        Annotated[str, Field(pattern=LABEL_KEY.regex, max_length=317)],
        Annotated[str, Field(pattern=LABEL_VALUE.regex, max_length=63)],
    ],
    Field(max_length=64),
]
Annotations = Annotated[
    dict[
        Annotated[str, Field(pattern=LABEL_KEY.regex, max_length=317)],
        Annotated[str, Field(max_length=4096)],
    ],
    Field(max_length=64),
]


def _cut(most: int) -> BeforeValidator:
    def cut(value: object) -> object:
        if isinstance(value, list | tuple):  # a list of JSON is a tuple to us
            return tuple(value[:most])
        return value[:most] if isinstance(value, str) else value

    return BeforeValidator(cut)


Word = Annotated[str, Field(max_length=256), _cut(256)]
"""A short text that we write ourselves: of a longer one the rest is lost, not the whole object."""
Message = Annotated[str, Field(max_length=2048), _cut(2048)]
"""Some sentences of ours, cut likewise."""
TaskNames = Annotated[
    tuple[Annotated[str, Field(max_length=100), _cut(100)], ...], Field(max_length=32), _cut(32)
]
"""Names of tasks, cut likewise."""
