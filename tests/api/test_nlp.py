from typing import Any

import pytest

from mms.utils.mxnet.nlp import encode_sentences, pad_sentence


def test_a_vocabulary_is_built() -> None:
    encoded, vocabulary = encode_sentences([["a", "b"], ["b", "c"]], invalid_label=1)
    assert encoded == [[0, 2], [2, 3]]
    assert vocabulary == {"\n": 1, "a": 0, "b": 2, "c": 3}


def test_counting_starts_where_told() -> None:
    assert encode_sentences([["a", "a", "b"]], start_label=5)[0] == [[5, 5, 6]]


def test_a_given_vocabulary_is_kept() -> None:
    given = {"a": 3}
    encoded, vocabulary = encode_sentences([["a", "x"]], given, invalid_label=9)
    assert encoded == [[3, 9]]
    assert vocabulary is given
    assert given == {"a": 3}


@pytest.mark.parametrize(("layout", "shape"), [("NT", (1, 4)), ("TN", (4, 1))])
def test_a_sentence_is_padded_to_the_next_bucket(mx: Any, layout: str, shape: tuple[int, int]) -> None:
    batch = pad_sentence([1, 2, 3], [2, 4, 8], invalid_label=0, layout=layout)
    assert batch.data[0].asnumpy().tolist() == [[1, 2, 3, 0]]
    assert (batch.bucket_key, batch.pad) == (4, 0)
    assert (batch.provide_data[0].name, batch.provide_data[0].shape) == ("data", shape)


def test_a_sentence_that_fits_is_not_padded(mx: Any) -> None:
    assert pad_sentence([1, 2], [2, 4]).data[0].asnumpy().tolist() == [[1, 2]]


def test_a_sentence_longer_than_every_bucket_is_refused(mx: Any) -> None:
    with pytest.raises(ValueError, match="5 words is longer than the largest bucket"):
        pad_sentence([1] * 5, [2, 4])
