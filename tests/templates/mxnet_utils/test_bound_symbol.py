import contextlib
import gc
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
import pytest
from mxnet_utils.bound_symbol import BoundSymbol, load_symbol


def dense(head: str = "") -> Any:
    symbol = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=2, name="fc")
    return getattr(mx.sym, head)(symbol, name="head") if head else symbol


def arrays(**values: Any) -> dict[str, Any]:
    return {name: mx.nd.array(value) for name, value in values.items()}


PARAMS = {"fc_weight": [[1, 0], [0, 3]], "fc_bias": [10, 20]}


def test_outputs_do_not_depend_on_the_sizes_before() -> None:
    bound = BoundSymbol(dense(), arrays(**PARAMS), {}, mx.cpu())

    for size in (1, 7, 2, 7, 40, 1):
        rows = np.arange(2 * size, dtype=np.float32).reshape(size, 2)
        [output] = bound.run({"data": rows})
        np.testing.assert_array_equal(output.asnumpy(), rows * [1, 3] + [10, 20])


def test_missing_parameters_are_refused_by_name() -> None:
    bound = BoundSymbol(dense(), arrays(fc_weight=[[1, 0], [0, 3]], other=[1]), {}, mx.cpu())

    with pytest.raises(ValueError, match="lacks the parameter fc_bias"):
        bound.run({"data": np.zeros((1, 2))})


def test_parameters_of_a_wrong_shape_are_refused_by_name() -> None:
    bound = BoundSymbol(dense(), arrays(fc_weight=[[1, 0, 0], [0, 3, 0]], fc_bias=[1, 2]), {}, mx.cpu())

    with pytest.raises(ValueError, match=r"fc_weight has the shape \(2, 3\); the symbol wants \(2, 2\)"):
        bound.run({"data": np.zeros((1, 2))})


def test_missing_auxiliary_states_are_refused_by_name() -> None:
    symbol = mx.sym.BatchNorm(mx.sym.Variable("data"), name="bn")
    params = arrays(bn_gamma=[1, 1], bn_beta=[0, 0])

    with pytest.raises(ValueError, match="auxiliary state bn_moving_mean, bn_moving_var"):
        BoundSymbol(symbol, params, {}, mx.cpu()).run({"data": np.zeros((1, 2))})
    states = arrays(bn_moving_mean=[1, 2], bn_moving_var=[1, 1])
    [output] = BoundSymbol(symbol, params, states, mx.cpu()).run({"data": np.array([[1, 2]])})
    np.testing.assert_allclose(output.asnumpy(), [[0, 0]])


@pytest.mark.parametrize("head", ["SoftmaxOutput", "LinearRegressionOutput", "LogisticRegressionOutput", "SVMOutput"])
def test_a_network_saved_with_its_loss_needs_no_labels(head: str) -> None:
    bound = BoundSymbol(dense(head), arrays(**PARAMS), {}, mx.cpu())

    assert bound.run({"data": np.zeros((3, 2))})[0].shape == (3, 2)


def test_an_input_that_the_symbol_lacks_is_an_error() -> None:
    bound = BoundSymbol(dense(), arrays(**PARAMS), {}, mx.cpu())

    with pytest.raises((ValueError, mx.MXNetError)):
        bound.run({"data": np.zeros((1, 2)), "mask": np.zeros((1, 2))})


def test_an_error_of_the_model_is_raised_by_the_run_that_has_it_and_not_later() -> None:
    bound = BoundSymbol(mx.sym.linalg.potrf(mx.sym.Variable("data")), {}, {}, mx.cpu())

    with pytest.raises(mx.MXNetError):
        bound.run({"data": np.array([[[-1.0]]])})  # no Cholesky factor; found out while it computes
    assert bound.run({"data": np.array([[[4.0]]])})[0].asnumpy().tolist() == [[[2.0]]]


def test_inputs_are_filled_where_the_model_reads_them() -> None:
    bound = BoundSymbol(dense(), arrays(**PARAMS), {}, mx.cpu())

    for size in (1, 3, 1):
        inputs = bound.inputs({"data": (size, 2)})
        inputs["data"][...] = np.arange(2 * size).reshape(size, 2)
        [output] = bound.run(inputs)
        np.testing.assert_array_equal(output.asnumpy(), np.arange(2 * size).reshape(size, 2) * [1, 3] + [10, 20])
        assert np.shares_memory(inputs["data"], bound.inputs({"data": (size, 2)})["data"])


def test_other_arrays_than_those_of_inputs_are_copied() -> None:
    bound = BoundSymbol(dense(), arrays(**PARAMS), {}, mx.cpu())
    inputs = bound.inputs({"data": (2, 2)})["data"]
    inputs[...] = [[1, 2], [3, 4]]

    assert bound.run({"data": inputs[::-1]})[0].asnumpy().tolist() == [[13, 32], [11, 26]]
    assert bound.run({"data": mx.nd.array([[1, 2], [3, 4]])})[0].asnumpy().tolist() == [[11, 26], [13, 32]]
    assert bound.run({"data": np.array([[1, 2], [3, 4]], np.int8)})[0].asnumpy().tolist() == [[11, 26], [13, 32]]


def test_inputs_outlive_the_model() -> None:
    inputs = BoundSymbol(dense(), arrays(**PARAMS), {}, mx.cpu()).inputs({"data": (50_000, 2)})["data"]
    gc.collect()

    inputs[...] = 1
    assert inputs.sum() == 100_000


def test_bf16_on_a_processor_without_avx512_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half = mx.sym.amp_cast(mx.sym.Variable("data"), dtype="float16")
    symbol = mx.sym.FullyConnected(half, num_hidden=2, name="fc").tojson(remove_amp_cast=False)
    (tmp_path / "m-symbol.json").write_text(symbol.replace("float16", "bfloat16"))  # numpy does not know it
    mx.nd.save(str(tmp_path / "m-0000.params"), {f"arg:{name}": mx.nd.array(value) for name, value in PARAMS.items()})
    described = tmp_path / "cpuinfo"
    monkeypatch.setattr("mxnet_utils.bound_symbol._CPU_INFO", described)

    for flags, outcome in {
        "flags : avx2": pytest.raises(ValueError, match="bf16, which MXNet can do only on a processor with AVX-512"),
        "flags : avx2 avx512bw": contextlib.nullcontext(),
        "Features : asimd": contextlib.nullcontext(),
    }.items():
        described.write_text(flags)
        with outcome:
            load_symbol(tmp_path, "m", 0, mx.cpu())
