"""Small MXNet models to quantise: one that is trained here, on stripes, and what such a test needs."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("PIL")

from model_archiver.errors import ModelArchiverError  # noqa: E402  # after the skip
from model_archiver.quantization.network import import_mxnet  # noqa: E402
from model_archiver.quantization.processor import check_processor  # noqa: E402

SIDE = 16
SHAPE = [3, SIDE, SIDE]
CLASSES = 4


def mxnet() -> Any:
    """Return mxnet, mended as the archiver mends it; the test is skipped where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of mxnet's own code
        try:
            return import_mxnet()
        except ModelArchiverError as exc:
            pytest.skip(str(exc))


def needs_processor_for(precision: str) -> None:
    """Skip the test where no MXNet can compute in this precision."""
    try:
        check_processor(precision)
    except ModelArchiverError as exc:
        pytest.skip(str(exc))


def stripes(count: int, seed: int) -> tuple[Any, Any]:
    """Make noisy pictures of stripes, uint8 (count, 3, 16, 16), and their classes: the stripes' four directions."""
    chance = np.random.default_rng(seed)
    classes = chance.integers(0, CLASSES, count)
    angles = classes * np.pi / CLASSES + chance.normal(0, 0.08, count)
    row, column = np.mgrid[:SIDE, :SIDE]
    waves = np.stack(
        [
            np.sin(row * np.sin(angle) * width + column * np.cos(angle) * width + phase)
            for angle, width, phase in zip(
                angles, chance.uniform(0.7, 1.3, count), chance.uniform(0, 6.3, count), strict=True
            )
        ]
    )
    tint = chance.uniform(20, 100, (count, 3, 1, 1))
    pictures = 128 + waves[:, np.newaxis] * tint + chance.normal(0, 25, (count, 3, SIDE, SIDE))
    return pictures.clip(0, 255).astype(np.uint8), classes


def train(folder: Path, name: str = "net") -> Path:
    """Train a small convolutional network, write its files and a signature into a folder, and return that."""
    mx = mxnet()
    mx.random.seed(1)
    nn = mx.gluon.nn
    net = nn.HybridSequential(prefix="")
    with net.name_scope():
        net.add(nn.BatchNorm(scale=False))
        for prefix, channels in {"a_": 8, "b_": 16, "c_": 16}.items():
            net.add(nn.Conv2D(channels, 3, padding=1, use_bias=False, prefix=prefix), nn.BatchNorm())
            net.add(nn.Activation("relu"), nn.MaxPool2D())
        net.add(nn.Flatten(), nn.Dense(CLASSES, prefix="dense_"))
    net.initialize(mx.init.Xavier())
    net.hybridize()
    pictures, classes = stripes(512, seed=1)
    trainer = mx.gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.01})
    loss = mx.gluon.loss.SoftmaxCrossEntropyLoss()
    for step in range(48):
        part = slice(step % 8 * 64, step % 8 * 64 + 64)
        with mx.autograd.record():
            error = loss(net(mx.nd.array(pictures[part])), mx.nd.array(classes[part]))
        error.backward()
        trainer.step(64)
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net.export(str(folder / name))
    write_signature(folder)
    return folder


def write_signature(folder: Path, *shapes: list[int]) -> None:
    """Describe the inputs `data`, `data1`..."""
    inputs = [
        {"data_name": f"data{number or ''}", "data_shape": [0, *shape]}
        for number, shape in enumerate(shapes or [SHAPE])
    ]
    (folder / "signature.json").write_text(json.dumps({"inputs": inputs}))


def write_symbol(folder: Path, symbol: Any, name: str = "net") -> Path:
    """Write a network with random parameters, for tests that ask for no agreement."""
    mx = mxnet()
    folder.mkdir(parents=True, exist_ok=True)
    shapes, _, states = symbol.infer_shape(data=(1, *SHAPE))
    chance = np.random.default_rng(3)
    named = zip(symbol.list_arguments(), shapes, strict=True)
    params = {
        f"arg:{key}": chance.normal(size=shape) for key, shape in named if key != "data" and not key.endswith("label")
    }
    params |= {f"aux:{key}": np.ones(shape) for key, shape in zip(symbol.list_auxiliary_states(), states, strict=True)}
    symbol.save(str(folder / f"{name}-symbol.json"))
    mx.nd.save(str(folder / f"{name}-0000.params"), {key: mx.nd.array(value) for key, value in params.items()})
    write_signature(folder)
    return folder


def write_samples(folder: Path, count: int = 160, seed: int = 2) -> Path:
    """Write pictures of stripes, which the network was not trained with, as one .npy file."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "stripes.npy", stripes(count, seed)[0])
    return folder
