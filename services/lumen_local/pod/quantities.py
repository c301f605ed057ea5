"""Kubernetes quantities as plain numbers. Pure."""

_SUFFIXES = {
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
    "Pi": 2**50,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "P": 10**15,
}


def whole_cores(quantity: str) -> int:
    """Return a CPU quantity in whole cores, rounded up, as the downward API does.

    >>> whole_cores("1500m"), whole_cores("2")
    (2, 2)
    """
    milli = int(quantity[:-1]) if quantity.endswith("m") else int(float(quantity) * 1000)
    return max(1, -(-milli // 1000))


def memory_bytes(quantity: str) -> int:
    """Return a memory quantity in bytes; 0 for what is not one.

    >>> memory_bytes("1Gi"), memory_bytes("500M"), memory_bytes("128974848")
    (1073741824, 500000000, 128974848)
    """
    found = [suffix for suffix in _SUFFIXES if quantity.endswith(suffix)]
    number = quantity.removesuffix(found[0]) if found else quantity
    try:
        return int(float(number) * (_SUFFIXES[found[0]] if found else 1))
    except ValueError:
        return 0
