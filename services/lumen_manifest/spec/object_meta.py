"""metadata of both resources, as a person writes it and as the API server hands it back."""

from typing import Annotated, Any

from pydantic import Field

from lumen_manifest.spec.field_types import DNS_LABEL, DNS_SUBDOMAIN, NAMESPACE, Labels, Strict

SERVICE_NAME_MAX = 50
"""A child's name is at most 63 characters: the service's, a hyphen, and 12 for the variant."""


class ClusterObjectMeta(Strict):
    """metadata of an object that belongs to no namespace."""

    name: Annotated[str, Field(pattern=DNS_SUBDOMAIN.regex, min_length=1, max_length=63)] = Field(
        description="The object's name."
    )
    labels: Labels = Field(default={}, description="Labels of the object itself.")
    annotations: dict[str, str] = Field(default={}, description="Annotations of the object itself.")
    generation: int = Field(default=0, description="Counts the spec's changes; the API server's.")
    uid: str = Field(default="", description="The API server's identifier of the object.")
    resource_version: str = Field(default="", description="The API server's.")
    creation_timestamp: str | None = Field(default=None, description="The API server's.")
    deletion_timestamp: str | None = Field(default=None, description="The API server's.")
    deletion_grace_period_seconds: int | None = Field(default=None, description="The API server's.")
    generate_name: str = Field(default="", description="The API server's.")
    self_link: str = Field(default="", description="The API server's, long unused.")
    finalizers: tuple[str, ...] = Field(default=(), description="The API server's.")
    owner_references: tuple[dict[str, Any], ...] = Field(default=(), description="Owners, if any.")
    managed_fields: tuple[dict[str, Any], ...] = Field(
        default=(), description="The API server's record of who set what.", repr=False
    )


class ObjectMeta(ClusterObjectMeta):
    """metadata of a LumenModelService; its name becomes part of the names of Services."""

    name: Annotated[
        str, Field(pattern=DNS_LABEL.regex, min_length=1, max_length=SERVICE_NAME_MAX)
    ] = Field(description="The service's name; callers may ask for it.")
    namespace: Annotated[str, Field(pattern=NAMESPACE.regex, max_length=63)] = Field(
        default="default", description="The namespace; its router serves this service."
    )
