"""The option --quantize: an MXNet model in a lower precision, judged against fp32. Runs in the command line tool."""

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model_archiver.archive import ArchiveFile
from model_archiver.errors import ModelArchiverError
from model_archiver.quantization.agreement import Agreement, compare, measure, run_all
from model_archiver.quantization.data import Samples, read_samples
from model_archiver.quantization.int8 import to_int8
from model_archiver.quantization.network import Network, NetworkError, first_line, import_mxnet
from model_archiver.quantization.processor import FASTER_WITH, check_processor, describe_processor

logger = logging.getLogger(__name__)
REPORT = "model_archiver.report"
"""Logger of the lines about a conversion; the command line always prints them."""

PRECISIONS = ("int8", "bf16")
REPORT_FILE = "quantization.json"
SIGNATURE = "signature.json"
_IMAGE_HANDLERS = ("mxnet_vision_service", "mxnet_vision_batching")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """What the options ask for."""

    precision: str
    calibration_data: Path
    min_agreement: float = 0.95
    anyway: bool = False
    """Write the archive even where the agreement is less."""


@dataclass(frozen=True, slots=True)
class _ModelFiles:
    symbol: ArchiveFile
    params: ArchiveFile
    input_name: str
    shape: list[int]
    """Without the batch."""

    def bytes(self) -> int:
        return sum(file.source.stat().st_size for file in (self.symbol, self.params))


def check_options(
    quantize: str | None, calibration_data: str | os.PathLike[str] | None, *, min_agreement: float, anyway: bool
) -> Quantization | None:
    """Return what the options ask for, None for nothing."""
    if quantize is None:
        if calibration_data is not None or anyway:
            raise ModelArchiverError("--calibration-data and --quantize-anyway mean something with --quantize only.")
        return None
    if quantize not in PRECISIONS:
        raise ModelArchiverError(f"Precision {quantize} is not one of {', '.join(PRECISIONS)}.")
    if calibration_data is None:
        raise ModelArchiverError("--quantize needs --calibration-data DIR, samples of what the model will be asked.")
    if not 0 <= min_agreement <= 1:
        raise ModelArchiverError(f"--min-agreement is a share, 0 to 1, not {min_agreement}.")
    folder = Path(calibration_data)
    return Quantization(precision=quantize, calibration_data=folder, min_agreement=min_agreement, anyway=anyway)


def quantize_model(
    files: Sequence[ArchiveFile], wanted: Quantization, *, model_name: str, handler: str, output: Path
) -> list[ArchiveFile]:
    """Convert a model and return the files to pack instead of `files`; new ones are written to `output`.

    In place of the symbol and the parameters come files of the same names, and quantization.json, the report.
    Raises `ModelArchiverError` where the model cannot be converted, or agrees with fp32 too little.
    """
    model = _find_model(files, model_name)
    mx = import_mxnet()
    check_processor(wanted.precision)
    samples = read_samples(wanted.calibration_data, model.shape, calibrates=wanted.precision == "int8")
    if samples.images and Path(handler.partition(":")[0]).stem not in _IMAGE_HANDLERS:
        logger.warning(
            "The images are prepared as mxnet_vision_service does it. If %s prepares them in another way, "
            "give .npy arrays of the ready input instead.",
            handler,
        )
    try:
        original = Network.read(model.symbol.source, model.params.source, input_name=model.input_name)
        _check_symbol(original, model.symbol.name)
        converted, conversion = _convert(original, samples, wanted)
        agreement = compare(run_all(original, samples.held_out), run_all(converted, samples.held_out))
        fp32_ms, converted_ms = measure([original, converted], samples.held_out[0])
    except NetworkError as exc:
        raise ModelArchiverError(f"Cannot quantize {model.symbol.name}: {exc}.") from exc
    _judge(agreement, wanted)
    made = [ArchiveFile(file.name, output / file.name) for file in (model.symbol, model.params)]
    converted.write(made[0].source, made[1].source)
    report = {
        "precision": wanted.precision,
        "mxnet": mx.__version__,
        **conversion,
        "agreement": {
            **asdict(agreement),
            "min_agreement": wanted.min_agreement,
            "accepted_anyway": not _is_enough(agreement, wanted),
        },
        "bytes": {"fp32": model.bytes(), wanted.precision: sum(file.source.stat().st_size for file in made)},
        "ms": {"fp32": round(fp32_ms, 3), wanted.precision: round(converted_ms, 3)},
        "speedup": round(fp32_ms / converted_ms, 2),
        "processor": describe_processor(wanted.precision),
    }
    made.append(ArchiveFile(REPORT_FILE, output / REPORT_FILE))
    made[-1].source.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n")
    _print(report, agreement, wanted.precision)
    names = {file.name for file in made}
    return [file for file in _without_samples(files, model, wanted) if file.name not in names] + made


def _without_samples(files: Sequence[ArchiveFile], model: _ModelFiles, wanted: Quantization) -> list[ArchiveFile]:
    folder = wanted.calibration_data.resolve()
    if model.symbol.source.is_relative_to(folder):  # all of the model lies there
        return list(files)
    return [file for file in files if not file.source.is_relative_to(folder)]


def _find_model(files: Sequence[ArchiveFile], model_name: str) -> _ModelFiles:
    by_name = {file.name: file for file in files}
    names = (f"{model_name}-symbol.json", f"{model_name}-0000.params", SIGNATURE)
    for name in names:
        if name not in by_name:
            ending = "-symbol.json" if "symbol" in name else name.removeprefix(model_name)
            others = sorted(other for other in by_name if other.endswith(ending))
            found = f" It has {', '.join(others)}." if others else ""
            raise ModelArchiverError(f"--quantize needs the file {name} in the model path.{found}")
    symbol, params, signature = (by_name[name] for name in names)
    try:
        inputs = json.loads(signature.source.read_bytes())["inputs"]
        described = [(str(entry["data_name"]), [int(size) for size in entry["data_shape"]]) for entry in inputs]
    except (ValueError, KeyError, TypeError) as exc:
        raise ModelArchiverError(f"{SIGNATURE} does not name the inputs and their shapes: {exc!r}.") from exc
    if len(described) != 1:
        raise ModelArchiverError(f"--quantize works with models of one input; {SIGNATURE} has {len(described)}.")
    [(input_name, shape)] = described
    return _ModelFiles(symbol, params, input_name, shape[1:])


def _check_symbol(network: Network, name: str) -> None:
    low = [node["op"] for node in network.nodes() if "quantize" in node["op"] or node["op"] == "amp_cast"]
    if low:
        raise NetworkError(f"it is of low precision already ({low[0]}); start from the fp32 model")


def _convert(original: Network, samples: Samples, wanted: Quantization) -> tuple[Network, dict[str, Any]]:
    """Return the converted network and what the report says about the way."""
    if wanted.precision == "bf16":
        return _to_bf16(original), {}
    logger.info("Calibrating with %d samples.", len(samples.calibration))
    made = to_int8(original, samples.calibration, minimum=wanted.min_agreement)
    calibration = {"method": made.method, **asdict(made.agreement)}
    return made.network, {"calibration": calibration, "layers": {"int8": made.layers, "kept_in_fp32": made.kept}}


def _to_bf16(original: Network) -> Network:
    mx = import_mxnet()
    from mxnet.contrib import amp

    try:
        # It writes into the dictionaries that it gets.
        symbol, arguments, states = amp.convert_model(
            original.symbol,
            dict(original.arguments),
            dict(original.states),
            target_dtype="bfloat16",
            cast_optional_params=True,  # half the size; and the parameters are not cast again for each answer
        )
    except (mx.MXNetError, ValueError) as exc:
        raise NetworkError(f"MXNet cannot convert the network: {first_line(exc)}") from exc
    converted = Network(symbol, arguments, states, input_name=original.input_name)
    if not any(node["op"] == "amp_cast" for node in converted.nodes()):
        raise NetworkError("it has no layer that is faster in bf16 (a convolution or a dense layer)")
    return converted


def _is_enough(agreement: Agreement, wanted: Quantization) -> bool:
    return agreement.top1 is not None and agreement.top1 >= wanted.min_agreement


def _judge(agreement: Agreement, wanted: Quantization) -> None:
    if agreement.mean_difference == float("inf"):
        raise ModelArchiverError(
            f"The {wanted.precision} model computes values that are not finite; no archive is written."
        )
    if _is_enough(agreement, wanted) or wanted.anyway:
        return
    if agreement.top1 is None:
        raise ModelArchiverError(
            "The model's output is one number a sample, so there is no likeliest class to compare. The "
            f"{wanted.precision} model differs from fp32 by {agreement.mean_difference:.2%} on average and at most "
            f"{agreement.largest_difference:.4g}. --quantize-anyway accepts that."
        )
    raise ModelArchiverError(
        f"The {wanted.precision} model names the same class as fp32 for {agreement.top1:.1%} of {agreement.samples} "
        f"held-out samples, less than {wanted.min_agreement:.1%}; no archive is written. More and more varied "
        "calibration data may help; --min-agreement changes the bound, --quantize-anyway ignores it."
    )


def _print(report: dict[str, Any], agreement: Agreement, precision: str) -> None:
    lines = logging.getLogger(REPORT)
    if "layers" in report:
        converted, kept = report["layers"]["int8"], report["layers"]["kept_in_fp32"]
        lines.info(
            "Convolutions in int8: %d of %d, calibrated with %d samples.",
            *(len(converted), len(converted) + len(kept), report["calibration"]["samples"]),
        )
    share = "no classes to compare" if agreement.top1 is None else f"{agreement.top1:.1%} the same class"
    lines.info(
        "Agreement with fp32 on %d held-out samples: %s; values differ by %.1f%%, at most %.4g.",
        *(agreement.samples, share, agreement.mean_difference * 100, agreement.largest_difference),
    )
    lines.info("Size: %s bytes, fp32 %s.", f"{report['bytes'][precision]:,}", f"{report['bytes']['fp32']:,}")
    lines.info(
        "Speed: %.1f ms a run, fp32 %.1f ms: %.1f times.",
        *(report["ms"][precision], report["ms"]["fp32"], report["speedup"]),
    )
    if report["speedup"] < 1.1:
        needed = "" if report["processor"]["instructions"] else f"; it wants {' or '.join(FASTER_WITH[precision])}"
        logger.warning("%s makes this model no faster on this processor%s.", precision, needed)
