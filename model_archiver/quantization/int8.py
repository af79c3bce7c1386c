"""The conversion to int8 of the option --quantize, with MXNet's contrib.quantization. Runs in the command line tool.

What is chosen (the calibration's method, layers kept in fp32) is chosen on the calibration samples alone.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model_archiver.quantization.agreement import Agreement, Outputs, compare, run_all
from model_archiver.quantization.network import Network, NetworkError, first_line, import_mxnet
from model_archiver.quantization.rounding import round_weights

FUSION = "MKLDNN_QUANTIZE"
"""MXNet's pass that fuses convolutions with what follows them; only fused ones are faster in int8."""
CONVOLUTION = "_sg_mkldnn_conv"
DENSE = "_sg_mkldnn_fully_connected"
METHODS = ("observed", "clipped")
_BINS = 4096
_INT8_TIME = 1 / 3
"""Of a convolution, as a share of what it takes in fp32: what was measured on several networks."""

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Int8:
    """A converted network and how it came about."""

    network: Network
    method: str
    layers: list[str]
    """The convolutions in int8, by their names in the original symbol."""
    kept: list[str]
    """Convolutions that stay in fp32."""
    agreement: Agreement
    """On the calibration samples."""
    relative_time: float
    """Of all convolutions, as a share of that in fp32. Reckoned: a choice must not hang on the machine's other work."""

    @property
    def cost(self) -> float:
        """What is least for the best choice: it is worth half the speed to halve the difference."""
        return self.agreement.mean_difference * self.relative_time


def to_int8(network: Network, samples: Sequence[Any], *, minimum: float) -> Int8:
    """Convert the convolutions of a network and what lies between them; all else stays in fp32.

    Of both methods of calibration, the one whose outputs differ less from fp32 is taken. With it, the first 0, 1, 2, 3,
    4, 8, 16... convolutions, at most half, are kept in fp32: an error made there goes through all the others, and they
    take little of the time. The best is the one of least cost of those that name the same class as fp32 for at least
    `minimum` of the samples, or else the one that does so for most. Raises NetworkError.
    """
    conversion = _Conversion(network, samples)
    plain = min(
        (conversion.convert(0, method) for method in METHODS), key=lambda tried: tried.agreement.mean_difference
    )
    tried = [plain, *(conversion.convert(count, plain.method) for count in _counts(len(plain.layers) // 2))]
    enough = [one for one in tried if _share(one) >= minimum]
    if enough:
        return min(enough, key=lambda one: one.cost)
    return max(tried, key=_share)


def _counts(most: int) -> Iterator[int]:
    count = 1
    while count <= most:
        yield count
        count = count + 1 if count < 4 else count * 2


def _share(tried: Int8) -> float:
    return 1.0 if tried.agreement.top1 is None else tried.agreement.top1


class _Conversion:
    """One network and its calibration samples, converted in several ways."""

    def __init__(self, network: Network, samples: Sequence[Any]) -> None:
        self._network = network
        self._samples = samples
        self._expected: Outputs = run_all(network, samples)
        self._fused = network.with_symbol(network.symbol.get_backend_symbol(FUSION))
        self._convolutions = list(_convolutions(self._fused))
        if not self._convolutions:
            raise NetworkError("it has no layer that is faster in int8 (a convolution)")
        self._ranges = _Ranges(self._fused, samples)
        self._rounded = round_weights(network, samples)

    def convert(self, kept: int, method: str) -> Int8:
        """Convert all convolutions but the first ones."""
        converted = self._build([fused for fused, _ in self._convolutions[:kept]], method)
        names = [name for _, name in self._convolutions]
        agreement = compare(self._expected, run_all(converted, self._samples))
        work = self._work()
        relative_time = (sum(work[:kept]) + sum(work[kept:]) * _INT8_TIME) / sum(work)
        return Int8(converted, method, names[kept:], names[:kept], agreement, relative_time)

    def _work(self) -> list[int]:
        """Count the multiplications of each convolution: of its weights at each place of its output."""
        inner = self._network.symbol.get_internals()
        _, shapes, _ = inner.infer_shape(**{self._network.input_name: (1, *self._samples[0].shape)})
        shape_of = dict(zip(inner.list_outputs(), shapes, strict=True))
        layers = self._network.convolutions()
        return [
            math.prod(shape_of[f"{name}_output"][2:]) * math.prod(shape_of[layers[name]["weight"]])
            for _, name in self._convolutions
        ]

    def _build(self, kept: list[str], method: str) -> Network:
        mx = import_mxnet()
        from mxnet.contrib import quantization

        arguments, states = self._arguments(kept), self._network.states
        try:
            symbol, _, _, collector = quantization.quantize_graph(
                self._fused.symbol,
                arguments,
                states,
                excluded_sym_names=kept,
                excluded_op_names=[DENSE],  # MXNet cannot infer the types of dense layers in int8
                calib_mode="naive",
                quantized_dtype="auto",
                quantize_mode="smart",  # "full" also takes a last global pooling to int8, which spoils the answer
                quantize_granularity="channel-wise",
            )
            collector.min_max_dict = self._ranges.of(collector.include_layer, method)
            symbol, arguments, states = quantization.calib_graph(
                symbol, arguments, states, collector, calib_mode="naive", logger=None
            )
            symbol = symbol.get_backend_symbol(FUSION)
        except (mx.MXNetError, ValueError) as exc:
            raise NetworkError(f"MXNet cannot quantize the network: {first_line(exc)}") from exc
        return Network(symbol, arguments, states, input_name=self._network.input_name)

    def _arguments(self, kept: list[str]) -> dict[str, Any]:
        """Return the parameters, with the weights rounded where they will be integers."""
        layers = self._network.convolutions()
        exact = {name for fused, name in self._convolutions if fused in kept}
        rounded = {layers[name]["weight"]: value for name, value in self._rounded.items() if name not in exact}
        return self._network.arguments | rounded


def _convolutions(fused: Network) -> Iterator[tuple[str, str]]:
    """Find the fused convolutions: their names in the fused symbol, and those in the original."""
    for node in fused.nodes():
        if node["op"] == CONVOLUTION:
            inner = (part["name"] for part in node["subgraphs"][0]["nodes"] if part["op"] == "Convolution")
            yield node["name"], next(inner, node["name"])


class _Ranges:
    """The ranges of a network's inner outputs over the calibration samples, found as they are asked for."""

    def __init__(self, fused: Network, samples: Sequence[Any]) -> None:
        self._fused = fused
        self._samples = samples
        self._found: dict[str, Mapping[str, Range]] = {}

    def of(self, outputs: Sequence[str], method: str) -> dict[str, Range]:
        """Return the range of each output by one of the METHODS."""
        unknown = [name for name in outputs if name not in self._found]
        if unknown:
            self._find(unknown)
        return {name: self._found[name][method] for name in outputs}

    def _find(self, outputs: Sequence[str]) -> None:
        import numpy as np

        inner = self._fused.symbol.get_internals()
        mx = import_mxnet()
        observer = self._fused.with_symbol(mx.sym.Group([inner[name] for name in outputs]))
        low, high = np.full(len(outputs), np.inf), np.full(len(outputs), -np.inf)
        for sample in self._samples:
            values = observer.run(sample)
            low = np.minimum(low, [value.min() for value in values])
            high = np.maximum(high, [value.max() for value in values])
        most = np.maximum(np.abs(low), np.abs(high))
        counts = np.zeros((len(outputs), _BINS))
        for sample in self._samples:
            for number, value in enumerate(observer.run(sample)):
                counts[number] += _histogram(value, most[number])
        for number, name in enumerate(outputs):
            observed = (float(low[number]), float(high[number]))
            # The input keeps its whole range: pixels, 0 to 255, are exact in eight bits.
            is_input = name == self._fused.input_name
            clipped = observed if is_input else _clipped(observed, counts[number], most[number])
            self._found[name] = {"observed": observed, "clipped": clipped}


def _histogram(value: Any, most: float) -> Any:
    import numpy as np

    places = (np.abs(value).ravel() * (_BINS / most if most else 0)).astype(np.int64)
    return np.bincount(np.minimum(places, _BINS - 1), minlength=_BINS)


def _clipped(observed: Range, counts: Any, most: float) -> Range:
    """Shorten a range so that rounding what is within and clipping what is not have the least squared error together.

    Rare large values otherwise take most of the steps that eight bits have. `counts` are those of the values' sizes,
    in equal bins up to `most`.
    """
    import numpy as np

    steps = 255 if observed[0] >= 0 else 127
    sizes = (np.arange(_BINS) + 0.5) * (most / _BINS)
    errors = {}
    for share in np.linspace(0.2, 1, 81):
        step = most * share / steps or 1
        rounded = np.minimum(np.round(sizes / step), steps) * step
        errors[float(most * share)] = float((counts * (rounded - sizes) ** 2).sum())
    limit = min(errors, key=errors.__getitem__)
    return (max(observed[0], -limit), min(observed[1], limit))
