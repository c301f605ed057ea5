"""Lets a graph that was exported for a batch of one take any batch.

Exports without dynamic axes write the batch of their example into the shapes that they reshape to,
and into constants that stand for one item each. Item by item such a graph gives up a third of a
processor's speed. Here a batch of several is sent through the shapes alone, and each place where a
one was written for the batch is opened. Nothing is proven by that: whether items then still get
their own vectors is tried by whoever loads the graph.
"""

import math
from collections.abc import Sequence

import numpy as np
import openvino as ov
from openvino import opset13 as opset

# A batch whose share in a shape cannot be mistaken.
_MANY = 7


class CannotBeFreed(Exception):
    """The graph computes for a batch of one in a way that is not understood."""


def free_batch(model: ov.Model) -> None:
    """Open the first dimension of every input, in place; shapes with one item stay as they were.

    Raises:
        CannotBeFreed: a shape could not be followed; the model is spoilt then.

    """
    parameters = model.get_parameters()
    try:
        ones = {_key(out): _static(out) for op in model.get_ordered_ops() for out in op.outputs()}
        _resize(parameters, _MANY)
        shape = opset.shape_of(parameters[0].output(0), "i64")
        batch = opset.gather(shape, _int64([0]), _int64(0)).output(0)
        for op in model.get_ordered_ops():
            _open(op, ones, batch)
            op.validate_and_infer_types()
        _resize(parameters, -1)
        model.validate_nodes_and_infer_types()
    except (RuntimeError, TypeError, ValueError) as error:
        raise CannotBeFreed(str(error)) from error


def _resize(parameters: Sequence[ov.Node], batch: int) -> None:
    for parameter in parameters:
        rest = list(parameter.get_partial_shape())[1:]
        parameter.set_partial_shape(ov.PartialShape([batch, *rest]))
        parameter.validate_and_infer_types()


def _open(op: ov.Node, ones: dict[tuple[str, int], list[int]], batch: ov.Output) -> None:
    kind = op.get_type_name()
    if kind == "Reshape":
        _open_reshape(op, ones)
    elif kind == "Concat":
        _open_concat(op, ones, batch)
    elif kind == "Multiply":
        _open_numbering(op, batch)


def _open_reshape(op: ov.Node, ones: dict[tuple[str, int], list[int]]) -> None:
    # A shape that is computed is replaced as well: all other dimensions are known.
    source = op.input_value(0)
    axis = _batch_axis(source, ones)
    if axis is None:
        return
    before = ones[_key(source)]
    after = ones[_key(op.output(0))]
    opened = [*after]
    opened[_place(before, axis, after)] = -1
    op.input(1).replace_source_output(_int64(opened).output(0))


def _open_concat(op: ov.Node, ones: dict[tuple[str, int], list[int]], batch: ov.Output) -> None:
    """Repeat what stands once for each item, such as a class token, or count it."""
    axes = {_batch_axis(source, ones) for source in op.input_values()} - {None}
    if len(axes) != 1:
        return
    (axis,) = axes
    assert axis is not None
    for place, source in enumerate(op.input_values()):
        if _batch_axis(source, ones) is not None:
            continue
        shape = ones[_key(source)]
        if shape[axis] != 1:
            raise CannotBeFreed(f"{op.friendly_name} joins the batch to something else")
        if _numbers_items(source):
            column = [-1 if i == axis else 1 for i in range(len(shape))]
            numbers = opset.reshape(
                _numbers(batch, source), _int64(column), special_zero=False
            ).output(0)
            op.input(place).replace_source_output(numbers)
            continue
        target = [_int64([edge]).output(0) for edge in shape]
        target[axis] = batch
        repeated = opset.broadcast(source, opset.concat(target, 0), broadcast_spec="BIDIRECTIONAL")
        op.input(place).replace_source_output(repeated.output(0))


def _open_numbering(op: ov.Node, batch: ov.Output) -> None:
    """Count items that were numbered in a batch of one: [0] becomes [0 ... N-1]."""
    for place, source in enumerate(op.input_values()):
        if list(source.get_partial_shape()) == [1] and _numbers_items(source):
            op.input(place).replace_source_output(_numbers(batch, source).output(0))


def _place(before: Sequence[int], axis: int, after: Sequence[int]) -> int:
    """Return the dimension of `after` that holds the batch of dimension `axis` of `before`.

    Elements keep their order, so that as many of them must stand before the batch in both: between
    `first` and `last`, since other edges may have been merged with the batch. A dimension of one
    is the batch's own; else it was merged with the one behind it (heads), or, where that is the
    last and so holds a vector, with the one before it (positions).
    """
    first = math.prod(before[:axis])
    last = first * before[axis]
    starts = [math.prod(after[:i]) for i in range(len(after))]
    own = [i for i, start in enumerate(starts) if after[i] == 1 and first <= start <= last]
    behind = [i for i, start in enumerate(starts[:-1]) if start == first]
    ahead = [i for i, start in enumerate(starts) if start * after[i] == last]
    places = [*own, *behind, *ahead]
    if not places:
        raise CannotBeFreed(f"the batch is lost between {[*before]} and {[*after]}")
    return places[0]


def _batch_axis(output: ov.Output, ones: dict[tuple[str, int], list[int]]) -> int | None:
    """Return the dimension that grew with the batch; None if there is none."""
    before = ones.get(_key(output))
    if before is None:
        return None
    grown = [
        i for i, (one, now) in enumerate(zip(before, _static(output), strict=True)) if one != now
    ]
    if len(grown) > 1:
        raise CannotBeFreed("the batch stands in two dimensions")
    return grown[0] if grown else None


def _numbers_items(output: ov.Output) -> bool:
    """Whether this is a whole number zero: the number of the only item."""
    node = output.get_node()
    while node.get_type_name() in {"Unsqueeze", "Convert", "Reshape"}:
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Constant" or not output.get_element_type().is_integral_number():
        return False
    data = node.data
    return data.size == 1 and not data.any()


def _numbers(batch: ov.Output, like: ov.Output) -> ov.Node:
    """Return 0 ... N-1, of the type of another tensor."""
    count = opset.squeeze(batch, _int64([0]))
    kind = like.get_element_type().get_type_name()
    return opset.convert(opset.range(_int64(0), count, _int64(1), "i64"), kind)


def _static(output: ov.Output) -> list[int]:
    shape = output.get_partial_shape()
    if shape.is_dynamic:
        raise CannotBeFreed("a shape is not known")
    return list(shape.to_shape())


def _key(output: ov.Output) -> tuple[str, int]:
    return output.get_node().get_name(), output.get_index()


def _int64(value: int | Sequence[int]) -> ov.Node:
    return opset.constant(np.asarray(value, np.int64))
