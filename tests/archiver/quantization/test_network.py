import subprocess
import sys
from pathlib import Path

import pytest

from model_archiver.quantization.network import Network, NetworkError
from tests.archiver.quantization.models import SHAPE, mxnet, np, stripes, train, write_symbol

ROOT = Path(__file__).parents[3]


def test_mxnet_is_mended_without_the_rest_of_the_server() -> None:
    mxnet()
    code = (
        "import sys, warnings; warnings.simplefilter('ignore')\n"
        "from model_archiver.quantization.network import import_mxnet\n"
        "mx = import_mxnet()\n"
        "others = [name for name in sys.modules if name.startswith('mms.')]\n"
        "print(mx.nd.ones(2).asnumpy().tolist(), [name for name in others if 'mxnet_compat' not in name])"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout == "[1.0, 1.0] ['mms.version', 'mms.worker']\n"


def test_a_written_network_answers_as_before(tmp_path: Path) -> None:
    mxnet()
    folder = train(tmp_path / "model")
    network = Network.read(folder / "net-symbol.json", folder / "net-0000.params", input_name="data")
    network.write(tmp_path / "symbol.json", tmp_path / "params")
    again = Network.read(tmp_path / "symbol.json", tmp_path / "params", input_name="data")

    for picture in stripes(3, seed=4)[0]:
        np.testing.assert_array_equal(network.run(picture)[0], again.run(picture)[0])


def test_samples_may_differ_in_their_shapes(tmp_path: Path) -> None:
    sym = mxnet().sym
    layer = sym.Convolution(sym.var("data"), num_filter=2, kernel=(3, 3), name="conv")
    folder = write_symbol(tmp_path, sym.mean(layer, axis=(2, 3)))
    network = Network.read(folder / "net-symbol.json", folder / "net-0000.params", input_name="data")

    for side in (16, 9, 16):
        assert network.run(np.ones((3, side, side), np.float32))[0].shape == (1, 2)


def test_a_sample_that_does_not_fit_is_an_error_and_the_next_is_answered(tmp_path: Path) -> None:
    sym = mxnet().sym
    folder = write_symbol(tmp_path, sym.Convolution(sym.var("data"), num_filter=2, kernel=(3, 3), name="conv"))
    network = Network.read(folder / "net-symbol.json", folder / "net-0000.params", input_name="data")

    with pytest.raises(NetworkError, match="MXNet cannot run the network: "):
        network.run(np.ones((5, 16, 16), np.float32))
    assert network.run(np.ones(SHAPE, np.float32))[0].shape == (1, 2, 14, 14)
