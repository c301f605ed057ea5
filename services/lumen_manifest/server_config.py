"""ServerConfig: all that the processes of one model pod are told, as one JSON file.

Rendered into the ConfigMap (key `server.json`), or written by `lumen up`; read by the init
containers and the model server from LUMEN_CONFIG.
"""

import codecs
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError
from pydantic.alias_generators import to_snake

from lumen_manifest.names import PIN_ENV
from lumen_manifest.reading.problems import first_problem
from lumen_manifest.reading.regular_files import read_named
from lumen_manifest.spec.enums import Accelerator, Family
from lumen_manifest.spec.field_types import Strict
from lumen_manifest.spec.model_spec import LabelSetSpec, ModelSpec, ScenesSpec
from lumen_manifest.spec.service_settings import ServerSpec

CONFIG_KEY = "server.json"

# What a ConfigMap holds at most.
BYTES_MAX = 1 << 20


def _text_of(path: Path) -> bytes:
    return read_named(path, BYTES_MAX).removeprefix(codecs.BOM_UTF8)


class ConfigError(ValueError):
    """A configuration cannot be used; the message says which, why, and what to do."""


class MdnsSpec(Strict):
    """How a single server announces itself on the local network."""

    enabled: bool = True
    name: str = ""
    type: str = "_lumen._tcp.local."
    uuid: str = ""
    status: str = "ready"
    version: str = ""
    advertise_ip: str = ""


class BackendOverrides(Strict):
    """Settings that only the older single-server configurations have."""

    onnx_providers: tuple[str, ...] = ()
    intra_op_threads: int | None = Field(default=None, ge=1, le=1024)
    inter_op_threads: int | None = Field(default=None, ge=1, le=1024)


class ServerConfig(BackendOverrides):
    """Everything a model server and its init containers need to know.

    `pinned_revision` and `pinned_digest` are the first verified pod's commit and lock digest;
    empty until there is one. `pinned_label_sets` has the commits of label sets from elsewhere, as
    `name=commit name=commit`. `family_stated` is false where a command was told a model and no
    family: it is guessed then, and files of another one contradict nobody.
    """

    service: str
    namespace: str = "default"
    family: Family
    family_stated: bool = Field(default=True, exclude=True)
    model: ModelSpec
    label_sets: tuple[LabelSetSpec, ...] = ()
    scenes: ScenesSpec | None = None
    server: ServerSpec = ServerSpec()
    accelerator: Accelerator = Accelerator.CPU
    rknn_target: str = ""
    mdns: MdnsSpec | None = None
    pinned_revision: str = ""
    pinned_digest: str = ""
    pinned_label_sets: str | None = None

    @classmethod
    def of_model(
        cls, service: str, model: ModelSpec, label_sets: tuple[LabelSetSpec, ...] = ()
    ) -> Self:
        """Return what serves a model of which no family was told; its name is taken for a hint."""
        family = Family.BIOCLIP if "bioclip" in model.name.lower() else Family.CLIP
        return cls(
            service=service, family=family, family_stated=False, model=model, label_sets=label_sets
        )

    @classmethod
    def load(cls, path: Path, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the file that LUMEN_CONFIG names; pins in the environment are newer than its own.

        Raises:
            ConfigError: it cannot be read, or is not a ServerConfig.

        """
        try:
            config = cls.model_validate_json(_text_of(path), strict=True)
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be read: {error.strerror}. LUMEN_CONFIG names this file."
            ) from error
        except ValidationError as error:
            said = first_problem(error, "the document")
            raise ConfigError(f"{path} is not a server configuration: {said}") from error

        pins = {
            f"pinned_{to_snake(key)}": environment[name]
            for name, key in PIN_ENV.items()
            if environment.get(name)
        }
        return config.model_copy(update=pins)

    def to_json(self) -> str:
        """Write the file's text: the same for the same settings, so that its hash names it."""
        document = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
