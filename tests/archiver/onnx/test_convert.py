"""The option --convert from end to end."""

import json
import zipfile
from pathlib import Path

import pytest

from model_archiver import ModelArchiverError, package_model
from model_archiver.onnx import find_onnx_file

np = pytest.importorskip("numpy")
pytest.importorskip("onnx")

from .models import assert_same, convert, model_of, node, onnx, run_converted, weights  # noqa: E402  # after the skip


def small_cnn(batch: int | str = "N", opset: int = 17) -> object:
    """Make a convolutional network with what most of them have: residual, branches, pooling and a classifier."""
    return model_of(
        [
            node("Conv", "x w1 b1", "c1", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
            node("BatchNormalization", "c1 scale shift mean var", "n1", epsilon=1e-4),
            node("Relu", "n1", "r1"),
            node("Conv", "r1 w2", "c2", kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=4),
            node("Add", "c2 r1", "sum"),
            node("Clip", "sum low high", "clipped"),
            node("MaxPool", "clipped", "p1", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
            node("AveragePool", "clipped", "p2", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
            node("Concat", "p1 p2", "both", axis=1),
            node("GlobalAveragePool", "both", "pooled"),
            node("Flatten", "pooled", "flat"),
            node("Dropout", "flat", "dropped"),
            node("Gemm", "dropped w3 b3", "logits", transB=1),
            node("Softmax", "logits", "y", axis=1),
        ],
        shape=[batch, 3, 17, 17],
        opset=opset,
        constants={
            "w1": weights(8, 3, 3, 3),
            "b1": weights(8),
            "scale": weights(8, seed=2),
            "shift": weights(8, seed=3),
            "mean": weights(8, seed=4),
            "var": abs(weights(8, seed=5)),
            "w2": weights(8, 2, 3, 3),
            "low": weights()[()] * 0,
            "high": weights()[()] * 0 + 6,
            "w3": weights(10, 16),
            "b3": weights(10),
        },
    )


@pytest.mark.parametrize("batch", [1, "N"])
def test_a_small_cnn_gives_the_same_predictions(tmp_path: Path, batch: int | str) -> None:
    assert_same(small_cnn(batch), weights(1, 3, 17, 17, seed=9), tmp_path)


def test_an_unknown_batch_size_may_be_any(tmp_path: Path) -> None:
    assert_same(small_cnn(), weights(5, 3, 17, 17, seed=9), tmp_path)


def test_a_classifier_flattened_by_the_batch_size(tmp_path: Path) -> None:
    # As older PyTorch writes `x.view(x.size(0), -1)`; height and width are unknown, too.
    model = model_of(
        [
            node("GlobalAveragePool", "x", "pooled"),
            node("Shape", "pooled", "shape"),
            node("Gather", "shape zero", "batch"),
            node("Unsqueeze", "batch", "batch1", axes=[0]),
            node("Concat", "batch1 rest", "target", axis=0),
            node("Reshape", "pooled target", "flat"),
            node("MatMul", "flat w", "logits"),
            node("Softmax", "logits"),
        ],
        shape=["N", 3, "H", "W"],
        constants={"zero": np.int64(0), "rest": np.array([-1]), "w": weights(3, 5)},
        opset=11,
    )
    assert_same(model, weights(2, 3, 4, 4, seed=3), tmp_path)


def test_command_packs_the_converted_files(tmp_path: Path, out: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "service.py").write_text("def handle(data, context): return data\n")
    (model / "signature.json").write_text(
        '{"inputs": [{"data_name": "old", "data_shape": [1]}], "input_type": "image/jpeg"}'
    )
    onnx.save(small_cnn(), model / "net.onnx")
    before = sorted(model.iterdir())
    archive = package_model(model_name="cnn", model_path=model, handler="service", export_path=out, convert=True)
    assert sorted(model.iterdir()) == before
    with zipfile.ZipFile(archive) as file:
        assert sorted(file.namelist()) == [
            "MAR-INF/MANIFEST.json",
            "cnn-0000.params",
            "cnn-symbol.json",
            "service.py",
            "signature.json",
        ]
        assert json.loads(file.read("signature.json")) == {
            "inputs": [{"data_name": "x", "data_shape": [0, 3, 17, 17]}],
            "input_type": "image/jpeg",
        }


def test_a_missing_signature_is_made(tmp_path: Path) -> None:
    folder = convert(small_cnn(batch=1), tmp_path)
    assert json.loads((folder / "signature.json").read_text()) == {
        "inputs": [{"data_name": "x", "data_shape": [1, 3, 17, 17]}]
    }


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_broken_signature_is_named(tmp_path: Path, out: Path, text: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/signature.json").write_text(text)
    onnx.save(small_cnn(), tmp_path / "model/net.onnx")
    with pytest.raises(ModelArchiverError, match="Failed to parse .*signature.json"):
        package_model(model_name="m", model_path=tmp_path / "model", handler="h", export_path=out, convert=True)
    assert list(out.iterdir()) == []


def test_weights_in_a_file_of_their_own_are_read_and_not_packed(tmp_path: Path, out: Path) -> None:
    (tmp_path / "model").mkdir()
    onnx.save(
        small_cnn(), tmp_path / "model/net.onnx", save_as_external_data=True, location="net.weights", size_threshold=0
    )
    assert (tmp_path / "model/net.weights").stat().st_size > 1000
    archive = package_model(
        model_name="m",
        model_path=tmp_path / "model",
        handler="h",
        export_path=out,
        convert=True,
        archive_format="no-archive",
    )
    assert sorted(path.name for path in archive.iterdir()) == [
        "MAR-INF",
        "m-0000.params",
        "m-symbol.json",
        "signature.json",
    ]
    data = weights(1, 3, 17, 17, seed=9)
    expected = run_converted(convert(small_cnn(), tmp_path / "plain"), data)
    assert (run_converted(archive, data)[0] == expected[0]).all()


def test_all_operators_without_counterpart_are_named_at_once(tmp_path: Path) -> None:
    model = model_of(
        [
            node("NonZero", "x", "a"),
            node("Relu", "x", "b"),
            node("Einsum", "b", "c", equation="ij->ji"),
            onnx.helper.make_node("Magic", ["c"], ["y"], domain="com.example"),
        ],
        shape=[2, 2],
    )
    with pytest.raises(ModelArchiverError) as caught:
        convert(model, tmp_path)
    assert str(caught.value) == (
        "Cannot convert net.onnx: no MXNet counterpart for the operators Einsum, NonZero, com.example.Magic."
    )


def test_an_attribute_without_counterpart_names_its_node(tmp_path: Path) -> None:
    model = model_of([node("MaxPool", "x", kernel_shape=[2, 2], dilations=[2, 2], name="pool5")], shape=[1, 1, 8, 8])
    with pytest.raises(ModelArchiverError) as caught:
        convert(model, tmp_path)
    assert str(caught.value) == "Cannot convert net.onnx: MaxPool 'pool5': dilations are not supported."


def test_only_one_file_at_the_top_counts(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/other.onnx").write_text("")
    (tmp_path / "folder.onnx").mkdir()
    assert find_onnx_file(tmp_path) is None
    (tmp_path / "b.onnx").write_text("")
    assert find_onnx_file(tmp_path) == tmp_path / "b.onnx"
    (tmp_path / "a.onnx").write_text("")
    with pytest.raises(ModelArchiverError) as caught:
        find_onnx_file(tmp_path)
    assert str(caught.value) == (
        "model-archiver expects only one .onnx file in the folder. Found 2 files ['a.onnx', 'b.onnx'] in model-path."
    )


def test_converting_in_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(ModelArchiverError, match="--convert cannot work in place"):
        package_model(
            model_name="model",
            model_path=tmp_path / "model",
            handler="h",
            export_path=tmp_path,
            archive_format="no-archive",
            force=True,
            convert=True,
        )
