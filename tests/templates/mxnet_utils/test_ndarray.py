import mxnet as mx
import numpy as np
import pytest
from mxnet_utils import ndarray

LABELS = ["a", "b", "c", "d"]


@pytest.mark.parametrize("shape", [(4,), (1, 4), (1, 4, 1, 1)])
@pytest.mark.parametrize("array", [np.array, mx.nd.array])
def test_the_likeliest_classes_come_first(shape: tuple[int, ...], array: type) -> None:
    data = array(np.array([0.1, 0.4, 0.2, 0.3], np.float32).reshape(shape))

    best = ndarray.top_probability(data, LABELS, top=3)

    assert [entry["class"] for entry in best] == ["b", "d", "c"]
    assert [entry["probability"] for entry in best] == pytest.approx([0.4, 0.3, 0.2])
    assert all(type(entry["probability"]) is float for entry in best)


def test_five_are_the_default_and_fewer_classes_are_fewer_entries() -> None:
    assert len(ndarray.top_probability(np.arange(9.0), list("abcdefghi"))) == 5
    assert len(ndarray.top_probability(np.arange(4.0), LABELS)) == 4


def test_too_few_labels_are_an_error() -> None:
    with pytest.raises(ValueError, match="5 classes, but only 4 labels"):
        ndarray.top_probability(np.arange(5.0), LABELS)
