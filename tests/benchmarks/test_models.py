"""Answers of different servers about one picture."""

import json

import pytest

from .models import difference


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
