from pathlib import Path

import pytest
from mxnet_vision_batching import MXNetVisionServiceBatching

from .conftest import Answer, ask, make_context


def test_a_batch_that_is_not_full_is_padded_and_answered(squeezenet: Path, cat_photo: bytes) -> None:
    context = make_context(squeezenet, name="squeezenet_v1.1", batch_size=3)
    service = MXNetVisionServiceBatching()
    service.initialize(context)

    for count in (1, 2, 3):
        answers = ask(service.handle, context, *[{"body": cat_photo}] * count, {"body": b"broken"})

        for answer in answers[:-1]:
            assert answer.body[0]["class"] == "n02124075 Egyptian cat"
            assert answer.body[0]["probability"] == pytest.approx(0.8478, abs=0.001)
        assert answers[-1] == Answer(400, "text/plain", "Corrupted image input")
