"""Finish sentences with an LSTM. Runs in a worker process. Handler: `lstm_service:handle`.

A request is the beginning of a sentence as plain text; the answer is the sentence.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from mxnet_model_service import MXNetModelService
from mxnet_utils import nlp
from mxnet_utils.signature import find_input

from mms.context import Context

END = 0
BUCKETS = (4, 8, 12)


class LSTMService(MXNetModelService):
    """Add the likeliest next word to each sentence of a batch, until the network ends it or it is full.

    Sentences of a batch have different lengths: all are padded to the shortest of BUCKETS that holds the longest.
    MXNet binds the symbol anew for each shape, so a few lengths are better than every length.
    """

    def initialize(self, context: Context) -> None:
        """Load the model and its vocabulary."""
        super().initialize(context)
        path = Path(context.system_properties["model_dir"], "vocabulary.json")
        self.numbers: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))
        self.words = {number: word for word, number in self.numbers.items()}

    def preprocess(self, batch: list[dict[str, Any]]) -> list[Any]:
        """Turn texts into the numbers of their words; a text with a word that the network never saw is rejected."""
        sentences = []
        for index, request in enumerate(batch):
            value = find_input(request, self.signature) or ""
            text = value.decode("utf-8", "replace") if isinstance(value, (bytes, bytearray)) else str(value)
            words = text.lower().split()
            [numbers], _ = nlp.encode_sentences([words], self.numbers, invalid_label=-1)
            if not 0 < len(words) <= BUCKETS[-1]:
                self.reject(index, f"Send the beginning of a sentence: 1 to {BUCKETS[-1]} words")
            elif -1 in numbers:
                self.reject(index, f"Unknown word: {words[numbers.index(-1)]}")
            else:
                sentences.append(numbers)
        return sentences

    def inference(self, model_input: list[Any]) -> list[Any]:
        """Complete the sentences, one word of each in every round."""
        sentences = model_input
        growing = list(sentences)
        while growing:
            longest = max(len(sentence) for sentence in growing)
            rows = np.full((len(growing), min(size for size in BUCKETS if size >= longest)), END, np.float32)
            for row, sentence in zip(rows, growing, strict=True):
                row[: len(sentence)] = sentence
            [probabilities] = super().inference([rows])
            best = probabilities.asnumpy().argmax(axis=2)  # the next word after each word
            for sentence, following in zip(growing, best, strict=True):
                sentence.append(int(following[len(sentence) - 1]))
            growing = [sentence for sentence in growing if sentence[-1] != END and len(sentence) <= BUCKETS[-1]]
        return sentences

    def postprocess(self, inference_output: list[Any]) -> list[Any]:
        """Spell the sentences."""
        return [" ".join(self.words[number] for number in sentence if number != END) for sentence in inference_output]


_service = LSTMService()


def handle(data: list[dict[str, Any]] | None, context: Context) -> list[Any] | None:
    """Load the model on the first call, which has no data, then complete each batch of sentences."""
    if not _service.initialized:
        _service.initialize(context)
    return None if data is None else _service.handle(data, context)
