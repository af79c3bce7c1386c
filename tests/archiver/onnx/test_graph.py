"""Reading ONNX files."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from model_archiver.errors import ModelArchiverError
from model_archiver.onnx.graph import read_onnx


def test_without_the_package_the_message_says_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_text("")
    code = (
        "import sys; sys.modules['onnx'] = None\n"
        "from model_archiver.cli import main\n"
        "main(['--model-name', 'm', '--model-path', '.', '--handler', 'h', '-c'])"
    )
    source_root = Path(importlib.util.find_spec("model_archiver").submodule_search_locations[0]).parent  # type: ignore[union-attr,index]  # it exists
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(source_root)},
    )
    assert (done.returncode, done.stderr) == (
        1,
        "ERROR - Onnx package is not installed. Run command: pip install onnx to install it.\n",
    )


@pytest.mark.parametrize("content", [b"", b"not really", b"\x08\x07\x12\xff", b"\xff" * 100])
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("onnx")
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(
        ModelArchiverError, match="Failed to load the net.onnx model. Verify if the model file is valid: "
    ):
        read_onnx(tmp_path / "net.onnx")


def test_old_opsets_are_refused(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from .models import model_of, node

    onnx.save(model_of([node("Relu", "x")], shape=[1], opset=6), tmp_path / "net.onnx")
    with pytest.raises(ModelArchiverError, match="uses ONNX opset 6"):
        read_onnx(tmp_path / "net.onnx")


def test_missing_external_weights_are_named(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from .models import model_of, node, weights

    model = model_of([node("Add", "x w")], shape=[1], constants={"w": weights(50)})
    onnx.save(model, tmp_path / "net.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    (tmp_path / "w.bin").unlink()
    with pytest.raises(ModelArchiverError, match="w.bin"):
        read_onnx(tmp_path / "net.onnx")


def test_what_does_not_depend_on_the_input_is_computed(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    import numpy as np

    from .models import model_of, node, weights

    model = model_of(
        [
            node("Shape", "x", "shape"),
            node("Gather", "shape first", "batch"),
            node("Unsqueeze", "batch axis", "batch1"),
            node("Concat", "batch1 rest", "target", axis=0),
            node("Reshape", "x target", "flat"),
            node("Transpose", "w", "wt", perm=[1, 0]),
            node("MatMul", "flat wt"),
        ],
        shape=[2, 3, 4],
        constants={
            "first": np.int64(0),
            "axis": np.array([0]),
            "rest": np.array([-1]),
            "w": weights(5, 12),
        },
    )
    onnx.save(model, tmp_path / "net.onnx")
    graph = read_onnx(tmp_path / "net.onnx")
    assert [item.op for item in graph.nodes] == ["Reshape", "MatMul"]
    assert graph.constants["target"].tolist() == [2, -1]
    assert graph.constants["wt"].shape == (12, 5)
    assert graph.shapes["y"] == (2, 5)


def test_an_unknown_batch_size_is_a_0_that_is_only_moved(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    import numpy as np

    from .models import model_of, node

    model = model_of(
        [
            node("Shape", "x", "shape"),
            node("Gather", "shape first", "batch"),
            node("Concat", "batch rest", "target", axis=0),
            node("Mul", "batch two", "twice"),
            node("Reshape", "x target"),
        ],
        shape=["N", 3, 4],
        constants={"first": np.array([0]), "rest": np.array([-1]), "two": np.array([2])},
    )
    onnx.save(model, tmp_path / "net.onnx")
    graph = read_onnx(tmp_path / "net.onnx")
    assert [item.op for item in graph.nodes] == ["Mul", "Reshape"]
    assert graph.batch_sizes == {"shape", "batch", "target"}
    assert graph.constants["target"].tolist() == [0, -1]
