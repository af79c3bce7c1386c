from pathlib import Path
from typing import Any

import pytest

from model_archiver.quantization.network import Network
from model_archiver.quantization.rounding import _round, round_weights
from tests.archiver.quantization.models import SHAPE, mxnet, np, stripes, write_symbol


def nearest(weights: Any) -> Any:
    step = np.abs(weights).max((1, 2, 3), keepdims=True) / 127
    return np.round(weights / step) * step


def network(folder: Path, **options: Any) -> Network:
    sym = mxnet().sym
    first = sym.Activation(sym.Convolution(sym.var("data"), num_filter=8, kernel=(3, 3), name="a"), act_type="relu")
    second = sym.Convolution(first, num_filter=4, kernel=(3, 3), name="b", **options)
    write_symbol(folder, second)
    return Network.read(folder / "net-symbol.json", folder / "net-0000.params", input_name="data")


def with_weights(original: Network, name: str, weights: Any) -> Network:
    arguments = original.arguments | {name: mxnet().nd.array(weights)}
    return Network(original.symbol, arguments, original.states, input_name="data")


@pytest.mark.parametrize(
    "options", [{}, {"num_group": 2}, {"stride": (2, 2), "pad": (1, 0)}, {"dilate": (2, 1), "no_bias": True}]
)
def test_rounded_weights_change_the_output_less_than_the_nearest_ones(tmp_path: Path, options: dict[str, Any]) -> None:
    original = network(tmp_path, **options)
    calibration, others = stripes(40, seed=1)[0], stripes(20, seed=2)[0]

    rounded = round_weights(original, list(calibration))["b"].asnumpy()

    def error(weights: Any) -> float:
        changed = with_weights(original, "b_weight", weights)
        return float(np.mean([(original.run(one)[0] - changed.run(one)[0]) ** 2 for one in others]))

    weights = original.arguments["b_weight"].asnumpy()
    assert rounded.shape == weights.shape
    assert error(rounded) < 0.7 * error(nearest(weights))


def test_rounded_weights_lie_on_the_steps_that_mxnet_takes(tmp_path: Path) -> None:
    original = network(tmp_path)

    rounded = round_weights(original, list(stripes(10, seed=1)[0]))

    assert rounded.keys() == {"a", "b"}
    for name, array in rounded.items():
        before, after = original.arguments[f"{name}_weight"].asnumpy(), array.asnumpy()
        np.testing.assert_allclose(np.abs(after).max((1, 2, 3)), np.abs(before).max((1, 2, 3)), rtol=1e-6)
        np.testing.assert_allclose(nearest(after), after, rtol=1e-5, atol=1e-7)


def test_inputs_and_weights_that_are_always_zero_do_no_harm() -> None:
    weights = np.zeros((2, 3, 1, 1), np.float32)
    weights[1, 0] = 1.5

    np.testing.assert_allclose(_round(weights, np.zeros((1, 3, 3), np.float32)), weights)


@pytest.mark.parametrize("value", [np.inf, np.nan, -1])
def test_weights_are_left_to_mxnet_where_the_inputs_tell_nothing(value: float) -> None:
    weights = np.arange(6, dtype=np.float32).reshape(2, 3, 1, 1)

    np.testing.assert_array_equal(_round(weights, np.full((1, 3, 3), value, np.float32)), weights)


def test_layers_of_many_weights_are_rounded_as_well() -> None:
    chance = np.random.default_rng(4)
    seen = np.abs(chance.normal(size=(300, 2000)))
    weights = chance.normal(size=(5, 300, 1, 1)).astype(np.float32)

    rounded = _round(weights, (seen @ seen.T)[np.newaxis])

    def error(changed: Any) -> float:
        return float(((changed - weights).reshape(5, 300) @ seen).std())

    assert error(rounded) < 0.6 * error(nearest(weights))


def test_convolutions_of_other_dimensions_are_left_out(tmp_path: Path) -> None:
    sym = mxnet().sym
    line = sym.Convolution(sym.reshape(sym.var("data"), (1, 3, -1)), num_filter=2, kernel=(3,), name="line")
    write_symbol(tmp_path, line)
    original = Network.read(tmp_path / "net-symbol.json", tmp_path / "net-0000.params", input_name="data")

    assert round_weights(original, [np.zeros(SHAPE, np.float32)]) == {}
