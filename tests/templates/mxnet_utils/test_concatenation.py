import json
from typing import Any

import mxnet as mx
import numpy as np
import pytest
from mxnet_utils.bound_symbol import BoundSymbol
from mxnet_utils.concatenation import split_concatenations

SHAPE = (2, 3, 9, 9)


def convolution(data: Any, name: str, channels: int = 16, kernel: int = 3, **attrs: Any) -> Any:
    symbol = mx.sym.Convolution(
        data, name=name, num_filter=channels, kernel=(kernel, kernel), pad=(kernel // 2, kernel // 2), **attrs
    )
    return mx.sym.Activation(symbol, act_type="relu", name=f"{name}_relu")


def parts(*channels: int) -> list[Any]:
    data = mx.sym.Variable("data")
    return [convolution(data, f"part{number}", count) for number, count in enumerate(channels)]


def random_params(symbol: Any) -> dict[str, Any]:
    chance = np.random.default_rng(5)
    shapes, _, _ = symbol.infer_shape(data=SHAPE)
    named = dict(zip(symbol.list_arguments(), shapes, strict=True))
    return {name: mx.nd.array(chance.normal(0, 0.3, shape)) for name, shape in named.items() if name != "data"}


def operators(symbol: Any) -> list[str]:
    return [node["op"] for node in json.loads(symbol.tojson())["nodes"] if node["op"] != "null"]


def check_same(symbol: Any, params: dict[str, Any]) -> Any:
    """Split, compare the outputs for some data, and return the new symbol."""
    split, its_params = split_concatenations(symbol, params)
    assert set(split.list_arguments()) == {"data", *its_params}
    data = np.random.default_rng(6).normal(0, 1, SHAPE).astype(np.float32)
    before, after = (
        BoundSymbol(one, weights, {}, mx.cpu()).run({"data": data})
        for one, weights in ((symbol, params), (split, its_params))
    )
    assert len(before) == len(after)
    for expected, output in zip(before, after, strict=True):
        np.testing.assert_allclose(output.asnumpy(), expected.asnumpy(), rtol=1e-4, atol=1e-5)
    return split


@pytest.mark.parametrize("channels", [(16, 16), (8, 24), (8, 16, 32)])
@pytest.mark.parametrize("attrs", [{}, {"no_bias": True}, {"stride": (2, 2)}])
def test_a_convolution_of_each_part_computes_the_same(channels: tuple[int, ...], attrs: dict[str, Any]) -> None:
    symbol = convolution(mx.sym.concat(*parts(*channels), dim=1), "after", **attrs)

    split = check_same(symbol, random_params(symbol))

    assert "Concat" not in operators(split)
    assert operators(split).count("Convolution") == 2 * len(channels)
    assert split.list_outputs() == symbol.list_outputs()


def test_what_lies_between_is_done_to_each_part() -> None:
    both = mx.sym.concat(*parts(16, 8), dim=1)
    pooled = mx.sym.Pooling(both, kernel=(3, 3), stride=(2, 2), pool_type="max", pooling_convention="full")
    symbol = convolution(mx.sym.Dropout(mx.sym.Activation(pooled, act_type="sigmoid"), p=0.5), "after")

    split = check_same(symbol, random_params(symbol))

    assert "Concat" not in operators(split)
    assert operators(split).count("Pooling") == 2


def test_several_fire_modules_in_a_row() -> None:
    symbol = mx.sym.Variable("data")
    for number in range(3):
        squeezed = convolution(symbol, f"fire{number}/squeeze", 8, kernel=1)
        expanded = [convolution(squeezed, f"fire{number}/expand{kernel}", kernel=kernel) for kernel in (1, 3)]
        symbol = mx.sym.concat(*expanded, dim=1)
    symbol = mx.sym.Group([convolution(symbol, "last", 10, kernel=1), mx.sym.sum(squeezed)])

    assert "Concat" not in operators(check_same(symbol, random_params(symbol)))


def test_convolutions_that_mxnet_fused_before_as_for_int8() -> None:
    symbol = convolution(mx.sym.concat(*parts(16, 16), dim=1), "after", kernel=1)
    params = random_params(symbol)
    fused = symbol.get_backend_symbol("MKLDNN_QUANTIZE")
    assert operators(fused) == ["_sg_mkldnn_conv", "_sg_mkldnn_conv", "Concat", "_sg_mkldnn_conv"]

    assert "Concat" not in operators(check_same(fused, params))


def test_a_convolution_that_mxnet_fused_with_nothing_is_left_alone() -> None:
    symbol = mx.sym.Convolution(mx.sym.Variable("data"), num_filter=8, kernel=(1, 1), name="only")
    fused = symbol.get_backend_symbol("MKLDNN_QUANTIZE")
    assert operators(fused) == ["_sg_mkldnn_conv"]

    assert split_concatenations(fused, random_params(symbol))[0] is fused


def two_uses(both: Any) -> Any:
    return convolution(both, "after") + convolution(both, "other")


def seen_outside(both: Any) -> Any:
    return mx.sym.Group([both, convolution(both, "after")])


def grouped(both: Any) -> Any:
    return convolution(both, "after", num_group=2)


def normalised(both: Any) -> Any:
    return convolution(mx.sym.L2Normalization(both, mode="channel"), "after")


def dense(both: Any) -> Any:
    return mx.sym.FullyConnected(both, num_hidden=3, name="fc")


def weight_used_twice(both: Any) -> Any:
    weight = mx.sym.Variable("shared", shape=(16, 32, 3, 3))
    return mx.sym.Group([mx.sym.sum(weight), convolution(both, "after", weight=weight)])


@pytest.mark.parametrize("after", [two_uses, seen_outside, grouped, normalised, dense, weight_used_twice])
def test_any_other_use_keeps_the_concatenation(after: Any) -> None:
    symbol = after(mx.sym.concat(*parts(16, 16), dim=1))
    params = random_params(symbol)

    assert split_concatenations(symbol, params) == (symbol, params)


@pytest.mark.parametrize(
    "both",
    [
        mx.sym.concat(*parts(12, 20), dim=1),  # parts of blocks and a half
        mx.sym.concat(*parts(16, 16), dim=2),  # not the channels
        mx.sym.concat(*parts(8, 8, 8, 8, 8), dim=1),  # too many
        mx.sym.concat(*parts(16), mx.sym.Variable("data"), dim=1),  # how many channels has data?
    ],
)
def test_what_would_not_be_faster_or_cannot_be_known_stays(both: Any) -> None:
    symbol = convolution(both, "after")
    params = random_params(symbol)

    assert split_concatenations(symbol, params) == (symbol, params)


def test_a_missing_weight_is_left_for_bind_to_name() -> None:
    symbol = convolution(mx.sym.concat(*parts(16, 16), dim=1), "after")
    params = random_params(symbol)
    del params["after_weight"]

    split, its_params = split_concatenations(symbol, params)

    with pytest.raises(ValueError, match="lacks the parameter after_weight"):
        BoundSymbol(split, its_params, {}, mx.cpu()).run({"data": np.zeros(SHAPE)})
