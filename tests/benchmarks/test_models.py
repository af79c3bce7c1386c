"""Answers of different servers about one picture."""

import json

import pytest

from .models import difference, difference_in_class


def answer(**classes: float) -> bytes:
    return json.dumps([{"class": name, "probability": share} for name, share in classes.items()]).encode()


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        (answer(cat=0.9, dog=0.1), ""),
        (answer(cat=0.90005, dog=0.1), ""),
        (answer(cat=0.9, dog=0.102), "probabilities differ by 0.002"),
        (answer(dog=0.1, cat=0.9), "classes ['cat', 'dog'] and ['dog', 'cat']"),
    ],
)
def test_answers_about_a_picture_are_compared(other: bytes, problem: str) -> None:
    assert difference(answer(cat=0.9, dog=0.1), other) == problem


def test_models_of_different_precision_must_agree_in_the_likeliest_class() -> None:
    one = answer(cat=0.9, dog=0.1)

    assert difference_in_class(one, answer(cat=0.6, fox=0.4)) == ""
    assert difference_in_class(one, answer(dog=0.5, cat=0.4)) == "classes cat and dog"
