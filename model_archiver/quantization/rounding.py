"""Weights rounded to eight bits so that a layer's output changes least, for the option --quantize.

MXNet rounds each weight to the nearest of the steps of its output channel. Here a weight's error is made up for by the
weights that are rounded after it, as far as they see the same inputs: the method of optimal brain quantization
(Frantar and Alistarh, arXiv 2208.11580) in its quick form (arXiv 2210.17323). The results lie on the same steps, so
that MXNet's own rounding changes them no further.
"""

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from model_archiver.quantization.network import Network, import_mxnet

_SAMPLES = 64
_STEPS = 127
_BLOCK = 128
_DAMPING = 0.01
"""Added to the squares of the inputs, as a share of their mean: what few samples show is not to be trusted entirely."""


def round_weights(network: Network, samples: Sequence[Any]) -> dict[str, Any]:
    """Return the rounded weights of all convolutions that have two dimensions, by the convolutions' names."""
    mx = import_mxnet()
    layers = {name: attributes for name, attributes in network.convolutions().items() if _is_plain(attributes)}
    if not layers:
        return {}
    inner = network.symbol.get_internals()
    observer = network.with_symbol(mx.sym.Group([inner[attributes["input"]] for attributes in layers.values()]))
    squares: dict[str, Any] = dict.fromkeys(layers, 0)
    for sample in samples[:_SAMPLES]:
        for (name, attributes), value in zip(layers.items(), observer.run(sample), strict=True):
            squares[name] = squares[name] + _squares(value, attributes)
    return {
        name: mx.nd.array(_round(network.arguments[attributes["weight"]].asnumpy(), squares.pop(name)))
        for name, attributes in layers.items()
    }


def _is_plain(attributes: Mapping[str, str]) -> bool:
    return len(ast.literal_eval(attributes["kernel"])) == 2 and attributes.get("layout", "None") in ("None", "NCHW")


def _squares(value: Any, attributes: Mapping[str, str]) -> Any:
    """Multiply what the weights of a layer see with itself, over all places: (groups, weights, weights)."""
    mx = import_mxnet()
    sizes = {
        name: ast.literal_eval(attributes[name])
        for name in ("kernel", "stride", "pad", "dilate")
        if attributes.get(name, "()") != "()"
    }
    seen = mx.nd.im2col(mx.nd.array(value), **sizes)[0]
    groups = int(attributes.get("num_group", "1"))
    seen = seen.reshape((groups, -1, seen.shape[1]))
    return mx.nd.batch_dot(seen, seen, transpose_b=True).asnumpy()


def _round(weights: Any, squares: Any) -> Any:
    """Round weights (outputs, inputs of a group, height, width), each output in 127 steps up to its largest weight."""
    import numpy as np

    groups = np.split(weights.reshape(len(weights), -1).astype(np.float64), len(squares))
    rounded = [_round_group(rows, matrix.astype(np.float64)) for rows, matrix in zip(groups, squares, strict=True)]
    return np.concatenate(rounded).reshape(weights.shape).astype(np.float32)


def _round_group(rows: Any, squares: Any) -> Any:
    import numpy as np

    step = np.abs(rows).max(1) / _STEPS
    step[step == 0] = 1
    largest = np.abs(rows).argmax(1)
    ends = np.sign(rows[np.arange(len(rows)), largest]) * _STEPS
    influence = _influence(squares)
    if influence is None:
        return rows  # left to MXNet's rounding
    left, rounded = rows.copy(), np.zeros_like(rows)
    for start in range(0, len(squares), _BLOCK):
        end = min(start + _BLOCK, len(squares))
        errors = np.zeros((len(rows), end - start))
        for place in range(start, end):
            steps = np.clip(np.round(left[:, place] / step), -_STEPS, _STEPS)
            # The largest weight stays where it is: MXNet takes the steps from it.
            rounded[:, place] = np.where(largest == place, ends, steps) * step
            error = (left[:, place] - rounded[:, place]) / influence[place, place]
            left[:, place + 1 : end] -= np.outer(error, influence[place, place + 1 : end])
            errors[:, place - start] = error
        left[:, end:] -= errors @ influence[start:end, end:]  # of all places at once, which is many times faster
    return rounded


def _influence(squares: Any) -> Any:
    """Return how an error at one place is made up for at each later one, or None where the inputs do not tell."""
    import numpy as np

    diagonal = np.arange(len(squares))
    squares[diagonal, diagonal] += _DAMPING * squares[diagonal, diagonal].mean() or 1
    try:
        influence = np.linalg.cholesky(np.linalg.inv(squares)).T
    except np.linalg.LinAlgError:  # as for inputs of very different sizes
        return None
    return influence if np.isfinite(influence).all() else None
