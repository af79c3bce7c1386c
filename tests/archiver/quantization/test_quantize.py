import json
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from model_archiver import ModelArchiverError, package_model
from model_archiver.cli import main
from tests.archiver.quantization.models import (
    SHAPE,
    mxnet,
    needs_processor_for,
    np,
    stripes,
    train,
    write_samples,
    write_signature,
    write_symbol,
)

TEMPLATE = Path(__file__).parents[3] / "model_service_template"
HANDLER = "mxnet_model_service:handle"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that knows stripes, with our template; not to be changed."""
    folder = tmp_path_factory.mktemp("trained") / "net"
    shutil.copytree(TEMPLATE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return train(folder)


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_samples(tmp_path_factory.mktemp("samples"))


@pytest.fixture
def package(out: Path, samples: Path) -> Callable[..., Path]:
    """Package a quantised model, and return the folder with what the archive holds."""

    def make(model: Path, precision: str = "int8", **options: Any) -> Path:
        usual: dict[str, Any] = {"model_name": "net", "handler": HANDLER, "export_path": out}
        usual |= {"quantize": precision, "calibration_data": samples}
        archive = package_model(model_path=model, **(usual | options))
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(out / "unpacked")
        return out / "unpacked"

    return make


def operators(folder: Path) -> list[str]:
    return [node["op"] for node in json.loads((folder / "net-symbol.json").read_text())["nodes"]]


def report_of(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "quantization.json").read_text())
    return report


def template_symbol(folder: Path) -> Any:
    """Load a model as our template does."""
    mx = mxnet()
    if str(TEMPLATE) not in sys.path:
        sys.path.insert(0, str(TEMPLATE))
    from mxnet_utils.bound_symbol import load_symbol

    return load_symbol(folder, "net", 0, mx.cpu())


def classes_of(folder: Path, pictures: Any) -> Any:
    bound = template_symbol(folder)
    return np.concatenate([bound.run({"data": row[np.newaxis]})[0].asnumpy().argmax(1) for row in pictures])


def test_int8_model_answers_as_the_trained_one_and_the_report_says_so(
    trained: Path, package: Callable[..., Path]
) -> None:
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}

    folder = package(trained)

    report = report_of(folder)
    assert len(report["layers"]["int8"]) + len(report["layers"]["kept_in_fp32"]) == 3
    assert len(report["layers"]["int8"]) >= 2
    assert report["calibration"]["samples"] == report["agreement"]["samples"] == 80
    assert report["agreement"]["top1"] >= 0.95
    assert report["agreement"]["accepted_anyway"] is False
    assert report["ms"].keys() == report["bytes"].keys() == {"fp32", "int8"}
    converted = ("net-symbol.json", "net-0000.params")
    assert report["bytes"]["int8"] == sum((folder / name).stat().st_size for name in converted)
    assert report["bytes"]["fp32"] == sum((trained / name).stat().st_size for name in converted)
    assert "_contrib_quantize_v2" in operators(folder)
    assert "_sg_mkldnn_conv" in operators(folder)
    assert before == {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}

    pictures, classes = stripes(200, seed=9)
    answers = classes_of(folder, pictures)
    assert np.mean(answers == classes_of(trained, pictures)) >= 0.95
    assert np.mean(answers == classes) > 0.9  # the trained network is worth something


def test_bf16_model_is_half_as_large_and_answers_as_the_trained_one(
    trained: Path, package: Callable[..., Path]
) -> None:
    needs_processor_for("bf16")
    folder = package(trained, "bf16")

    report = report_of(folder)
    assert report["agreement"]["samples"] == 160  # nothing is needed for a calibration
    assert report["agreement"]["top1"] >= 0.95
    assert "calibration" not in report
    assert "amp_cast" in operators(folder)
    assert (folder / "net-0000.params").stat().st_size < 0.7 * (trained / "net-0000.params").stat().st_size
    pictures, _ = stripes(200, seed=9)
    assert np.mean(classes_of(folder, pictures) == classes_of(trained, pictures)) >= 0.95


def test_the_template_still_refuses_a_quantised_model_without_a_parameter(
    trained: Path, package: Callable[..., Path]
) -> None:
    folder = package(trained)
    mx = mxnet()
    params = mx.nd.load(str(folder / "net-0000.params"))
    lost = next(name for name in params if name.endswith("weight"))
    mx.nd.save(str(folder / "net-0000.params"), {name: value for name, value in params.items() if name != lost})

    with pytest.raises(ValueError, match=f"lacks the parameter {lost.removeprefix('arg:')}"):
        template_symbol(folder).run({"data": np.zeros((1, *SHAPE))})


def test_too_little_agreement_writes_nothing_unless_forced(
    out: Path, tmp_path: Path, package: Callable[..., Path]
) -> None:
    sym = mxnet().sym
    layer = sym.Activation(sym.Convolution(sym.var("data"), num_filter=8, kernel=(3, 3), name="conv"), act_type="relu")
    many_classes = sym.FullyConnected(sym.Flatten(layer), num_hidden=1000, name="fc")
    model = write_symbol(tmp_path / "model", many_classes)  # not trained: many classes are about as likely
    (out / "net.mar").write_text("older")

    with pytest.raises(ModelArchiverError, match=r"held-out samples, less than 100.0%; no archive is written"):
        package(model, min_agreement=1.0, force=True)

    assert [path.name for path in out.iterdir()] == ["net.mar"]
    assert (out / "net.mar").read_text() == "older"
    report = report_of(package(model, min_agreement=1.0, quantize_anyway=True, force=True))
    assert report["agreement"]["top1"] < 1
    assert report["agreement"]["accepted_anyway"] is True


def test_a_network_saved_with_its_loss_layer_is_quantised(tmp_path: Path, package: Callable[..., Path]) -> None:
    sym = mxnet().sym
    layer = sym.Activation(sym.Convolution(sym.var("data"), num_filter=8, kernel=(3, 3), name="conv"), act_type="relu")
    dense = sym.FullyConnected(sym.Flatten(layer), num_hidden=4, name="fc")
    model = write_symbol(tmp_path / "model", sym.SoftmaxOutput(dense, name="softmax"))

    folder = package(model, quantize_anyway=True)

    assert report_of(folder)["layers"]["int8"] == ["conv"]
    assert "fc_weight" in template_symbol(folder).symbol.list_arguments()  # not fc_weight_quantize
    assert template_symbol(folder).run({"data": np.zeros((2, *SHAPE))})[0].shape == (2, 4)


def test_a_model_without_classes_is_left_to_the_person(tmp_path: Path, package: Callable[..., Path]) -> None:
    sym = mxnet().sym
    layer = sym.Activation(sym.Convolution(sym.var("data"), num_filter=8, kernel=(3, 3), name="conv"), act_type="relu")
    model = write_symbol(tmp_path / "model", sym.FullyConnected(sym.Flatten(layer), num_hidden=1, name="fc"))

    with pytest.raises(ModelArchiverError, match="one number a sample"):
        package(model)

    assert report_of(package(model, quantize_anyway=True))["agreement"]["top1"] is None


def test_a_model_without_convolutions_is_refused(tmp_path: Path, package: Callable[..., Path]) -> None:
    sym = mxnet().sym
    model = write_symbol(tmp_path / "model", sym.FullyConnected(sym.var("data"), num_hidden=4, name="fc"))

    with pytest.raises(ModelArchiverError, match=r"net-symbol.json: it has no layer that is faster in int8"):
        package(model)


def test_a_model_with_dense_layers_only_is_converted_to_bf16(tmp_path: Path, package: Callable[..., Path]) -> None:
    needs_processor_for("bf16")
    sym = mxnet().sym
    model = write_symbol(tmp_path / "model", sym.FullyConnected(sym.var("data"), num_hidden=4, name="fc"))

    assert "amp_cast" in operators(package(model, "bf16", quantize_anyway=True))


def test_a_model_without_any_layer_is_refused_in_bf16(tmp_path: Path, package: Callable[..., Path]) -> None:
    needs_processor_for("bf16")
    sym = mxnet().sym
    model = write_symbol(tmp_path / "model", sym.broadcast_mul(sym.var("data"), sym.var("w", shape=(1,))))

    with pytest.raises(ModelArchiverError, match="it has no layer that is faster in bf16"):
        package(model, "bf16")


@pytest.mark.parametrize("precision", ["int8", "bf16"])
def test_a_quantised_model_is_not_quantised_again(
    precision: str, trained: Path, package: Callable[..., Path], tmp_path: Path
) -> None:
    needs_processor_for(precision)
    shutil.copytree(package(trained, precision), tmp_path / "again")

    with pytest.raises(ModelArchiverError, match="low precision already"):
        package(tmp_path / "again", force=True)


def test_a_processor_that_cannot_compute_in_bf16_is_named(
    trained: Path, package: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = tmp_path / "cpuinfo"
    described.write_text("model name\t: Old\nflags\t\t: fpu sse2 avx2 avx512f\n")
    monkeypatch.setattr("model_archiver.quantization.processor.CPU_INFO", described)

    with pytest.raises(ModelArchiverError, match=r"AVX-512; this one lacks avx512bw, avx512vl, avx512dq\."):
        package(trained, "bf16")
    assert report_of(package(trained, "int8"))["processor"] == {"name": "Old", "instructions": []}


def broken(folder: Path, name: str, content: bytes | None) -> Path:
    path = folder / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("net-symbol.json", None, "needs the file net-symbol.json in the model path.$"),
        ("net-0000.params", None, "needs the file net-0000.params"),
        ("signature.json", None, "needs the file signature.json"),
        ("signature.json", b"{}", "signature.json does not name the inputs"),
        ("signature.json", b'{"inputs": [{"data_name": "x", "data_shape": [0, 3, 16, 16]}]}', "no input named x"),
        ("net-symbol.json", b"{}", "cannot read the model's files"),
        ("net-0000.params", b"not parameters", "cannot read the model's files"),
    ],
)
def test_files_that_are_missing_or_broken_are_named(
    name: str, content: bytes | None, message: str, trained: Path, tmp_path: Path, package: Callable[..., Path]
) -> None:
    model = broken(shutil.copytree(trained, tmp_path / "model"), name, content)

    with pytest.raises(ModelArchiverError, match=message):
        package(model)


def test_files_of_another_name_are_mentioned(trained: Path, package: Callable[..., Path]) -> None:
    with pytest.raises(ModelArchiverError, match=r"needs the file other-symbol.json .* It has net-symbol.json."):
        package(trained, model_name="other")


def test_parameters_that_are_missing_are_named(trained: Path, tmp_path: Path, package: Callable[..., Path]) -> None:
    model = shutil.copytree(trained, tmp_path / "model")
    mxnet().nd.save(str(model / "net-0000.params"), {"arg:other": mxnet().nd.zeros(1)})

    with pytest.raises(ModelArchiverError, match="the params file lacks .*dense_weight"):
        package(model)


def test_a_model_of_two_inputs_is_refused(trained: Path, tmp_path: Path, package: Callable[..., Path]) -> None:
    model = shutil.copytree(trained, tmp_path / "model")
    write_signature(model, SHAPE, SHAPE)

    with pytest.raises(ModelArchiverError, match="models of one input; signature.json has 2"):
        package(model)


def test_the_samples_are_not_packed_with_the_model(trained: Path, tmp_path: Path, package: Callable[..., Path]) -> None:
    model = shutil.copytree(trained, tmp_path / "model")
    write_samples(model / "photos")

    folder = package(model, calibration_data=model / "photos")

    assert (folder / "signature.json").exists()
    assert not (folder / "photos").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantize": "int4"}, "Precision int4 is not one of int8, bf16"),
        ({"calibration_data": None}, "needs --calibration-data DIR"),
        ({"calibration_data": "nowhere"}, "nowhere is not a directory"),
        ({"min_agreement": 95}, "a share, 0 to 1, not 95"),
        ({"quantize": None}, "with --quantize only"),
        ({"quantize": None, "calibration_data": None, "quantize_anyway": True}, "with --quantize only"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(
    options: dict[str, Any], message: str, trained: Path, package: Callable[..., Path]
) -> None:
    with pytest.raises(ModelArchiverError, match=message):
        package(trained, **options)


def test_a_folder_is_not_quantised_in_place(trained: Path, tmp_path: Path, package: Callable[..., Path]) -> None:
    model = shutil.copytree(trained, tmp_path / "net")

    with pytest.raises(ModelArchiverError, match="--quantize cannot work in place"):
        package(model, export_path=tmp_path, archive_format="no-archive", force=True)


def test_without_mxnet_one_line_says_what_to_install(
    trained: Path, package: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mxnet", None)

    with pytest.raises(
        ModelArchiverError, match=r"^--quantize needs MXNet, .*pip install 'mxnet-model-server\[mxnet\]'"
    ):
        package(trained)


def test_an_onnx_model_is_converted_and_then_quantised(tmp_path: Path, package: Callable[..., Path]) -> None:
    onnx = pytest.importorskip("onnx")
    mxnet()
    chance = np.random.default_rng(1)
    constants = {"w": chance.normal(size=(8, 3, 3, 3)), "v": chance.normal(size=(8, 4))}
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Conv", ["data", "w"], ["c"], kernel_shape=[3, 3]),
            onnx.helper.make_node("Relu", ["c"], ["r"]),
            onnx.helper.make_node("GlobalAveragePool", ["r"], ["p"]),
            onnx.helper.make_node("Flatten", ["p"], ["f"]),
            onnx.helper.make_node("Gemm", ["f", "v"], ["y"]),
        ],
        "graph",
        [onnx.helper.make_tensor_value_info("data", onnx.TensorProto.FLOAT, ["N", *SHAPE])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 4])],
        [onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    (tmp_path / "model").mkdir()
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "model" / "net.onnx")

    folder = package(tmp_path / "model", convert=True, quantize_anyway=True)

    assert len(report_of(folder)["layers"]["int8"]) == 1
    assert not (folder / "net.onnx").exists()
    assert template_symbol(folder).run({"data": np.zeros((1, *SHAPE))})[0].shape == (1, 4)


def test_images_for_a_handler_that_may_prepare_them_otherwise_are_a_warning(
    trained: Path, tmp_path: Path, package: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    from PIL import Image

    data = tmp_path / "pictures"
    data.mkdir()
    for number, picture in enumerate(stripes(64, seed=4)[0]):
        Image.fromarray(picture.transpose(1, 2, 0)).save(data / f"{number}.png")

    package(trained, calibration_data=data, handler="mxnet_vision_service:handle", quantize_anyway=True)
    assert "prepared as mxnet_vision_service" not in caplog.text
    package(trained, calibration_data=data, quantize_anyway=True, force=True)
    assert "prepared as mxnet_vision_service" in caplog.text


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def test_the_command_prints_what_it_found(trained: Path, samples: Path, out: Path) -> None:
    options = ["--model-name", "net", "--model-path", trained, "--handler", HANDLER, "--export-path", out]

    result = run(*options, "--quantize", "int8", "--calibration-data", samples)

    assert result.exit_code == 0, result.stderr
    convolutions, agreement, size, speed = result.stdout.splitlines()
    assert convolutions.startswith("Convolutions in int8: ")
    assert convolutions.endswith(" of 3, calibrated with 80 samples.")
    assert agreement.startswith("Agreement with fp32 on 80 held-out samples: ")
    assert size.startswith("Size: ")
    assert speed.startswith("Speed: ")


def test_the_beginning_of_an_option_means_what_it_means_in_mms(trained: Path, out: Path) -> None:
    options = ["--model-name", "net", "--model-path", trained, "--handler", HANDLER, "--export-path", out]

    result = run(*options, "--c")  # --convert, not --calibration-data

    assert result.exit_code == 0, result.stderr
    assert (out / "net.mar").exists()
