from typing import Any

import pytest

from mms.utils.mxnet.ndarray import top_probability

LABELS = ["a", "b", "c", "d"]


@pytest.mark.parametrize("shape", [(1, 4), (1, 4, 1, 1), (4,)])
def test_the_likeliest_labels_come_first(mx: Any, shape: tuple[int, ...]) -> None:
    data = mx.nd.array([0.125, 0.5, 0.25, 0.125]).reshape(shape)
    assert top_probability(data, LABELS, top=3) == [
        {"probability": 0.5, "class": "b"},
        {"probability": 0.25, "class": "c"},
        {"probability": 0.125, "class": "a"},
    ]


def test_there_may_be_fewer_classes_than_asked_for(mx: Any) -> None:
    assert len(top_probability(mx.nd.ones((1, 4)), LABELS)) == 4
