from pathlib import Path
from typing import Any

import pytest
from model_handler import ModelHandler

from .conftest import Answer, ask, make_context


class Doubler(ModelHandler):
    """Doubles numbers; knows which batches reached the model."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list[int]] = []

    def preprocess(self, batch: list[dict[str, Any]]) -> list[int]:
        numbers = []
        for index, request in enumerate(batch):
            if isinstance(request.get("body"), int):
                numbers.append(request["body"])
            else:
                self.reject(index, "not a number", status=422)
        return numbers

    def inference(self, model_input: list[int]) -> list[int]:
        self.seen.append(model_input)
        return [2 * number for number in model_input]

    def postprocess(self, inference_output: list[int]) -> list[Any]:
        return inference_output


@pytest.fixture
def doubler(tmp_path: Path) -> Doubler:
    handler = Doubler()
    handler.initialize(make_context(tmp_path, batch_size=4))
    return handler


def test_the_base_answers_ok_to_every_request(tmp_path: Path) -> None:
    handler = ModelHandler()
    context = make_context(tmp_path, batch_size=2)
    handler.initialize(context)

    assert handler.initialized
    assert [answer.body for answer in ask(handler.handle, context, {}, {})] == ["OK", "OK"]


def test_a_rejected_request_leaves_the_rest_of_its_batch_alone(doubler: Doubler, tmp_path: Path) -> None:
    answers = ask(doubler.handle, make_context(tmp_path), {"body": 1}, {"body": "x"}, {"body": 3}, {})

    rejected = Answer(422, "text/plain", "not a number")
    assert answers == [Answer(200, None, 2), rejected, Answer(200, None, 6), rejected]
    assert doubler.seen == [[1, 3]]


def test_the_model_does_not_run_when_every_request_was_rejected(doubler: Doubler, tmp_path: Path) -> None:
    answers = ask(doubler.handle, make_context(tmp_path), {}, {})

    assert [answer.status for answer in answers] == [422, 422]
    assert doubler.seen == []


def test_a_rejection_is_forgotten_with_its_batch(doubler: Doubler, tmp_path: Path) -> None:
    ask(doubler.handle, make_context(tmp_path), {})

    assert ask(doubler.handle, make_context(tmp_path), {"body": 4}) == [Answer(200, None, 8)]


def test_an_error_set_by_a_step_answers_its_whole_batch_and_no_other(tmp_path: Path) -> None:
    class OldStyle(ModelHandler):
        def preprocess(self, batch: list[dict[str, Any]]) -> Any:
            if "body" not in batch[0]:
                self.error = "Empty image input"
                return None
            return batch

    handler = OldStyle()
    context = make_context(tmp_path)
    handler.initialize(context)

    assert [answer.body for answer in ask(handler.handle, context, {}, {"body": 1})] == ["Empty image input"] * 2
    assert [answer.body for answer in ask(handler.handle, context, {"body": 1})] == ["OK"]


def test_too_few_answers_are_an_error(doubler: Doubler, tmp_path: Path) -> None:
    doubler.postprocess = lambda inference_output: inference_output[1:]  # type: ignore[method-assign]  # a faulty handler

    with pytest.raises(ValueError, match="shorter"):
        ask(doubler.handle, make_context(tmp_path), {"body": 1}, {"body": 2})
