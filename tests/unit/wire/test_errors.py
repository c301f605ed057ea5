"""The error table: every error of every package has a status and an in-band code."""

import importlib
import pkgutil
from collections.abc import Iterator

import grpc
import pytest

import lumen_router
import lumen_serving
from lumen_wire import errors
from lumen_wire.errors import (
    Cancelled,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
    WireError,
    from_inband,
    from_rpc_error,
    from_status,
    to_inband,
    to_inband_meta,
    to_trailing_metadata,
)
from lumen_wire.pb import ml_service_pb2 as pb


def descendants(kind: type[WireError]) -> Iterator[type[WireError]]:
    for child in kind.__subclasses__():
        yield child
        yield from descendants(child)


def all_errors() -> list[type[WireError]]:
    for package in (lumen_serving, lumen_router):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if module.name.endswith(".errors"):
                importlib.import_module(module.name)
    return sorted(set(descendants(WireError)), key=lambda kind: kind.__qualname__)


def test_no_error_of_any_package_is_forgotten_in_the_table():
    found = all_errors()

    assert len(found) >= 9
    for kind in found:
        assert kind.status in errors._TABLE, kind


@pytest.mark.parametrize(
    ("status", "code", "detail"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, pb.ERROR_CODE_INVALID_ARGUMENT, ""),
        (grpc.StatusCode.NOT_FOUND, pb.ERROR_CODE_INVALID_ARGUMENT, "NOT_FOUND"),
        (
            grpc.StatusCode.FAILED_PRECONDITION,
            pb.ERROR_CODE_INVALID_ARGUMENT,
            "FAILED_PRECONDITION",
        ),
        (grpc.StatusCode.UNAUTHENTICATED, pb.ERROR_CODE_INVALID_ARGUMENT, "UNAUTHENTICATED"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, pb.ERROR_CODE_UNAVAILABLE, "RESOURCE_EXHAUSTED"),
        (grpc.StatusCode.UNAVAILABLE, pb.ERROR_CODE_UNAVAILABLE, ""),
        (grpc.StatusCode.DEADLINE_EXCEEDED, pb.ERROR_CODE_DEADLINE_EXCEEDED, ""),
        (grpc.StatusCode.INTERNAL, pb.ERROR_CODE_INTERNAL, ""),
    ],
)
def test_in_band_codes_keep_the_real_name_in_detail_where_the_enum_has_none(status, code, detail):
    error = from_status(status, "why")

    assert to_inband(error) == pb.Error(code=code, message="why", detail=detail)
    assert type(from_inband(to_inband(error), {})) is type(error)


def test_pushback_travels_in_meta_and_in_trailing_metadata():
    error = ResourceExhausted("full", retry_after_ms=120, detail="queue")

    assert to_inband_meta(error) == {"retry_after_ms": "120"}
    assert to_trailing_metadata(error) == (("grpc-retry-pushback-ms", "120"),)
    back = from_inband(to_inband(error), to_inband_meta(error))
    assert (type(back), back.retry_after_ms, back.detail) == (ResourceExhausted, 120, "queue")


def test_no_pushback_is_sent_where_none_is_known():
    assert to_inband_meta(NotFound("x")) == {}
    assert to_trailing_metadata(NotFound("x")) == ()


@pytest.mark.parametrize("pushback", ["-1", "soon", "9" * 30, ""])
def test_a_peers_pushback_that_is_no_time_is_ignored(pushback):
    inband = pb.Error(code=pb.ERROR_CODE_UNAVAILABLE, message="full")

    assert from_inband(inband, {"retry_after_ms": pushback}).retry_after_ms is None


def test_a_failed_call_becomes_the_error_it_stands_for():
    call = grpc.aio.AioRpcError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.aio.Metadata(),
        grpc.aio.Metadata(("grpc-retry-pushback-ms", "55")),
        details="full",
    )

    error = from_rpc_error(call)

    assert (type(error), error.message, error.retry_after_ms) == (ResourceExhausted, "full", 55)


def test_a_status_that_grpc_lost_while_writing_is_no_fault_of_the_server():
    lost = grpc.aio.AioRpcError(
        grpc.StatusCode.INTERNAL,
        grpc.aio.Metadata(),
        grpc.aio.Metadata(),
        details="Internal error from Core",
    )

    assert type(from_rpc_error(lost)) is Unavailable


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNKNOWN, Internal),
        (grpc.StatusCode.ABORTED, Unavailable),
        (grpc.StatusCode.OUT_OF_RANGE, InvalidArgument),
        (grpc.StatusCode.CANCELLED, Cancelled),
    ],
)
def test_codes_that_only_others_send_are_understood(code, kind):
    assert type(from_status(code, "")) is kind


def test_an_unknown_in_band_code_is_the_servers_fault():
    assert type(from_inband(pb.Error(code=77, message="?"), {})) is Internal
