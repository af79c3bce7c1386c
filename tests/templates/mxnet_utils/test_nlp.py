import pytest
from mxnet_utils import nlp


def test_a_vocabulary_is_built_in_the_order_of_the_words() -> None:
    encoded, vocab = nlp.encode_sentences([["a", "b"], ["b", "c", "\n"]])

    assert encoded == [[0, 1], [1, 2, -1]]
    assert vocab == {"\n": -1, "a": 0, "b": 1, "c": 2}


def test_building_skips_the_number_of_the_invalid_label() -> None:
    encoded, vocab = nlp.encode_sentences([["a", "b", "c"]], invalid_label=1, invalid_key="<end>", start_label=0)

    assert encoded == [[0, 2, 3]]
    assert vocab["<end>"] == 1


def test_a_given_vocabulary_stays_as_it_is() -> None:
    vocab = {"a": 7}

    assert nlp.encode_sentences([["a", "x"]], vocab, invalid_label=0) == ([[7, 0]], {"a": 7})


@pytest.mark.parametrize(("layout", "shape"), [("NT", (1, 5)), ("TN", (5, 1))])
def test_padding_to_the_next_bucket(layout: str, shape: tuple[int, int]) -> None:
    batch = nlp.pad_sentence([4, 5, 6], [2, 5, 9], invalid_label=0, data_name="words", layout=layout)

    assert batch.bucket_key == 5
    assert batch.data[0].shape == shape
    assert batch.data[0].asnumpy().ravel().tolist() == [4, 5, 6, 0, 0]
    assert batch.provide_data[0].name == "words"
    assert batch.provide_data[0].shape == shape


def test_a_sentence_longer_than_all_buckets_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"3 words, more than the largest bucket \(2\)"):
        nlp.pad_sentence([1, 2, 3], [1, 2])
