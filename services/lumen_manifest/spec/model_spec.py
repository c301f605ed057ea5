"""Which model a service serves: its files, its label sets and its scenes."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from lumen_manifest.spec.enums import (
    Family,
    OnnxEngine,
    Precision,
    PreprocessPreset,
    Region,
    Runtime,
    ScenePreset,
    Tower,
)
from lumen_manifest.spec.field_types import (
    DNS_LABEL_OR_NONE,
    DNS_SUBDOMAIN,
    EMBEDDING_SPACE,
    FILE_STEM,
    LIST_URI,
    MODEL_NAME,
    MODEL_NAME_MAX,
    MODEL_URI,
    RANK_FILTER,
    RELATIVE_FILE,
    REVISION,
    SHA256,
    TEMPLATE,
    Rule,
    Strict,
    UniqueBy,
    plain_address,
)
from lumen_manifest.spec.pod_fields import LocalReference
from lumen_terms.taxonomy import LabelFormat

_OCT2025 = (
    "a photo of a person",
    "a photo of an animal",
    "a photo of a vehicle",
    "a photo of food",
    "a photo of a building",
    "a photo of nature",
    "a photo of an object",
    "a photo of a landscape",
)

PROMPTS: Mapping[ScenePreset, tuple[str, ...]] = MappingProxyType(
    {
        ScenePreset.OCT2025: _OCT2025,
        ScenePreset.AUG2025: (
            "a photo of an animal",
            "a photo of a bird",
            "a photo of an insect",
            "a photo of a human-made object",
            "a photo of a landscape",
            "an abstract painting",
        ),
        ScenePreset.ORGANISMS: (*_OCT2025, "a photo of a plant", "a photo of a fungus"),
    }
)
DEFAULT_ROUTES = ("animal", "bird", "insect")
"""A scene is delegated when its label contains one of these words."""

ROUTES: Mapping[ScenePreset, tuple[str, ...]] = MappingProxyType(
    {
        ScenePreset.OCT2025: DEFAULT_ROUTES,
        ScenePreset.AUG2025: DEFAULT_ROUTES,
        ScenePreset.ORGANISMS: (*DEFAULT_ROUTES, "plant", "fungus"),
    }
)

ONE_SENTENCE = "a photo of a {}"
OPENAI_80 = "openai-80"
"""The template's name for the 80 sentences that published species vectors are the means of."""


def _readable(uri: str) -> str:
    """Refuse what looks like a URI and has a host, a port or a path that nothing can read."""
    try:
        parts = urlsplit(uri)
        host = parts.hostname if parts.port != 0 else None
    except ValueError:
        host = None
    shown = f'"{uri[:60]}..."' if len(uri) > 60 else f'"{uri}"'
    if host is None and not uri.startswith(("file:///", "file://.")):
        raise PydanticCustomError(
            "uri_host",
            "{shown} cannot be used: no host can be read from it. A port is 1 to 65535, brackets "
            "hold an IPv6 address; in a path they are written %5B and %5D",
            {"shown": shown},
        )
    if not unquote(uri).isprintable():
        raise PydanticCustomError(
            "uri_character",
            "{shown} cannot be used: it holds a character that no path has. Take it out",
            {"shown": shown},
        )
    return uri


Uri = Annotated[str, Field(pattern=MODEL_URI.regex, max_length=1024), AfterValidator(_readable)]
Revision = Annotated[str, Field(pattern=REVISION.regex, max_length=200)]
RankFilter = Annotated[str, Field(pattern=RANK_FILTER.regex, max_length=300)]


class SourceSpec(Strict):
    """Where the model's files come from."""

    RULES = (plain_address(required=False),)

    region: Region = Field(
        default=Region.OTHER,
        description="The hub when no uri is given: other is Hugging Face, cn is ModelScope.",
    )
    uri: Uri | None = Field(
        default=None,
        description="The repository or folder: hf://owner/name, modelscope://owner/name (either "
        "with @revision), https://host/path, s3://bucket/prefix, pvc://claim/path, file:///path "
        "(in the image; with `lumen up` also file://path relative to the manifest).",
    )
    revision: Revision | None = Field(
        default=None,
        description="A branch, tag or commit; the hub's default branch when absent. It is resolved "
        "once, and every later pod uses that commit until spec.model changes.",
    )
    secret_ref: LocalReference | None = Field(
        default=None,
        description="A Secret with the keys token, access-key-id or secret-access-key. "
        "Only the init container that fetches sees it.",
    )


class ModelSpec(Strict):
    """Which model, how it is computed, and from which files."""

    RULES = (
        Rule(
            cel="self.runtime != 'rknn' || self.precision in ['fp16', 'int8']",
            message="runtime rknn computes in fp16 or int8: say which",
            at="precision",
            holds=lambda model: (
                model.runtime is not Runtime.RKNN
                or model.precision in {Precision.FP16, Precision.INT8}
            ),
        ),
        Rule(
            cel="!has(self.engine) || self.runtime == 'onnx'",
            message="an engine runs ONNX files: set runtime to onnx, or leave engine out",
            at="engine",
            holds=lambda model: model.engine is None or model.runtime is Runtime.ONNX,
        ),
    )

    name: Annotated[
        str, Field(pattern=MODEL_NAME.regex, min_length=1, max_length=MODEL_NAME_MAX)
    ] = Field(
        description="The model: MobileCLIP2-S2, bioclip-2, ..., an open_clip name as arch::tag, "
        "or a hub's repository as owner/name."
    )
    runtime: Runtime = Field(
        description="The library that computes: torch, onnx or rknn. The pool must offer it."
    )
    precision: Precision = Field(
        default=Precision.FP32,
        description="The files to load and the tolerance they are checked with; "
        "status.runtime.precision says what is computed.",
    )
    engine: OnnxEngine | None = Field(
        default=None,
        description="What runs ONNX files: onnxruntime, openvino (CPUs) or tensorrt (CUDA). By "
        "default openvino on CPUs where its package is present, onnxruntime elsewhere.",
    )
    towers: Annotated[tuple[Tower, ...], Field(min_length=1, max_length=2), UniqueBy()] | None = (
        Field(
            default=None,
            description="Load only vision, or only text; both by default, as far as the model has "
            "them.",
        )
    )
    preprocess: PreprocessPreset | None = Field(
        default=None,
        description="How pictures are prepared: model (as its files say, the default) or "
        "pybioclip. The two give different vectors, and so are two embedding spaces.",
    )
    source: SourceSpec = Field(
        default=SourceSpec(),
        description="Where the files come from; by default the repository that the name is known "
        "by.",
    )
    expect_embedding_space: Annotated[str, Field(pattern=EMBEDDING_SPACE.regex, max_length=64)] = (
        Field(
            default="",
            description="Pin the embedding space, as status.embeddingSpace shows it: "
            "files of another space are refused.",
        )
    )


class LabelSourceSpec(Strict):
    """Where the files of a label set come from, when not from the model's repository."""

    RULES = (plain_address(required=True),)

    uri: Uri = Field(description="The repository or folder, written as for spec.model.source.uri.")
    revision: Revision | None = Field(
        default=None, description="A branch, tag or commit; the hub's default branch when absent."
    )


class ConfigMapKey(Strict):
    """One key of a ConfigMap in the service's namespace."""

    name: Annotated[str, Field(pattern=DNS_SUBDOMAIN.regex, max_length=253)] = Field(
        description="The ConfigMap's name."
    )
    key: Annotated[str, Field(pattern=FILE_STEM.regex, max_length=253)] = Field(
        description="The key that holds the list."
    )


class NamesSpec(Strict):
    """A list of names: one a line, or a CSV table (GBIF's, eBird's) with a column of them."""

    RULES = (
        Rule(
            cel="[has(self.configMap), has(self.file), has(self.uri)].filter(x, x).size() == 1",
            message="give a configMap, a file or a uri, exactly one of them",
            at="",
            holds=lambda names: [names.config_map, names.file, names.uri].count(None) == 2,
        ),
        Rule(
            cel="!has(self.sha256) || has(self.uri)",
            message="a digest is compared with what a uri leads to: give one, or leave it out",
            at="sha256",
            holds=lambda names: names.sha256 is None or names.uri is not None,
        ),
        plain_address(required=False),
    )

    config_map: ConfigMapKey | None = Field(
        default=None, description="A ConfigMap's key; it is read when a pod starts."
    )
    file: Annotated[str, Field(pattern=RELATIVE_FILE.regex, max_length=500)] | None = Field(
        default=None,
        description="A file below the manifest's folder (`lumen up`), or below the model's volume "
        "(pvc://).",
    )
    uri: Annotated[str, Field(pattern=LIST_URI.regex, max_length=1024)] | None = Field(
        default=None,
        description="A file of a repository, web server, bucket or volume, such as "
        "hf://datasets/owner/name/birds.csv (with @revision behind the name). It is fetched and "
        "verified with the model's files.",
    )
    sha256: Annotated[str, Field(pattern=SHA256.regex, max_length=64)] | None = Field(
        default=None,
        description="The digest of what the uri leads to; another file is refused. Without it "
        "the first pod's is kept.",
    )


class LabelSetSpec(Strict):
    """Names that pictures are classified with."""

    name: Annotated[str, Field(pattern=FILE_STEM.regex, min_length=1, max_length=100)] = Field(
        description="The label set's name in the model info, such as ImageNet_1k."
    )
    source: LabelSourceSpec | None = Field(
        default=None,
        description="Where its files come from; by default the model's own repository.",
    )
    template: Annotated[str, Field(pattern=TEMPLATE.regex, max_length=200)] | None = Field(
        default=None,
        description="The sentence around each label when its vector is computed, or openai-80: "
        "the mean over OpenAI's 80 sentences. By default openai-80 for family bioclip, "
        "a photo of a {} for the others.",
    )
    label_format: LabelFormat = Field(
        default=LabelFormat.COMMON,
        description="How a species is shown: common name, scientific name, or path8 (lineage).",
    )
    include: Annotated[tuple[RankFilter, ...], Field(max_length=64)] = Field(
        default=(),
        description="Only these branches of the taxonomy: class=Aves, species=Felis catus, or "
        "several ranks that must all hold, class=Aves,order=Passeriformes. Any entry will do.",
    )
    exclude: Annotated[tuple[RankFilter, ...], Field(max_length=64)] = Field(
        default=(), description="Not these branches of the taxonomy, written likewise."
    )

    include_from: NamesSpec | None = Field(
        default=None,
        description="Only the labels of a list: species (Felis catus), common names, or taxa. "
        "It adds to include.",
    )
    exclude_from: NamesSpec | None = Field(
        default=None, description="Not the labels of a list. It adds to exclude."
    )

    @property
    def name_lists(self) -> dict[str, NamesSpec]:
        """The lists of names, by field."""
        lists = {"include_from": self.include_from, "exclude_from": self.exclude_from}
        return {field: said for field, said in lists.items() if said is not None}

    def template_for(self, family: Family) -> str:
        """Return the template in use, the family's default resolved."""
        return self.template or (OPENAI_80 if family is Family.BIOCLIP else ONE_SENTENCE)


class ScenesSpec(Strict):
    """The first stage of smart_classify: what kind of picture is it?"""

    RULES = (
        Rule(
            cel="!has(self.preset) || !has(self.prompts)",
            message="give a preset or prompts, not both",
            at="prompts",
            holds=lambda scenes: scenes.preset is None or scenes.prompts is None,
        ),
    )

    preset: ScenePreset | None = Field(
        default=None, description="Ready-made prompts; oct2025 when prompts are absent too."
    )
    prompts: (
        Annotated[
            tuple[Annotated[str, Field(min_length=1, max_length=200)], ...],
            Field(min_length=2, max_length=256),
            UniqueBy(),
        ]
        | None
    ) = Field(default=None, description="Prompts of your own, such as: a photo of a bird.")
    routes: (
        Annotated[
            tuple[Annotated[str, Field(min_length=1, max_length=100)], ...],
            Field(max_length=64),
            UniqueBy(),
        ]
        | None
    ) = Field(
        default=None,
        description="Words: a scene whose label contains one is delegated to species. "
        "By default the preset's: animal, bird, insect (organisms: plant and fungus too).",
    )
    to: Annotated[str, Field(pattern=DNS_LABEL_OR_NONE.regex, max_length=50)] = Field(
        default="",
        description="The service that names the species; "
        "by default the namespace's default bioclip service.",
    )
    threshold: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Delegate when the routed scenes together have at least this share.",
    )
    margin: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="... and exceed the best scene that is not routed by this much.",
    )

    @property
    def effective_prompts(self) -> tuple[str, ...]:
        """The prompts in use, defaults resolved."""
        return self.prompts or PROMPTS[self.preset or ScenePreset.OCT2025]

    @property
    def effective_preset(self) -> ScenePreset | None:
        """The preset in use; None when the prompts are the user's own."""
        return None if self.prompts else self.preset or ScenePreset.OCT2025

    @property
    def effective_routes(self) -> tuple[str, ...]:
        """The words in use, defaults resolved; an empty list means that nothing is delegated."""
        if self.routes is not None:
            return self.routes
        preset = self.effective_preset
        return ROUTES[preset] if preset else DEFAULT_ROUTES
