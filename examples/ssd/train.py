"""Train a small SSD to find shapes in drawings, and save it as a symbol, with a drawing to ask about.

Writes ssd-symbol.json, ssd-0000.params, signature.json, synset.txt and drawing.png. Takes half a minute on one core.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from mms.worker import mxnet_compat

mxnet_compat.install()

import mxnet as mx  # noqa: E402  # needs the line above on current Python and numpy
from mxnet.gluon import nn  # noqa: E402

SHAPES = ["circle", "square", "triangle"]
SIDE = 96
SIZES, RATIOS = (0.25, 0.35, 0.5), (1,)
BOXES_PER_CELL = len(SIZES) + len(RATIOS) - 1


class Heads(mx.gluon.HybridBlock):  # type: ignore[misc]  # mxnet has no types
    """Says for each of many boxes of fixed place ("anchors") what is in it and how the box has to move."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.HybridSequential()
        self.features.add(nn.BatchNorm(scale=False))  # takes pixels of 0 to 255
        for channels in (16, 32, 64):
            self.features.add(nn.Conv2D(channels, 3, padding=1, use_bias=False), nn.BatchNorm(), nn.Activation("relu"))
            self.features.add(nn.MaxPool2D(2))
        self.features.add(nn.Conv2D(64, 3, padding=1, activation="relu"))
        self.classes = nn.Conv2D(BOXES_PER_CELL * (len(SHAPES) + 1), 3, padding=1)
        self.moves = nn.Conv2D(BOXES_PER_CELL * 4, 3, padding=1)

    def hybrid_forward(self, F: Any, x: Any) -> tuple[Any, Any, Any]:  # noqa: N803  # Gluon's own name
        """Map images to anchors (1, boxes, 4), class scores (batch, classes + 1, boxes), moves (batch, boxes * 4)."""
        x = self.features(x)
        anchors = F.contrib.MultiBoxPrior(x, sizes=SIZES, ratios=RATIOS)
        scores = F.transpose(self.classes(x), (0, 2, 3, 1)).reshape((0, -1, len(SHAPES) + 1))
        moves = F.flatten(F.transpose(self.moves(x), (0, 2, 3, 1)))
        return anchors, F.transpose(scores, (0, 2, 1)), moves


class Detector(mx.gluon.HybridBlock):  # type: ignore[misc]  # mxnet has no types
    """Turns what the heads say into detections: (batch, boxes, 6) of class, score, left, top, right, bottom."""

    def __init__(self, heads: Heads) -> None:
        super().__init__()
        self.heads = heads

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # noqa: N803
        """Keep the best of the boxes that overlap; the class of the others is -1. Edges are 0 to 1."""
        anchors, scores, moves = self.heads(x)
        return F.contrib.MultiBoxDetection(
            F.softmax(scores, axis=1), moves, anchors, nms_threshold=0.3, force_suppress=True, threshold=0.3
        )


def draw(rng: np.random.Generator) -> tuple[Image.Image, list[list[float]]]:
    """Draw one to three shapes that do not touch; return them as class, left, top, right, bottom as well."""
    picture = Image.new("RGB", (SIDE, SIDE), tuple(rng.integers(170, 256, 3).tolist()))
    pen = ImageDraw.Draw(picture)
    found: list[list[float]] = []
    for _ in range(rng.integers(1, 4)):
        size = int(rng.integers(20, 46))
        left, top = (int(edge) for edge in rng.integers(1, SIDE - size - 1, 2))
        right, bottom = left + size, top + size
        if any(
            left < f[3] * SIDE and f[1] * SIDE < right and top < f[4] * SIDE and f[2] * SIDE < bottom for f in found
        ):
            continue
        number = int(rng.integers(len(SHAPES)))
        colour = tuple(rng.integers(0, 150, 3).tolist())
        if SHAPES[number] == "circle":
            pen.ellipse((left, top, right, bottom), fill=colour)
        elif SHAPES[number] == "square":
            pen.rectangle((left, top, right, bottom), fill=colour)
        else:
            pen.polygon(((left, bottom), (right, bottom), ((left + right) / 2, top)), fill=colour)
        found.append([number, left / SIDE, top / SIDE, right / SIDE, bottom / SIDE])
    return picture, found


def batch(count: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """Make images (count, 3, 96, 96) and what is in them (count, 3, 5), filled up with -1."""
    images, labels = [], np.full((count, 3, 5), -1, np.float32)
    for row in range(count):
        picture, found = draw(rng)
        images.append(np.asarray(picture).transpose(2, 0, 1))
        labels[row, : len(found)] = found
    return mx.nd.array(np.stack(images)), mx.nd.array(labels)


def train(rng: np.random.Generator, steps: int = 200) -> Detector:
    """Train the heads on drawings: classes by cross-entropy, moves by their distance."""
    heads = Heads()
    heads.initialize(mx.init.Xavier())
    heads.hybridize(static_alloc=True, static_shape=True)
    trainer = mx.gluon.Trainer(heads.collect_params(), "adam", {"learning_rate": 0.003})
    loss_of_classes = mx.gluon.loss.SoftmaxCrossEntropyLoss(axis=1)
    for step in range(steps):
        images, labels = batch(32, rng)
        with mx.autograd.record():
            anchors, scores, moves = heads(images)
            wanted_moves, mask, wanted = mx.nd.contrib.MultiBoxTarget(
                anchors, labels, scores, negative_mining_ratio=3, negative_mining_thresh=0.5, overlap_threshold=0.5
            )
            counts = (wanted >= 0).expand_dims(1)  # most of the boxes with nothing in them are left out
            loss = loss_of_classes(scores, mx.nd.maximum(wanted, 0), counts).mean()
            loss = loss + (mask * mx.nd.smooth_l1(moves - wanted_moves, scalar=1)).mean()
        loss.backward()
        trainer.step(1)
        if step % 50 == 49:
            print(f"Step {step + 1} of {steps}: loss {loss.asscalar():.4f}")
    return Detector(heads)


def main() -> None:
    """Train the network and write the files into the current folder."""
    mx.random.seed(1)
    rng = np.random.default_rng(1)
    detector = train(rng)
    detector.hybridize()
    detector(batch(1, rng)[0])
    detector.export("ssd")
    signature = {"inputs": [{"data_name": "data", "data_shape": [0, 3, SIDE, SIDE]}]}
    Path("signature.json").write_text(json.dumps(signature, indent=2) + "\n")
    Path("synset.txt").write_text("".join(f"{shape}\n" for shape in SHAPES))
    while True:
        picture, found = draw(rng)
        if sorted(box[0] for box in found) == [0, 1, 2]:
            picture.resize((288, 288)).save("drawing.png")
            return


if __name__ == "__main__":
    main()
