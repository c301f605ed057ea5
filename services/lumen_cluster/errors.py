"""Every way in which the API server cannot be read.

NoServer                     nothing says where the API server is
ClusterTrouble               it cannot be read now; what was last known stays
├── ClusterAway              nobody answers, or not in time, or with an error of the server's own
│   └── PageTooLarge         it answers with more than is read at once
├── ClusterRefused           it answers that we may not, or that it has no such kind
└── HistoryGone              a watch cannot go on where it ended: list again
"""


class NoServer(Exception):
    """Nothing says how to reach an API server; the message says what would."""


class ClusterTrouble(Exception):
    """The API server gives no answer that can be used; the message says what to do about it.

    `retry_after_s` is how long it asked to be left alone.
    """

    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ClusterAway(ClusterTrouble):
    """The API server cannot be reached, went silent, or failed."""


class PageTooLarge(ClusterAway):
    """The answer is larger than what is read at once: ask for fewer objects."""


class ClusterRefused(ClusterTrouble):
    """The API server refuses: who we are, what we may, or a kind that it does not know."""


class HistoryGone(ClusterTrouble):
    """The watch cannot be resumed from where it ended: everything is to be listed anew."""
