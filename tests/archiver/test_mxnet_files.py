"""The two files of an MXNet model, byte for byte."""

import json
from pathlib import Path

import pytest

from model_archiver.errors import ModelArchiverError
from model_archiver.mxnet_files import SymbolGraph, write_params

np = pytest.importorskip("numpy")

# What `mx.nd.save` of mxnet 1.9.1 wrote for {"arg:w": ones((2, 3)), "aux:z": zeros((1,), dtype="int64")}.
SAVED_BY_MXNET = bytes.fromhex(
    "120100000000000000000000000000000200000000000000c9fa93f9000000000200000002000000000000000300000000000000010000000000"
    "0000000000000000803f0000803f0000803f0000803f0000803f0000803fc9fa93f9000000000100000001000000000000000100000000000000"
    "060000000000000000000000020000000000000005000000000000006172673a7705000000000000006175783a7a"
)


def test_params_are_what_mxnet_saves(tmp_path: Path) -> None:
    path = tmp_path / "m-0000.params"
    write_params(path, {"w": np.ones((2, 3), "float32")}, {"z": np.zeros((1,), "int64")})
    assert path.read_bytes() == SAVED_BY_MXNET


def test_a_transposed_array_is_written_in_its_own_order(tmp_path: Path) -> None:
    array = np.arange(6, dtype="float32").reshape(2, 3).T
    write_params(tmp_path / "a", {"w": array}, {})
    write_params(tmp_path / "b", {"w": array.copy(order="C")}, {})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_data_type_that_mxnet_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelArchiverError, match="MXNet has no data type complex64"):
        write_params(tmp_path / "a", {"w": np.zeros(1, "complex64")}, {})


def test_symbol_lists_arguments_heads_and_unique_names() -> None:
    symbol = SymbolGraph()
    data = symbol.variable("data", dtype="float16")
    weight = symbol.variable("w", shape=(2, 3))
    first = symbol.apply("Convolution", "c", [data, weight], {"kernel": (3, 3), "pad": [1, 1], "no_bias": True})
    second = symbol.apply("Activation", "c", [first], {"act_type": "relu"})
    document = json.loads(symbol.dump([second, first]))
    assert document["arg_nodes"] == [0, 1]
    assert document["heads"] == [[3, 0, 0], [2, 0, 0]]
    assert [item["name"] for item in document["nodes"]] == ["data", "w", "c", "c_1"]
    assert document["nodes"][0]["attrs"] == {"__dtype__": "2"}
    assert document["nodes"][1]["attrs"] == {"__dtype__": "0", "__shape__": "(2, 3)"}
    assert document["nodes"][2]["attrs"] == {"kernel": "(3, 3)", "pad": "(1, 1)", "no_bias": "True"}
    assert document["nodes"][2]["inputs"] == [[0, 0, 0], [1, 0, 0]]
