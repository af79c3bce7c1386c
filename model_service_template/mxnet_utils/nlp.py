"""From words to what a text model reads."""

import bisect
from collections.abc import Iterable, Sequence
from typing import Any

import mxnet as mx
import numpy as np


def encode_sentences(
    sentences: Iterable[Iterable[str]],
    vocab: dict[str, int] | None = None,
    invalid_label: int = -1,
    invalid_key: str = "\n",
    start_label: int = 0,
) -> tuple[list[list[int]], dict[str, int]]:
    """Replace every word by its number in `vocab`; return the sentences and the vocabulary.

    A word that `vocab` lacks becomes `invalid_label`. Without `vocab` one is built: words are numbered from
    `start_label` in the order they come, leaving `invalid_label` to `invalid_key`.
    """
    if vocab is not None:
        return [[vocab.get(word, invalid_label) for word in sentence] for sentence in sentences], vocab
    built = {invalid_key: invalid_label}
    number = start_label
    encoded = []
    for sentence in sentences:
        row = []
        for word in sentence:
            if word not in built:
                if number == invalid_label:
                    number += 1
                built[word] = number
                number += 1
            row.append(built[word])
        encoded.append(row)
    return encoded, built


def pad_sentence(
    sentence: Sequence[int],
    buckets: Sequence[int],
    invalid_label: int = -1,
    data_name: str = "data",
    layout: str = "NT",
) -> Any:
    """Pad an encoded sentence to the shortest of the (ascending) `buckets` that holds it; return a DataBatch of it.

    `layout` "NT" gives data of shape (1, bucket), "TN" (bucket, 1). `bucket_key` tells the length.
    """
    place = bisect.bisect_left(buckets, len(sentence))
    if place == len(buckets):
        raise ValueError(f"The sentence has {len(sentence)} words, more than the largest bucket ({buckets[-1]}).")
    length = buckets[place]
    padded = np.full((1, length), invalid_label, dtype=np.float32)
    padded[0, : len(sentence)] = sentence
    data = mx.nd.array(padded if layout == "NT" else padded.T)
    description = mx.io.DataDesc(name=data_name, shape=data.shape, layout=layout)
    return mx.io.DataBatch([data], pad=0, bucket_key=length, provide_data=[description])
