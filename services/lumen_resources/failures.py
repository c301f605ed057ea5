"""What a failure of a library is: libraries in Rust panic with an error that is no `Exception`."""


def is_failure(error: BaseException) -> bool:
    """Whether a library failed; False for an interrupt, an exit or a cancelled task."""
    return isinstance(error, Exception) or type(error).__module__ == "pyo3_runtime"
