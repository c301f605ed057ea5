"""What is computed of a frozen model once, and remembered for as long as the model lives."""

import weakref
from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from lumen_manifest.spec.field_types import Strict

Model = TypeVar("Model", bound=Strict)
Answer = TypeVar("Answer")


def once(function: Callable[[Model], Answer]) -> Callable[[Model], Answer]:
    """Have a pure function of one model answer once for each object.

    Models are frozen, so the answer holds while the object lives; it is forgotten with it. Objects
    are told apart, not compared: a copy is asked anew.
    """
    known: dict[int, tuple[weakref.ref[Model], Answer]] = {}

    @wraps(function)
    def answered(model: Model) -> Answer:
        identity = id(model)
        found = known.get(identity)
        if found is not None and found[0]() is model:
            return found[1]
        answer = function(model)
        known[identity] = weakref.ref(model, lambda _: known.pop(identity, None)), answer
        return answer

    return answered
