"""Where every gRPC channel is opened, so that none takes a way that nobody meant.

gRPC sends each call through the proxy that the environment names. That is right for a server out
in the world and wrong for a pod of one's own cluster or a process of this machine, which no proxy
can reach: calls would hang until it gives up.
"""

from collections.abc import Sequence

import grpc
import grpc.aio

from lumen_process.addresses import is_this_machine

_NO_PROXY = ("grpc.enable_http_proxy", 0)

Options = Sequence[tuple[str, int | str]]


def open_direct(target: str, options: Options = ()) -> grpc.aio.Channel:
    """Open a plain channel to one of our own: a pod, a process of this machine."""
    return grpc.aio.insecure_channel(target, options=(*options, _NO_PROXY))


def open_outward(
    target: str, options: Options = (), credentials: grpc.ChannelCredentials | None = None
) -> grpc.aio.Channel:
    """Open a channel to a server that a person named, over TLS where there are credentials.

    gRPC's own rules say whether a proxy is asked, but never one for this machine.
    """
    host = target.rpartition(":")[0]
    options = (*options, _NO_PROXY) if is_this_machine(host) else tuple(options)
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=options)
    return grpc.aio.secure_channel(target, credentials, options=options)
