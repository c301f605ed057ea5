"""Why a file makes no picture: one error, with the sentences that several formats share."""

MIB = 1 << 20


class PictureRefused(Exception):
    """The bytes are not a picture that may be decoded.

    Its message is for whoever sent them: what they are, and what to do.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def damaged() -> PictureRefused:
    """Return the refusal of bytes that make no picture."""
    return PictureRefused(
        "The picture is damaged or incomplete. Check that all of its bytes were sent."
    )


def too_many_parts() -> PictureRefused:
    """Return the refusal of a file in more pieces than any picture needs."""
    return PictureRefused("The picture's file has too many parts. Save it again and send that.")
