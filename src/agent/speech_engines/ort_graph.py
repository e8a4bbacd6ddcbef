"""Models in onnxruntime's own format (.ort) as ONNX graphs, with their constant arithmetic done once.

The layout is that of `ort.fbs` in onnxruntime; its Python reader is part of the package `onnxruntime`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.AttributeType import AttributeType
from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.InferenceSession import InferenceSession
from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.TensorTypeAndShape import TensorTypeAndShape

_IR_VERSION = 8


def read(path: Path) -> Any:
    """Read a `.ort` file as an `onnx.ModelProto`."""
    model = InferenceSession.GetRootAs(path.read_bytes(), 0).Model()
    opsets = [
        helper.make_opsetid(_domain(model.OpsetImport(i).Domain()), int(model.OpsetImport(i).Version()))
        for i in range(model.OpsetImportLength())
    ]
    return make_model(_graph(model.Graph(), "main"), opsets)


def make_model(graph: Any, opsets: Iterable[Any]) -> Any:
    """A model of a graph."""
    model = helper.make_model(graph, opset_imports=list(opsets))
    model.ir_version = _IR_VERSION
    return model


def fold(graph: Any) -> int:
    """Do what of the graph's arithmetic depends on constants alone; the number of nodes that are gone.

    The nodes have to be in topological order. Only what dequantising weights consists of is done.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    values: dict[str, np.ndarray[Any, Any]] = {}

    def value(name: str) -> np.ndarray[Any, Any] | None:
        if name not in values and name in constants:
            values[name] = numpy_helper.to_array(constants[name])
        return values.get(name)

    kept, made = [], set()
    for node in graph.node:
        operation = _OPERATIONS.get(node.op_type)
        inputs = [value(name) for name in node.input] if operation else [None]
        if operation is None or not inputs or any(array is None for array in inputs):
            kept.append(node)
            continue
        values[node.output[0]] = operation(node, [array for array in inputs if array is not None])
        made.add(node.output[0])
    folded = len(graph.node) - len(kept)
    del graph.node[:]
    graph.node.extend(kept)
    needed = names_needed(graph)
    initialisers = [tensor for tensor in graph.initializer if tensor.name in needed]
    initialisers += [numpy_helper.from_array(values[name], name) for name in sorted(made & needed)]
    del graph.initializer[:]
    graph.initializer.extend(initialisers)
    return folded


def names_needed(graph: Any) -> set[str]:
    """Every value that the graph's nodes, those of its branches too, or its outputs use."""
    return {name for node in _all_nodes(graph) for name in node.input} | _output_names(graph)


def _all_nodes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for branch in _branches(node):
            yield from _all_nodes(branch)


def _output_names(graph: Any) -> set[str]:
    names = {output.name for output in graph.output}
    for node in graph.node:
        for branch in _branches(node):
            names |= _output_names(branch)
    return names


def _branches(node: Any) -> list[Any]:
    return [attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH]


def _cast(node: Any, inputs: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    return inputs[0].astype(helper.tensor_dtype_to_np_dtype(node.attribute[0].i))


def _transpose(node: Any, inputs: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(inputs[0].transpose(list(node.attribute[0].ints) if node.attribute else None))


def _dequantise(node: Any, inputs: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    zero = inputs[2].astype(np.float32) if len(inputs) > 2 else np.float32(0)
    return np.asarray((inputs[0].astype(np.float32) - zero) * inputs[1])


_OPERATIONS: dict[str, Callable[[Any, list[np.ndarray[Any, Any]]], np.ndarray[Any, Any]]] = {
    "Cast": _cast,
    "Mul": lambda node, inputs: np.asarray(inputs[0] * inputs[1]),
    "Add": lambda node, inputs: np.asarray(inputs[0] + inputs[1]),
    "Sub": lambda node, inputs: np.asarray(inputs[0] - inputs[1]),
    "Transpose": _transpose,
    "DequantizeLinear": _dequantise,
}


def _text(data: bytes | None) -> str:
    return (data or b"").decode()


def _domain(data: bytes | None) -> str:
    name = _text(data)
    return "" if name == "ai.onnx" else name


def _tensor(source: Any) -> Any:
    tensor = onnx.TensorProto(
        name=_text(source.Name()),
        data_type=source.DataType(),
        dims=[int(source.Dims(i)) for i in range(source.DimsLength())],
    )
    if source.StringDataLength():
        tensor.string_data.extend(source.StringData(i) for i in range(source.StringDataLength()))
    else:
        tensor.raw_data = source.RawDataAsNumpy().tobytes() if source.RawDataLength() else b""
    return tensor


def _value_info(source: Any) -> Any:
    """The type and shape of a value; the name alone where the file has no more."""
    kind = source.Type()
    table = kind.Value() if kind is not None else None
    if table is None:
        return helper.make_empty_tensor_value_info(_text(source.Name()))
    tensor = TensorTypeAndShape()
    tensor.Init(table.Bytes, table.Pos)
    shape = tensor.Shape()
    dimensions: list[str | int | None] | None = None
    if shape is not None:
        dimensions = []
        for i in range(shape.DimLength()):
            size = shape.Dim(i).Value()
            dimensions.append(None if size is None else _text(size.DimParam()) or int(size.DimValue()))
    return helper.make_tensor_value_info(_text(source.Name()), tensor.ElemType(), dimensions)


def _attribute(source: Any) -> Any | None:
    """An attribute; none for an empty list, which means its default."""
    name = _text(source.Name())
    match source.Type():
        case AttributeType.FLOAT:
            value: Any = source.F()
        case AttributeType.INT:
            value = source.I()
        case AttributeType.STRING:
            value = _text(source.S())
        case AttributeType.TENSOR:
            value = _tensor(source.T())
        case AttributeType.GRAPH:
            value = _graph(source.G(), name)
        case AttributeType.FLOATS:
            value = [source.Floats(i) for i in range(source.FloatsLength())] or None
        case AttributeType.INTS:
            value = [source.Ints(i) for i in range(source.IntsLength())] or None
        case AttributeType.STRINGS:
            value = [_text(source.Strings(i)) for i in range(source.StringsLength())] or None
        case other:
            raise ValueError(f"attribute {name!r} has the type {other}, which Moonshine's models do not have")
    return None if value is None else helper.make_attribute(name, value)


def _node(source: Any) -> Any:
    node = helper.make_node(
        _text(source.OpType()),
        [_text(source.Inputs(i)) for i in range(source.InputsLength())],
        [_text(source.Outputs(i)) for i in range(source.OutputsLength())],
        name=_text(source.Name()),
        domain=_domain(source.Domain()),
    )
    attributes = (_attribute(source.Attributes(i)) for i in range(source.AttributesLength()))
    node.attribute.extend(attribute for attribute in attributes if attribute is not None)
    return node


def _graph(source: Any, name: str) -> Any:
    values = {_text(source.NodeArgs(i).Name()): source.NodeArgs(i) for i in range(source.NodeArgsLength())}
    initialisers = [_tensor(source.Initializers(i)) for i in range(source.InitializersLength())]
    constant = {tensor.name for tensor in initialisers}
    inputs = [_text(source.Inputs(i)) for i in range(source.InputsLength())]
    outputs = [_text(source.Outputs(i)) for i in range(source.OutputsLength())]
    return helper.make_graph(
        _in_order([_node(source.Nodes(i)) for i in range(source.NodesLength())]),
        name,
        [_value_info(values[value]) for value in inputs if value not in constant],
        [_value_info(values[value]) for value in outputs],
        initialisers,
    )


def _in_order(nodes: list[Any]) -> list[Any]:
    """Nodes in topological order: the file has them in any."""
    maker = {output: index for index, node in enumerate(nodes) for output in node.output if output}
    uses = [
        [maker[name] for name in (*node.input, *(n for b in _branches(node) for n in names_needed(b))) if name in maker]
        for node in nodes
    ]
    ordered: list[Any] = []
    done: set[int] = set()
    for root in range(len(nodes)):
        stack = [(root, iter(uses[root]))] if root not in done else []
        done.add(root)
        while stack:
            index, rest = stack[-1]
            following = next((other for other in rest if other not in done), None)
            if following is None:
                ordered.append(nodes[index])
                stack.pop()
            else:
                done.add(following)
                stack.append((following, iter(uses[following])))
    return ordered
