import json
from pathlib import Path
from typing import Any

import mxnet as mx
import pytest
from gluon_base_service import GluonBaseService

from .conftest import Answer, ask, make_context


class Imperative(mx.gluon.Block):  # type: ignore[misc]  # mxnet has no types
    """A network that no graph can be made of: its path depends on its input."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = mx.gluon.nn.Dense(3)

    def forward(self, x: Any) -> Any:
        return self.dense(x) if x.mean().asscalar() > -100 else x


def hybrid() -> Any:
    net = mx.gluon.nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(mx.gluon.nn.Conv2D(4, 3, activation="relu"), mx.gluon.nn.BatchNorm(), mx.gluon.nn.Dense(3))
    return net


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "signature.json").write_text(
        json.dumps({"inputs": [{"data_name": "data", "data_shape": [0, 3, 8, 8]}]})
    )
    (tmp_path / "synset.txt").write_text("red\ngreen\nblue\n")
    return tmp_path


@pytest.mark.parametrize("build", [hybrid, Imperative])
def test_answers_are_those_of_the_network_itself(folder: Path, cat_photo: bytes, build: Any) -> None:
    net = build()
    net.initialize(mx.init.Xavier())
    net(mx.nd.zeros((1, 3, 8, 8)))
    net.save_parameters(str(folder / "net.params"))
    service = GluonBaseService()
    service.net = build()
    service.param_filename = "net.params"
    context = make_context(folder, batch_size=2)
    service.initialize(context)

    photo = {"body": cat_photo}
    for requests in ([photo], [photo, photo], [photo, photo, photo], [photo]):
        answers = ask(service.handle, context, *requests)
        expected = net(service.preprocess([photo])).softmax().asnumpy()[0]
        for answer in answers:
            got = {entry["class"]: entry["probability"] for entry in answer.body}
            assert [got[name] for name in ("red", "green", "blue")] == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_broken_image_is_a_400_for_itself_alone(folder: Path, cat_photo: bytes) -> None:
    service = GluonBaseService()
    service.net = hybrid()
    service.net.initialize()
    context = make_context(folder)
    service.initialize(context)

    answers = ask(lambda data, _context: service.predict(data), context, {"body": b"?"}, {"body": cat_photo})

    assert answers[0] == Answer(400, "text/plain", "Corrupted image input")
    assert answers[1].status == 200
    assert [answer.status for answer in ask(service.handle, context, {"body": b""})] == [400]


def test_the_network_must_be_defined(folder: Path) -> None:
    with pytest.raises(NotImplementedError, match="Gluon network not defined"):
        GluonBaseService().initialize(make_context(folder))


def test_a_missing_parameter_file_is_an_error(folder: Path) -> None:
    service = GluonBaseService()
    service.net = hybrid()
    service.param_filename = "other.params"

    with pytest.raises(FileNotFoundError, match="Parameter file not found"):
        service.initialize(make_context(folder))


def test_parameters_of_another_network_are_refused(folder: Path) -> None:
    mx.nd.save(str(folder / "net.params"), {"0.weight": mx.nd.zeros((1, 1))})
    service = GluonBaseService()
    service.net = hybrid()
    service.param_filename = "net.params"

    with pytest.raises(AssertionError):
        service.initialize(make_context(folder))


def test_missing_labels_are_an_error(folder: Path) -> None:
    (folder / "synset.txt").unlink()
    service = GluonBaseService()
    service.net = hybrid()

    with pytest.raises(FileNotFoundError, match=r"Missing synset\.txt"):
        service.initialize(make_context(folder))
