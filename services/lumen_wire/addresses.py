"""A host and a port as one text, the same for both families of addresses."""


def host_port(host: str, port: int) -> str:
    """Return `host:port`, with the brackets that an IPv6 address needs there."""
    bare = host.strip("[]")
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"
