"""Sentences as numbers, for archives of MMS 0.x. Worker process; imports mxnet to pad."""

import bisect
from collections.abc import Iterable, Sequence
from typing import Any


def encode_sentences(
    sentences: Iterable[Iterable[str]],
    vocab: dict[str, int] | None = None,
    invalid_label: int = -1,
    invalid_key: str = "\n",
    start_label: int = 0,
) -> tuple[list[list[int]], dict[str, int]]:
    """Return the sentences with a number for each word, and the vocabulary.

    Without `vocab` one is built, numbers counted from `start_label` past `invalid_label`, which is `invalid_key`'s.
    With it, an unknown word is `invalid_label`.
    """
    if vocab is not None:
        known = vocab
        return [[known.get(word, invalid_label) for word in sentence] for sentence in sentences], vocab
    vocab = {invalid_key: invalid_label}
    encoded = []
    label = start_label
    for sentence in sentences:
        numbers = []
        for word in sentence:
            if word not in vocab:
                label += label == invalid_label
                vocab[word] = label
                label += 1
            numbers.append(vocab[word])
        encoded.append(numbers)
    return encoded, vocab


def pad_sentence(
    sentence: Sequence[int],
    buckets: Sequence[int],
    invalid_label: int = -1,
    data_name: str = "data",
    layout: str = "NT",
) -> Any:
    """Return a DataBatch of one sentence, filled up with `invalid_label` to the smallest of the ascending `buckets`.

    ValueError if the sentence is longer than the largest bucket. `layout` `TN` puts time first.
    """
    import mxnet as mx

    position = bisect.bisect_left(buckets, len(sentence))
    if position == len(buckets):
        raise ValueError(f"A sentence of {len(sentence)} words is longer than the largest bucket ({buckets[-1]}).")
    length = buckets[position]
    padded = mx.nd.array([[*sentence, *[invalid_label] * (length - len(sentence))]], dtype="float32")
    shape = (1, length) if layout == "NT" else (length, 1)
    description = mx.io.DataDesc(name=data_name, shape=shape, layout=layout)
    return mx.io.DataBatch([padded], pad=0, bucket_key=length, provide_data=[description])
