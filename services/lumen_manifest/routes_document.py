"""The routes file: what `lumen up` tells the router, since there is no cluster to watch."""

from typing import Annotated, Self

from pydantic import Field, ValidationError

from lumen_manifest.model_service import LumenModelService
from lumen_manifest.reading.problems import first_problem
from lumen_manifest.server_config import ConfigError
from lumen_manifest.spec.field_types import EXTERNAL_ADDRESS, Strict


class RouteEndpoint(Strict):
    """One pod's address, as an EndpointSlice would say it."""

    address: Annotated[str, Field(pattern=EXTERNAL_ADDRESS.regex, max_length=260)]
    ready: bool = False
    terminating: bool = False


class RoutesDocument(Strict):
    """The services with their status, and the endpoints of each headless Service.

    The keys of `endpoints` are the names in `status.routes[].service`.
    """

    services: tuple[LumenModelService, ...] = ()
    endpoints: dict[str, tuple[RouteEndpoint, ...]] = Field(default={})

    @classmethod
    def from_json(cls, document: bytes | str) -> Self:
        """Read the file's text.

        Raises:
            ConfigError: it is not a routes document.

        """
        try:
            return cls.model_validate_json(document, strict=True)
        except ValidationError as error:
            said = first_problem(error, "the document")
            raise ConfigError(f"not a routes document: {said}") from error

    def to_json(self) -> str:
        """Write the file's text."""
        return self.model_dump_json(by_alias=True, exclude_none=True, indent=2) + "\n"
