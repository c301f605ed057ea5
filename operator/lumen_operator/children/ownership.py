"""Whose an object is that has the name of a child: ours, or somebody else's. Pure.

The marks are the controller's owner reference with the uid of the service, or, where no other
controller is named, an earlier apply of our own field manager: children that were orphaned carry
it. Labels mark nothing, anybody writes them. All of it may be forged by whoever may write the
object itself; since it is compared with a manifest of the same namespace, that reaches no further.
"""

from lumen_cluster.kinds import Raw
from lumen_manifest.conditions import ConditionType, Reason
from lumen_manifest.names import FIELD_MANAGER
from lumen_operator.diagnose.finding import Finding, find
from lumen_operator.observe import decode
from lumen_operator.observe.kinds import kind_of
from lumen_operator.observe.managed_fields import applied_by_us

WORD_MAX = 100
MAKERS_MAX = 3
MANAGED_BY = "app.kubernetes.io/managed-by"

REMEDY = (
    "Remove {object} if nobody needs it, or give the LumenModelService another name; "
    "until then nothing of the service is written."
)


def taken_by_other(manifest: Raw, live: Raw) -> Finding | None:
    """The object of a child's name is somebody else's."""
    whose = stranger_of(manifest, live)
    if not whose:
        return None
    there = f"{kind_of(manifest).kind} {manifest['metadata']['name']}"
    said = f"{there} is there already and is not this service's: {whose}."
    return find(
        ConditionType.ACCEPTED, Reason.FIELD_CONFLICT, said, remedy=REMEDY.format(object=there)
    )


def stranger_of(manifest: Raw, live: Raw) -> str:
    """Say whose a live object is, in a clause; empty when it is the child of the manifest."""
    mine, theirs = _controller(manifest), _controller(live)
    uid = decode.text(theirs, "uid")
    if uid and uid == decode.text(mine, "uid"):
        return ""
    # A name is free for us only when its earlier bearer is gone: its children have no owner left.
    other = theirs and not _same_name(mine, theirs)
    if not other and applied_by_us(live):
        return ""
    if theirs:
        kind, name = (_word(decode.text(theirs, key)) for key in ("kind", "name"))
        return f"{kind} {name} owns it" if other else f"an earlier {kind} {name} owned it"
    return _made_by(live)


def _controller(raw: Raw) -> Raw:
    """Return the owner reference of an object's controller, empty when it has none."""
    owners = decode.items(decode.mapping(raw, "metadata"), "ownerReferences")
    return next((each for each in owners if each.get("controller") is True), {})


def _same_name(mine: Raw, theirs: Raw) -> bool:
    def name(owner: Raw) -> tuple[str, str, str]:
        group = decode.text(owner, "apiVersion").partition("/")[0]
        return group, decode.text(owner, "kind"), decode.text(owner, "name")

    return name(mine) == name(theirs)


def _made_by(live: Raw) -> str:
    """Say who wrote an object, by its field managers and by the label that tells of tools."""
    metadata = decode.mapping(live, "metadata")
    entries = decode.items(metadata, "managedFields")
    managers = [decode.text(each, "manager") for each in entries if not _of_status(each)]
    makers = [_word(each) for each in dict.fromkeys(managers) if each][:MAKERS_MAX]
    tool = decode.text(decode.mapping(metadata, "labels"), MANAGED_BY)
    if tool and tool != FIELD_MANAGER:
        makers.append(f"its label {MANAGED_BY} says {_word(tool)}")
    return f"written by {', '.join(makers)}" if makers else "nothing says who made it"


def _of_status(entry: Raw) -> bool:
    return bool(decode.text(entry, "subresource"))


def _word(text: str) -> str:
    """Return what somebody else wrote as it can be shown: short, without control characters."""
    shown = "".join(each for each in text if each.isprintable())
    return shown if len(shown) <= WORD_MAX else f"{shown[:WORD_MAX]}..."
