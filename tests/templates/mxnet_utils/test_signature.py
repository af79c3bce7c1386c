from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mxnet_utils.signature import check_input_shape, find_input, load_signature

SIGNATURE: dict[str, Any] = {
    "inputs": [{"data_name": "image", "data_shape": [0, 2]}, {"data_name": "mask", "data_shape": [0, 0, 3]}]
}


@pytest.mark.parametrize(
    ("request_", "number", "expected"),
    [
        ({"image": 1, "body": 2, "data": 3}, 0, 1),
        ({"body": 2, "data": 3}, 0, 2),
        ({"data": 3}, 0, 3),
        ({"other": 4}, 0, None),
        ({"body": {"image": 5, "mask": 6}}, 0, 5),
        ({"body": {"image": 5, "mask": 6}}, 1, 6),
        ({"body": 2, "data": 3}, 1, None),
        ({"mask": 7}, 1, 7),
    ],
)
def test_inputs_are_looked_up(request_: dict[str, Any], number: int, expected: Any) -> None:
    assert find_input(request_, SIGNATURE, number) == expected


def test_shapes_that_fit_pass_and_others_are_named() -> None:
    check_input_shape([np.zeros((5, 2)), np.zeros((5, 9, 3))], SIGNATURE)

    with pytest.raises(ValueError, match="2 inputs, not 1"):
        check_input_shape([np.zeros((5, 2))], SIGNATURE)
    with pytest.raises(ValueError, match=r"Input mask must have the shape \[0, 0, 3\], not \(5, 9, 4\)"):
        check_input_shape([np.zeros((5, 2)), np.zeros((5, 9, 4))], SIGNATURE)
    with pytest.raises(ValueError, match="Input image"):
        check_input_shape([np.zeros((5, 2, 1)), np.zeros((5, 9, 3))], SIGNATURE)


def test_an_input_without_shape_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "signature.json").write_text('{"inputs": [{"data_name": "data"}]}')

    with pytest.raises(ValueError, match="needs a data_name and a data_shape"):
        load_signature(tmp_path)
