"""Train an LSTM to finish proverbs, and save it as a symbol with its vocabulary. Takes about ten seconds on one core.

Writes proverbs-symbol.json, proverbs-0000.params, signature.json and vocabulary.json.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from mms.worker import mxnet_compat

mxnet_compat.install()

import mxnet as mx  # noqa: E402  # needs the line above on current Python and numpy
from mxnet.gluon import nn, rnn  # noqa: E402
from mxnet_utils import nlp  # noqa: E402

PROVERBS = """
a bird in the hand is worth two in the bush
a friend in need is a friend indeed
a journey of a thousand miles begins with a single step
a picture is worth a thousand words
a rolling stone gathers no moss
a stitch in time saves nine
actions speak louder than words
all roads lead to rome
all that glitters is not gold
an apple a day keeps the doctor away
better late than never
birds of a feather flock together
do not count your chickens before they hatch
do not put all your eggs in one basket
every cloud has a silver lining
fortune favours the bold
haste makes waste
honesty is the best policy
look before you leap
many hands make light work
no man is an island
one swallow does not make a summer
practice makes perfect
rome was not built in a day
still waters run deep
strike while the iron is hot
the early bird catches the worm
the pen is mightier than the sword
there is no place like home
time and tide wait for no man
too many cooks spoil the broth
two heads are better than one
when in rome do as the romans do
where there is smoke there is fire
you cannot teach an old dog new tricks
"""
END = "<end>"
LONGEST = 12
STEPS = 150


class Proverbs(mx.gluon.HybridBlock):  # type: ignore[misc]  # mxnet has no types
    """Tells after each word of a sentence what the next may be."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, 32)
        self.lstm = rnn.LSTM(64, layout="NTC")
        self.output = nn.Dense(words, flatten=False)

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # noqa: N803  # Gluon's own name
        """Map numbers of words (batch, length) to probabilities (batch, length, words)."""
        return F.softmax(self.output(self.lstm(self.embedding(x))))


def train(sentences: list[list[int]], words: int) -> Proverbs:
    """Train until the network knows the sentences by heart."""
    net = Proverbs(words)
    net.initialize(mx.init.Xavier())
    net.hybridize()
    trainer = mx.gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.01})
    padded = np.zeros((len(sentences), LONGEST + 1), np.float32)  # 0 is the end
    for row, sentence in enumerate(sentences):
        padded[row, : len(sentence)] = sentence
    x, following = mx.nd.array(padded[:, :-1]), mx.nd.array(padded[:, 1:])
    for _ in range(STEPS):
        with mx.autograd.record():
            loss = -mx.nd.log(mx.nd.pick(net(x), following) + 1e-9).mean()
        loss.backward()
        trainer.step(1)
    print(f"Loss {loss.asscalar():.3f} after {STEPS} steps.")
    return net


def main() -> None:
    """Train the network and write the files into the current folder."""
    mx.random.seed(1)
    sentences = [line.split() for line in PROVERBS.strip().splitlines()]
    encoded, vocabulary = nlp.encode_sentences(sentences, invalid_label=0, invalid_key=END, start_label=1)
    train(encoded, len(vocabulary)).export("proverbs")
    Path("vocabulary.json").write_text(json.dumps(vocabulary, indent=1) + "\n")
    signature = {"inputs": [{"data_name": "data", "data_shape": [0, 0]}]}
    Path("signature.json").write_text(json.dumps(signature, indent=2) + "\n")


if __name__ == "__main__":
    main()
