"""Train the AlexNet on drawings of shapes, and save what the archive needs, with a drawing to ask about.

Writes alexnet.params, signature.json, synset.txt and star.png. Takes about ten seconds on one core.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from mms.worker import mxnet_compat

mxnet_compat.install()

import mxnet as mx  # noqa: E402  # needs the line above on current Python and numpy
from alexnet import HybridAlexNet  # noqa: E402
from gluon_base_service import MEAN, STD  # noqa: E402

SHAPES = {"circle": 0, "triangle": 3, "square": 4, "star": 5}
SIDE = 64


def draw(shape: str, rng: np.random.Generator) -> Image.Image:
    """Draw a shape of any size, place, turn and colour on a ground of another colour."""
    ground, colour = rng.integers(0, 256, (2, 3))
    while abs(ground - colour).sum() < 200:
        colour = rng.integers(0, 256, 3)
    radius = rng.uniform(14, 26)
    x, y = rng.uniform(radius + 2, SIDE - radius - 2, 2)
    turn = rng.uniform(0, 2 * math.pi)
    corners = SHAPES[shape]
    radii = [radius, 0.45 * radius] if shape == "star" else [radius]
    count = corners * len(radii) or 40
    angles = [turn + 2 * math.pi * number / count for number in range(count)]
    points = [
        (x + radii[number % len(radii)] * math.cos(angle), y + radii[number % len(radii)] * math.sin(angle))
        for number, angle in enumerate(angles)
    ]
    picture = Image.new("RGB", (SIDE, SIDE), tuple(ground.tolist()))
    ImageDraw.Draw(picture).polygon(points, fill=tuple(colour.tolist()))
    return picture


def drawings(count: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """Make normalized images, float32 (count, 3, 64, 64), and their classes."""
    classes = rng.integers(0, len(SHAPES), count)
    pixels = np.stack([np.asarray(draw(list(SHAPES)[number], rng)) for number in classes])
    return ((pixels / 255 - MEAN) / STD).transpose(0, 3, 1, 2).astype(np.float32), classes


def train(rng: np.random.Generator) -> HybridAlexNet:
    """Train the network on 4000 drawings and print how many of 500 others it tells right."""
    net = HybridAlexNet(len(SHAPES))
    net.initialize(mx.init.Xavier())
    net.hybridize(static_alloc=True, static_shape=True)
    trainer = mx.gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.001})
    loss_of = mx.gluon.loss.SoftmaxCrossEntropyLoss()
    images, classes = drawings(4000, rng)
    data = mx.gluon.data.ArrayDataset(images, classes.astype(np.float32))
    for _ in range(6):
        for x, y in mx.gluon.data.DataLoader(data, batch_size=50, shuffle=True):
            with mx.autograd.record():
                loss = loss_of(net(x), y)
            loss.backward()
            trainer.step(len(x))
    images, classes = drawings(500, rng)
    right = (net(mx.nd.array(images)).asnumpy().argmax(axis=1) == classes).mean()
    print(f"Tells {right:.1%} of new drawings right.")
    return net


def main() -> None:
    """Train the network and write the files into the current folder."""
    mx.random.seed(1)
    np.random.seed(1)  # the DataLoader's shuffle
    rng = np.random.default_rng(1)
    train(rng).save_parameters("alexnet.params")
    signature = {"inputs": [{"data_name": "data", "data_shape": [0, 3, SIDE, SIDE]}]}
    Path("signature.json").write_text(json.dumps(signature, indent=2) + "\n")
    Path("synset.txt").write_text("".join(f"{shape}\n" for shape in SHAPES))
    draw("star", rng).resize((256, 256)).save("star.png")


if __name__ == "__main__":
    main()
