import json
import logging
from pathlib import Path
from typing import Any

import pytest

from mms.protocol.messages import Failure, InferenceRequest, Parameter, Prediction, WorkerSpec
from mms.worker.loader import load_service

np = pytest.importorskip("numpy")

SERVICE = """
from mms.model_service.mxnet_model_service import MXNetBaseService


class Digits(MXNetBaseService):
    pass
"""


@pytest.fixture
def archive(mx: Any, tmp_path: Path) -> Path:
    """An unpacked 0.x archive: a fully connected layer of ones from 3 inputs to 2 outputs."""
    symbol = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=2, name="fc")
    parameters = {"fc_weight": mx.nd.ones((2, 3)), "fc_bias": mx.nd.array([0, 1])}
    mx.model.save_checkpoint(str(tmp_path / "tiny"), 7, symbol, parameters, {})
    manifest = {
        "Model": {
            "Service": "digits.py",
            "Symbol": "tiny-symbol.json",
            "Parameters": "tiny-0007.params",
            "Signature": "signature.json",
        }
    }
    signature = {"inputs": [{"data_name": "data", "data_shape": [0, 3]}], "input_type": "application/json"}
    (tmp_path / "MANIFEST.json").write_text(json.dumps(manifest))
    (tmp_path / "signature.json").write_text(json.dumps(signature))
    (tmp_path / "synset.txt").write_text("cat\n dög \n", encoding="utf-8")
    (tmp_path / "digits.py").write_text(SERVICE)
    return tmp_path


@pytest.fixture
def service_class(archive: Path) -> Any:
    from mms.model_service.mxnet_model_service import MXNetBaseService

    return MXNetBaseService


def manifest_of(archive: Path, **changes: Any) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((archive / "MANIFEST.json").read_bytes())
    manifest["Model"] = {**manifest["Model"], **changes}
    return manifest


def test_a_0x_mxnet_archive_is_served(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(archive)
    # Under another name than its files have: MMS then looked for epoch 0 in vain.
    service = load_service(WorkerSpec(model_name="renamed", model_dir=str(archive), handler="digits.py"))
    requests = [InferenceRequest("r", b"", [Parameter("data", "", text)]) for text in (b"[[1, 2, 3]]", b"[[0, 0, 1]]")]
    first, second = service.predict(requests).results
    assert first == Prediction(b"[[6.0, 7.0]]")
    assert second == Prediction(b"[[1.0, 2.0]]")
    (wrong_shape,) = service.predict([InferenceRequest("r", b"", [Parameter("data", "", b"[[1, 2]]")])]).results
    assert wrong_shape == Failure(503, "InternalServerException", "Prediction failed")


def test_labels_signature_and_version_are_at_hand(mx: Any, archive: Path, service_class: Any) -> None:
    service = service_class("tiny", str(archive), manifest_of(archive))
    assert service.labels == ["cat", "dög"]
    assert service.signature["inputs"][0]["data_shape"] == [0, 3]
    assert service.ping() == mx.__version__
    assert service.ctx == mx.cpu()


def test_a_missing_parameter_is_warned_of(
    mx: Any, archive: Path, service_class: Any, caplog: pytest.LogCaptureFixture
) -> None:
    mx.nd.save(str(archive / "tiny-0007.params"), {"arg:fc_weight": mx.nd.ones((2, 3))})
    with caplog.at_level(logging.WARNING):
        service_class("tiny", str(archive), manifest_of(archive))
    assert "lacks fc_bias" in caplog.text


def test_a_file_of_other_parameters_is_refused(mx: Any, archive: Path, service_class: Any) -> None:
    mx.nd.save(str(archive / "tiny-0007.params"), {"fc_weight": mx.nd.ones((2, 3))})
    with pytest.raises(ValueError, match=r"tiny-0007\.params holds no parameters of a symbol"):
        service_class("tiny", str(archive), manifest_of(archive))


def test_epoch_0_stands_in_for_a_file_that_is_not_there(archive: Path, service_class: Any) -> None:
    (archive / "tiny-0007.params").rename(archive / "tiny-0000.params")
    assert service_class("tiny", str(archive), manifest_of(archive, Parameters="other.params")).mx_model.binded


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([], "Input number mismatches with signature. 1 expected but got 0."),
        ([(1, 3, 1)], "Shape dimension of input data mismatches with signature. 2 expected but got 3."),
        ([(1, 4)], r"Input data has different shape with signature. \[0, 3\] expected but got \(1, 4\)."),
    ],
)
def test_inputs_are_compared_with_the_signature(
    mx: Any, archive: Path, service_class: Any, shapes: list[tuple[int, ...]], message: str
) -> None:
    service = service_class("tiny", str(archive), manifest_of(archive))
    with pytest.raises(AssertionError, match=message):
        service._inference([mx.nd.ones(shape) for shape in shapes])


def test_zeros_of_the_signature_mean_any_size(mx: Any) -> None:
    from mms.model_service.mxnet_model_service import check_input_shape

    check_input_shape([mx.nd.ones((5, 2, 9))], {"inputs": [{"data_name": "data", "data_shape": [1, 2, 0]}]})
    with pytest.raises(AssertionError, match="must be a list"):
        check_input_shape((), {"inputs": []})  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="must be NDArray"):
        check_input_shape([np.ones(1)], {"inputs": [{"data_name": "data", "data_shape": [1]}]})


def test_a_gluon_service_loads_its_parameters(mx: Any, archive: Path) -> None:
    from mms.model_service.mxnet_model_service import GluonImperativeBaseService

    trained = mx.gluon.nn.Dense(2, in_units=3)
    trained.initialize(mx.init.One())
    trained.save_parameters(str(archive / "net.params"))
    net = mx.gluon.nn.Dense(2, in_units=3)
    service = GluonImperativeBaseService("m", str(archive), manifest_of(archive, Parameters="net.params"), net)
    assert service.net(mx.nd.ones((1, 3))).asnumpy().tolist() == [[3.0, 3.0]]
    with pytest.raises(AssertionError, match="Input number"):
        service._inference([])


def test_a_gluon_service_may_have_no_parameters(mx: Any, archive: Path) -> None:
    from mms.model_service.mxnet_model_service import GluonImperativeBaseService

    assert GluonImperativeBaseService("m", str(archive), manifest_of(archive, Parameters="")).net is None
