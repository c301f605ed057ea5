"""What the API server says no to: a child that it does not take. Pure."""

from lumen_manifest.conditions import ConditionType, Reason
from lumen_operator.diagnose.finding import Finding, find


def child_refused(child: str, words: str, *, pool: str, namespace: str) -> Finding:
    """Say that a child, such as `Deployment clip-stable`, is refused, in the server's words."""
    return find(
        ConditionType.ACCEPTED,
        Reason.CHILD_REFUSED,
        f"The API server refuses {child}: {words}",
        object=child,
        pool=pool,
        namespace=namespace,
    )
