import json
import os
from pathlib import Path
from typing import Any

import mxnet as mx
import pytest
from mxnet_model_service import MXNetModelService

from mms.context import Context

from .conftest import Answer, ask, make_context


def save_model(
    folder: Path, symbol: Any, params: dict[str, Any], inputs: dict[str, list[int]], name: str = "model"
) -> None:
    symbol.save(str(folder / f"{name}-symbol.json"))
    mx.nd.save(str(folder / f"{name}-0000.params"), {key: mx.nd.array(value) for key, value in params.items()})
    signature = {"inputs": [{"data_name": key, "data_shape": shape} for key, shape in inputs.items()]}
    (folder / "signature.json").write_text(json.dumps(signature))


def save_scale_model(folder: Path, name: str = "model") -> None:
    """Two numbers in, (x + 10, 3 y + 20) out."""
    symbol = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=2, name="fc")
    params = {"arg:fc_weight": [[1, 0], [0, 3]], "arg:fc_bias": [10, 20]}
    save_model(folder, symbol, params, {"data": [0, 2]}, name)


def load(context: Context) -> MXNetModelService:
    service = MXNetModelService()
    service.initialize(context)
    return service


@pytest.mark.parametrize(
    "request_",
    [
        {"body": [1, 2]},
        {"body": bytearray(b"[1, 2]")},
        {"body": {"data": [1, 2]}},
        {"data": "[1, 2]"},
        {"data": [1, 2], "body": [7, 7]},
    ],
)
def test_an_array_is_taken_from_wherever_clients_put_it(tmp_path: Path, request_: dict[str, Any]) -> None:
    save_scale_model(tmp_path)
    context = make_context(tmp_path)

    assert ask(load(context).handle, context, request_) == [Answer(200, None, [11, 26])]


def test_a_model_on_cpus_is_computed_in_the_handlers_own_thread(tmp_path: Path) -> None:
    save_scale_model(tmp_path)
    load(make_context(tmp_path))
    assert os.environ["MXNET_ENGINE_TYPE"] == "NaiveEngine"


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_batches_of_any_size_are_answered_in_order(tmp_path: Path, size: int) -> None:
    save_scale_model(tmp_path)
    context = make_context(tmp_path, batch_size=3)
    service = load(context)

    for _ in range(2):
        answers = ask(service.handle, context, *({"body": [n, n]} for n in range(size)))
        assert [answer.body for answer in answers] == [[n + 10, 3 * n + 20] for n in range(size)]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([1, 2, 3], "Input data must have the shape (2,), not (3,)"),
        ([[1, 2]], "Input data must have the shape (2,), not (1, 2)"),
        ([1, float("nan")], "Input data has values that are not finite"),
        ([1e39, 0], "Input data has values that are not finite"),
        (None, "Input data is missing"),
    ],
)
def test_an_unfit_array_is_a_400_for_its_request_alone(tmp_path: Path, body: Any, message: str) -> None:
    save_scale_model(tmp_path)
    context = make_context(tmp_path, batch_size=2)

    answers = ask(load(context).handle, context, {"body": body}, {"body": [1, 2]})

    assert answers == [Answer(400, "text/plain", message), Answer(200, None, [11, 26])]


@pytest.mark.parametrize(
    "body", [bytearray(b"\xff\xd8"), bytearray(), "nonsense", ["a", "b"], [[1], [1, 2]], {"x": 1}, 5]
)
def test_what_is_no_array_is_a_400(tmp_path: Path, body: Any) -> None:
    save_scale_model(tmp_path)
    context = make_context(tmp_path)

    assert [answer.status for answer in ask(load(context).handle, context, {"body": body})] == [400]


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    a, b = mx.sym.Variable("a"), mx.sym.Variable("b")
    save_model(tmp_path, mx.sym.Group([a + b, a * b]), {"arg:unused": [0]}, {"a": [0, 2], "b": [0, 2]})
    context = make_context(tmp_path)

    answers = ask(load(context).handle, context, {"body": {"a": [1, 2], "b": [3, 4]}}, {"a": b"[1,1]", "b": b"[2,2]"})

    assert [answer.body for answer in answers] == [[[4, 6], [3, 8]], [[3, 3], [2, 2]]]


def test_a_dimension_of_any_length(tmp_path: Path) -> None:
    save_model(tmp_path, mx.sym.sum(mx.sym.Variable("data"), axis=1), {"arg:unused": [0]}, {"data": [0, 0]})
    context = make_context(tmp_path)
    service = load(context)

    for length in range(1, 50):
        assert ask(service.handle, context, {"body": [1] * length})[0].body == length


def test_the_files_bear_the_name_in_the_manifest_not_the_one_of_registration(tmp_path: Path) -> None:
    save_scale_model(tmp_path, name="scale")
    context = make_context(tmp_path, name="another", manifest_name="scale")

    assert ask(load(context).handle, context, {"body": [0, 0]})[0].body == [10, 20]


def test_an_archive_without_manifest_uses_the_name_of_registration(tmp_path: Path) -> None:
    save_scale_model(tmp_path, name="scale")
    context = Context("scale", str(tmp_path), None, 1, None, "1.1.11")

    assert ask(load(context).handle, context, {"body": [0, 0]})[0].body == [10, 20]


def test_files_of_another_name_are_named_in_the_error(tmp_path: Path) -> None:
    save_scale_model(tmp_path, name="scale")

    with pytest.raises(FileNotFoundError, match=r"no model-symbol\.json, only scale-symbol\.json"):
        load(make_context(tmp_path))


def test_a_missing_signature_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Missing signature\.json file\."):
        load(make_context(tmp_path))


def test_labels_come_from_synset_txt(tmp_path: Path) -> None:
    save_scale_model(tmp_path)
    (tmp_path / "synset.txt").write_text("n1 café\nn2 b \n", encoding="utf-8")

    assert load(make_context(tmp_path)).labels == ["n1 café", "n2 b"]


def test_arrays_of_different_lengths_in_one_batch_are_an_error(tmp_path: Path) -> None:
    save_model(tmp_path, mx.sym.Variable("data") * 2, {}, {"data": [0, 0]})
    context = make_context(tmp_path)
    service = load(context)

    assert ask(service.handle, context, {"body": [1, 2, 3]}) == [Answer(200, None, [2, 4, 6])]
    with pytest.raises(ValueError, match="shape"):
        ask(service.handle, context, {"body": [1]}, {"body": [1, 2]})
