"""Moonshine's weights from the package `moonshine-cpp`, made fast once and kept in the user's cache.

The package's decoder dequantises all of its weights at every token (105 ms of a core each). Done once, with the decoder
cut into a model for the first token and one for the others, and its matrices quantised for onnxruntime's integer
kernels, a token takes about 6 ms. That takes about 20 s and 190 MB of cache.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from agent.speech_engines.types import EngineMissing

if TYPE_CHECKING:
    from collections.abc import Callable

_RECIPE = 1
"""Counts up when what is built changes, so that an older cache is not taken for it."""
ENCODER, FIRST, STEP = "encoder.onnx", "first.onnx", "step.onnx"


def package_dir() -> Path:
    """Where the package's model files are. Raises `EngineMissing`."""
    spec = importlib.util.find_spec("moonshine_cpp")
    if spec is None or spec.origin is None:
        raise EngineMissing("moonshine", "moonshine-cpp")
    return Path(spec.origin).parent / "models" / "base-en"


def cache_dir() -> Path:
    """The directory of the folded weights of the installed package. Raises `EngineMissing`."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        package = version("moonshine-cpp")
    except PackageNotFoundError:
        raise EngineMissing("moonshine", "moonshine-cpp") from None
    root = Path(base) if base else Path.home() / ".cache"
    return root / "voice-agent" / f"moonshine-base-en-{package}-{_RECIPE}"


def weights() -> Path:
    """The directory of the folded weights, built when it is not there. Raises `EngineMissing`.

    Processes that want it at the same time wait for one of them; it appears whole or not at all.
    """
    target = cache_dir()
    if target.is_dir():
        return target
    source = package_dir()
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.with_name(f"{target.name}.lock")):
        if not target.is_dir():
            scratch = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=target.parent))
            try:
                _build(source, scratch)
                scratch.chmod(0o755)
                scratch.rename(target)
            except BaseException:
                shutil.rmtree(scratch, ignore_errors=True)
                raise
    return target


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(source: Path, target: Path) -> None:
    """Build the three models in `target`, telling on standard error how far it is."""
    try:
        import onnx

        from agent.speech_engines import ort_graph
    except ImportError as error:
        raise EngineMissing("moonshine", error.name or "onnx") from error

    def encoder() -> None:
        model = ort_graph.read(source / "encoder_model.ort")
        ort_graph.fold(model.graph)
        onnx.save(model, target / ENCODER)

    def decoder() -> None:
        model = ort_graph.read(source / "decoder_model_merged.ort")
        ort_graph.fold(model.graph)
        for branch, name in (("else_branch", FIRST), ("then_branch", STEP)):
            onnx.save(_branch_model(model, branch), target / name)

    steps: list[tuple[str, Callable[[], None]]] = [("reading the encoder", encoder), ("folding the decoder", decoder)]
    steps.extend(
        (f"quantising the {path.stem} model", partial(_quantise, path))
        for path in (target / ENCODER, target / FIRST, target / STEP)
    )
    with Progress(
        TextColumn("Preparing Moonshine, once:"),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    ) as progress:
        task = progress.add_task("", total=len(steps))
        for description, step in steps:
            progress.update(task, description=description)
            step()
            progress.advance(task)


def _branch_model(model: Any, branch: str) -> Any:
    """One branch of the decoder's `If` as a model of its own, whose outputs have the names of the `If`."""
    from onnx import helper

    from agent.speech_engines import ort_graph

    choice = next(node for node in model.graph.node if node.op_type == "If")
    graph = next(attribute.g for attribute in choice.attribute if attribute.name == branch)
    needed = ort_graph.names_needed(graph)
    types = {output.name: output for output in model.graph.output}
    outputs, nodes = [], list(graph.node)
    for inner, outer in zip(graph.output, choice.output, strict=True):
        output = type(types[outer])()
        output.CopyFrom(types[outer])
        output.name = f"out.{outer}"
        nodes.append(helper.make_node("Identity", [inner.name], [output.name]))
        outputs.append(output)
    return ort_graph.make_model(
        helper.make_graph(
            nodes,
            branch,
            [value for value in model.graph.input if value.name in needed],
            outputs,
            [tensor for tensor in (*model.graph.initializer, *graph.initializer) if tensor.name in needed],
        ),
        [opset for opset in model.opset_import if opset.domain in ("", "com.microsoft")],
    )


def _quantise(path: Path) -> None:
    """Put a model with 8-bit matrices in the place of one with 32-bit ones."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    wide = path.rename(path.with_suffix(".wide"))
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises a pre-processing that needs symbolic shapes
    try:
        quantize_dynamic(wide, path, weight_type=QuantType.QInt8, per_channel=True, op_types_to_quantize=["MatMul"])
    finally:
        root.setLevel(level)
    wide.unlink()
