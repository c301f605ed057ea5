"""What can keep an export from being made.

    ExportError
    ├── ExportRefused      the model, or what is asked for, cannot be exported
    └── BelowTheBar        it was exported, and its vectors are not the source's: nothing is kept

What is wrong with the source's files is a ResourceError, with its runtime a StartError.
"""


class ExportError(Exception):
    """Why there is no product; `message` says what was found, `remedy` what to do about it."""

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}"


class ExportRefused(ExportError):
    """The model, or what is asked for, cannot be exported."""


class BelowTheBar(ExportError):
    """A product's vectors differ from the source's by more than its precision may."""
