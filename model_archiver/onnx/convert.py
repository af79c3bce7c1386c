"""The option --convert: an ONNX file becomes the two files of an MXNet model. Runs in the command line tool."""

import json
from collections.abc import Sequence
from pathlib import Path

from model_archiver.archive import ArchiveFile
from model_archiver.errors import ModelArchiverError
from model_archiver.mxnet_files import Output, write_params
from model_archiver.onnx.conversion import Conversion, Operators, Unsupported
from model_archiver.onnx.elementwise import ELEMENTWISE
from model_archiver.onnx.graph import OnnxGraph, read_onnx
from model_archiver.onnx.layers import LAYERS
from model_archiver.onnx.shaping import SHAPING

SIGNATURE = "signature.json"


def find_onnx_file(model_path: Path) -> Path | None:
    """Return the one .onnx file at the top of the model path, None if there is none; two are an error."""
    files = sorted(path for path in model_path.iterdir() if path.name.endswith(".onnx") and path.is_file())
    if len(files) > 1:
        names = [path.name for path in files]
        raise ModelArchiverError(
            f"model-archiver expects only one .onnx file in the folder. Found {len(names)} files {names} in model-path."
        )
    return files[0] if files else None


def convert_onnx(onnx_file: Path, files: Sequence[ArchiveFile], *, model_name: str, output: Path) -> list[ArchiveFile]:
    """Convert a model and return the files to pack instead of `files`; new ones are written to `output`.

    Out go the ONNX file and the files with its weights, in come `NAME-symbol.json`, `NAME-0000.params` and a
    signature.json with the names and shapes of the model's inputs (unknown dimensions are 0, the rest is kept).
    Needs the package onnx, not MXNet. Raises `ModelArchiverError` naming every operator that is not supported.
    Same rule as MMS: model-archiver/model_archiver/model_packaging_utils.py convert_onnx_model.
    """
    source = next((file.source for file in files if file.name == onnx_file.name), onnx_file)
    graph = read_onnx(source)
    conversion = Conversion(graph)
    heads = _convert_nodes(conversion, onnx_file.name)
    symbol_name, params_name = f"{model_name}-symbol.json", f"{model_name}-0000.params"
    (output / symbol_name).write_text(conversion.symbol.dump(heads))
    write_params(output / params_name, conversion.arguments, conversion.auxiliary)
    signature = next((file.source for file in files if file.name == SIGNATURE), None)
    (output / SIGNATURE).write_text(_signature(signature, graph))
    replaced = {onnx_file.name, symbol_name, params_name, SIGNATURE, *graph.external_files}
    made = [ArchiveFile(name, output / name) for name in (symbol_name, params_name, SIGNATURE)]
    return [file for file in files if file.name not in replaced] + made


def _convert_nodes(conversion: Conversion, file_name: str) -> list[Output]:
    operators: Operators = {**LAYERS, **ELEMENTWISE, **SHAPING}
    missing = sorted({node.op for node in conversion.graph.nodes if node.op not in operators})
    if missing:
        raise ModelArchiverError(
            f"Cannot convert {file_name}: no MXNet counterpart for the operators {', '.join(missing)}."
        )
    for node in conversion.graph.nodes:
        try:
            conversion.run(node, operators[node.op])
        except Unsupported as exc:
            raise ModelArchiverError(f"Cannot convert {file_name}: {node.op} {node.name!r}: {exc}.") from exc
    try:
        return conversion.heads()
    except Unsupported as exc:
        raise ModelArchiverError(f"Cannot convert {file_name}: {exc}.") from exc


def _signature(existing: Path | None, graph: OnnxGraph) -> str:
    document = _load_signature(existing) if existing else {}
    old = document.get("inputs")
    inputs = [item if isinstance(item, dict) else {} for item in old] if isinstance(old, list) else []
    inputs += [{} for _ in graph.inputs[len(inputs) :]]
    for entry, actual in zip(inputs, graph.inputs, strict=False):
        entry["data_name"] = actual.name
        entry["data_shape"] = [size or 0 for size in actual.shape]
    document["inputs"] = inputs[: len(graph.inputs)]
    return json.dumps(document, indent=2)


def _load_signature(path: Path) -> dict[str, object]:
    try:
        document = json.loads(path.read_bytes())
    except ValueError as exc:
        raise ModelArchiverError(f"Failed to parse {path}: {exc}.") from exc
    if not isinstance(document, dict):
        raise ModelArchiverError(f"Failed to parse {path}: it must be a JSON object.")
    return document
