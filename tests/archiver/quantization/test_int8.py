from pathlib import Path
from typing import Any

import pytest

from model_archiver.quantization.agreement import compare, run_all
from model_archiver.quantization.int8 import Int8, _clipped, _counts, _histogram, to_int8
from model_archiver.quantization.network import Network, NetworkError
from tests.archiver.quantization.models import SHAPE, mxnet, np, stripes, train, write_symbol


def clipped(values: Any) -> tuple[float, float]:
    most = float(np.abs(values).max())
    return _clipped((float(values.min()), float(values.max())), _histogram(values, most), most)


def error(values: Any, high: float) -> float:
    """Return the squared error of values in 255 steps up to `high`."""
    step = high / 255
    return float(((np.clip(np.round(values / step), 0, 255) * step - values) ** 2).sum())


@pytest.mark.parametrize("outliers", [1, 20])
def test_a_range_is_shortened_to_where_the_error_is_least(outliers: int) -> None:
    values = np.abs(np.random.default_rng(1).normal(0, 1, 100_000)).astype(np.float64)
    values[:outliers] = np.linspace(40, 60, outliers) if outliers > 1 else 60

    low, high = clipped(values)

    assert low == pytest.approx(values.min())
    assert high < 59
    assert error(values, high) <= 1.02 * min(error(values, limit) for limit in np.linspace(12, 60, 49))


def test_a_range_that_is_evenly_filled_stays() -> None:
    low, high = clipped(np.linspace(-3, 5, 100_000, dtype=np.float32))

    assert low == -3
    assert high == pytest.approx(5, abs=0.15)


def test_an_output_that_is_always_zero_has_a_range() -> None:
    assert clipped(np.zeros(10, np.float32)) == (0, 0)


@pytest.mark.parametrize(("most", "counts"), [(0, []), (2, [1, 2]), (5, [1, 2, 3, 4]), (20, [1, 2, 3, 4, 8, 16])])
def test_few_numbers_of_layers_are_tried(most: int, counts: list[int]) -> None:
    assert list(_counts(most)) == counts


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    mxnet()
    folder = train(tmp_path_factory.mktemp("net"))
    return Network.read(folder / "net-symbol.json", folder / "net-0000.params", input_name="data")


def convert(network: Network, minimum: float = 0.95) -> Int8:
    return to_int8(network, list(stripes(64, seed=3)[0]), minimum=minimum)


def test_the_network_that_is_kept_agrees_well_enough(network: Network) -> None:
    made = convert(network)

    assert made.agreement.top1 is not None
    assert made.agreement.top1 >= 0.95
    assert sorted(made.layers + made.kept) == ["a_fwd", "b_fwd", "c_fwd"]


def test_the_best_is_taken_where_none_is_good_enough(network: Network) -> None:
    best, quick = convert(network, minimum=2).agreement.top1, convert(network, minimum=0).agreement.top1

    assert best is not None
    assert quick is not None
    assert best >= quick


def test_a_network_keeps_what_it_was_given(network: Network) -> None:
    pictures = list(stripes(8, seed=6)[0])
    before = run_all(network, pictures)

    convert(network)

    assert compare(before, run_all(network, pictures)).largest_difference == 0


def test_a_network_without_convolutions_is_an_error(tmp_path: Path) -> None:
    sym = mxnet().sym
    folder = write_symbol(tmp_path, sym.FullyConnected(sym.var("data"), num_hidden=4, name="fc"))
    dense = Network.read(folder / "net-symbol.json", folder / "net-0000.params", input_name="data")

    with pytest.raises(NetworkError, match="a convolution"):
        to_int8(dense, [np.zeros(SHAPE, np.float32)], minimum=0.95)


def test_a_residual_network_is_converted_with_its_sums(tmp_path: Path) -> None:
    sym = mxnet().sym

    def convolution(x: Any, name: str) -> Any:
        return sym.BatchNorm(sym.Convolution(x, num_filter=8, kernel=(3, 3), pad=(1, 1), name=name), name=f"{name}_bn")

    first = sym.Activation(convolution(sym.var("data"), "a"), act_type="relu")
    both = sym.Activation(convolution(first, "b") + first, act_type="relu")
    folder = write_symbol(tmp_path, sym.FullyConnected(sym.Flatten(convolution(both, "c")), num_hidden=4, name="fc"))
    residual = Network.read(folder / "net-symbol.json", folder / "net-0000.params", input_name="data")

    made = to_int8(residual, list(stripes(32, seed=3)[0]), minimum=0)

    assert sorted(made.layers + made.kept) == ["a", "b", "c"]
    assert made.agreement.mean_difference < 0.2
