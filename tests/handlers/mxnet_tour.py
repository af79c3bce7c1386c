"""Uses of mxnet what handlers use of it, and prints `toured` at the end. Argument: the folder of mxnet_compat.py."""

import base64
import contextlib
import importlib.util
import inspect
import sys
import tempfile
import threading
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import mxnet_compat

mxnet_compat.install()

import mxnet as mx  # noqa: E402
import numpy  # noqa: E402

# A red image of 8 x 8 pixels.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEUlEQVR42mP8z4AdMDEMKQkAzUEBD7t4NqoAAAAASUVORK5CYII="
)


def network():
    data = mx.sym.Variable("data")
    hidden = mx.sym.Activation(mx.sym.FullyConnected(data, num_hidden=4, name="fc"), act_type="relu")
    return mx.sym.SoftmaxOutput(hidden, name="softmax")


def tour_symbols(folder):
    parameters = {"fc_weight": mx.nd.ones((4, 3)), "fc_bias": mx.nd.zeros((4,))}
    mx.model.save_checkpoint(str(folder / "net"), 0, network(), parameters, {})
    symbol, arguments, auxiliary = mx.model.load_checkpoint(str(folder / "net"), 0)
    module = mx.mod.Module(symbol, data_names=["data"], label_names=None)
    module.bind(for_training=False, data_shapes=[("data", (1, 3))])
    module.set_params(arguments, auxiliary, allow_missing=True)
    module.forward(mx.io.DataBatch([mx.nd.ones((1, 3))]), is_train=False)
    executor = symbol.simple_bind(mx.cpu(), grad_req="null", data=(1, 3))
    executor.copy_params_from(arguments, auxiliary)
    outputs = executor.forward(is_train=False, data=mx.nd.ones((1, 3)))
    assert numpy.allclose(module.get_outputs()[0].asnumpy(), 0.25)
    assert numpy.allclose(outputs[0].asnumpy(), 0.25)


def tour_gluon(folder):
    net = mx.gluon.nn.HybridSequential()
    net.add(mx.gluon.nn.Conv2D(2, 3), mx.gluon.nn.BatchNorm(), mx.gluon.nn.Dense(4))
    net.initialize()
    net.hybridize()
    images = mx.nd.random.uniform(shape=(2, 3, 8, 8))
    expected = net(images).asnumpy()
    net.export(str(folder / "gluon"))
    again = mx.gluon.SymbolBlock.imports(str(folder / "gluon-symbol.json"), ["data"], str(folder / "gluon-0000.params"))
    assert numpy.allclose(again(images).asnumpy(), expected, atol=1e-5)
    loader = mx.gluon.data.DataLoader(mx.gluon.data.ArrayDataset(images, mx.nd.array([0, 1])), batch_size=2)
    trainer = mx.gluon.Trainer(net.collect_params(), "adam")
    for batch, labels in loader:
        with mx.autograd.record():
            loss = mx.gluon.loss.SoftmaxCrossEntropyLoss()(net(batch), labels)
        loss.backward()
        trainer.step(2)
    accuracy = mx.metric.Accuracy()
    accuracy.update([mx.nd.array([1])], [mx.nd.array([[0.1, 0.9]])])
    assert accuracy.get()[1] == 1.0


def tour_images(_folder):
    image = mx.image.imdecode(bytearray(PNG))
    assert image.shape == (8, 8, 3)
    assert mx.image.imresize(image, 4, 2).shape == (2, 4, 3)
    normal = mx.image.color_normalize(image.astype("float32"), mx.nd.array([1, 2, 3]), mx.nd.array([1, 1, 1]))
    assert normal.dtype == numpy.float32


def tour_recordio(folder):
    path = str(folder / "x.rec")
    record = mx.recordio.MXRecordIO(path, "w")
    record.write(mx.recordio.pack(mx.recordio.IRHeader(0, [1.5, 2.0], 7, 0), b"abc"))
    record.write(mx.recordio.pack(mx.recordio.IRHeader(0, 4, 8, 0), b"xyz"))
    record.close()
    record = mx.recordio.MXRecordIO(path, "r")
    header, data = mx.recordio.unpack(record.read())
    assert (header.label.tolist(), header.id, data) == ([1.5, 2.0], 7, b"abc")
    header, data = mx.recordio.unpack(record.read())
    assert (header.label, data) == (4.0, b"xyz")


def tour_numpy(_folder):
    array = mx.nd.arange(6).reshape((2, 3))
    assert numpy.asarray(array).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert numpy.array(array, dtype="int64").dtype == numpy.int64
    assert numpy.asarray(mx.np.ones((2, 2))).sum() == 4
    assert mx.nd.array(numpy.ones(3, dtype=numpy.bool)).sum().asscalar() == 3
    assert isinstance(numpy.float(1), float)
    assert numpy.mean(mx.nd.ones((2, 2)).asnumpy()) == 1
    with mx.util.np_shape(True), mx.util.np_array(True):
        assert mx.np.pad(mx.np.ones((1,)), (1, 1), "constant").shape == (3,)
        assert mx.np.dot(mx.np.ones((2, 2)), mx.np.ones((2, 2))).sum() == 8
        assert mx.npx.relu(mx.np.array([-1.0, 2.0])).tolist() == [0, 2]
        assert mx.np.random.uniform(size=(2,)).shape == (2,)


def tour_operators(_folder):
    """Functions are made when they are first called; then nothing tells them from mxnet's own."""
    from mxnet.ndarray import broadcast_add

    data = mx.nd.array([[-1, 2], [3, -4]])
    results = []
    threads = [threading.Thread(target=lambda: results.append(broadcast_add(data, data))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.asnumpy().tolist() for result in results] == [[[-2, 4], [6, -8]]] * 8
    assert broadcast_add is mx.nd.broadcast_add is mx.nd.op.broadcast_add
    assert list(inspect.signature(broadcast_add).parameters) == ["lhs", "rhs", "out", "name", "kwargs"]
    assert "lhs : NDArray" in broadcast_add.__doc__
    assert broadcast_add.__module__ == "ndarray"  # as mxnet sets it
    assert broadcast_add.__kwdefaults__ is None
    assert mx.nd.concat(data, data, dim=0).shape == (4, 2)
    assert mx.nd.topk(data, k=1, ret_typ="indices").asnumpy().tolist() == [[1], [0]]
    assert mx.nd.contrib.div_sqrt_dim(data).shape == (2, 2)
    assert mx.nd.image.flip_left_right(mx.nd.ones((2, 2, 3))).shape == (2, 2, 3)
    assert mx.nd.linalg.gemm2(data, data).shape == (2, 2)
    assert mx.contrib.nd.div_sqrt_dim(data).shape == (2, 2)
    assert data.clip(0, 1).asnumpy().tolist() == [[0, 1], [1, 0]]
    shapes = mx.sym.concat(mx.sym.Variable("a"), mx.sym.Variable("b"), dim=1).infer_shape(a=(1, 2), b=(1, 3))
    assert shapes[1] == [(1, 5)]
    assert mx.sym.contrib.div_sqrt_dim(mx.sym.Variable("a"), name="x").name == "x"
    assert mx.sym.np.ones((1,)) is not None


def tour_optional_packages(folder):
    """Whatever is installed of what mxnet imports only for a few functions works with it."""
    if importlib.util.find_spec("scipy"):
        heavy = "scipy.sparse" in sys.modules
        mx.nd.array([1, 2])
        assert ("scipy.sparse" in sys.modules) == heavy
        import scipy.sparse

        matrix = scipy.sparse.csr_matrix(numpy.eye(3))
        assert mx.nd.array(matrix).stype == "csr"
        assert mx.nd.sparse.array(matrix).asscipy().shape == (3, 3)
        assert mx.nd.sparse.csr_matrix(matrix).asnumpy().tolist() == numpy.eye(3).tolist()
        assert mx.test_utils.ss.norm.ppf(0.5) == 0
        assert mx.contrib.quantization.stats.entropy([0.5, 0.5], [0.5, 0.5]) == 0
    if importlib.util.find_spec("requests"):
        try:
            with contextlib.redirect_stdout(sys.stderr):
                mx.gluon.utils.download("http://127.0.0.1:1/none", path=str(folder / "none"), retries=1)
        except mx.gluon.utils.requests.exceptions.RequestException:
            pass
        else:
            raise AssertionError("something was downloaded from a closed port")
    if importlib.util.find_spec("cv2"):
        packed = mx.recordio.pack_img(mx.recordio.IRHeader(0, 1, 2, 0), numpy.zeros((4, 4, 3), numpy.uint8))
        assert mx.recordio.unpack_img(packed)[1].shape == (4, 4, 3)
    model = mx.model.FeedForward(network(), num_epoch=1, fc_weight=1)
    assert model.num_epoch == 1
    if importlib.util.find_spec("sklearn"):
        import sklearn.base

        assert isinstance(model, sklearn.base.BaseEstimator)
    if importlib.util.find_spec("onnx"):
        assert mx.onnx.mx2onnx._export_onnx.MXNetGraph.registry_


tours = (
    tour_symbols,
    tour_gluon,
    tour_images,
    tour_recordio,
    tour_numpy,
    tour_operators,
    tour_optional_packages,
)
for tour in tours:
    tour(Path(tempfile.mkdtemp(dir=sys.argv[2])))
assert "distutils" not in sys.modules or hasattr(sys.modules["distutils"], "__file__")
print("toured")
