from typing import Any

import pytest

np = pytest.importorskip("numpy")

from model_archiver.quantization.agreement import compare, measure  # noqa: E402  # after the skip


def row(*values: float) -> list[Any]:
    return [np.array([values], np.float32)]


def test_samples_with_the_same_likeliest_class_agree() -> None:
    agreement = compare([row(0.1, 0.9), row(0.6, 0.4)], [row(0.2, 0.8), row(0.3, 0.7)])

    assert agreement.samples == 2
    assert agreement.top1 == 0.5
    assert agreement.largest_difference == pytest.approx(0.3)
    assert agreement.mean_difference == pytest.approx((0.2 + 0.6) / 2)


def test_differences_are_relative_to_the_original() -> None:
    assert compare([row(10, -10)], [row(11, -10)]).mean_difference == pytest.approx(0.05)


def test_one_number_has_no_class() -> None:
    assert compare([row(0.5)], [row(0.6)]).top1 is None


def test_a_class_for_each_place_counts_by_places() -> None:
    original = np.zeros((1, 2, 2, 2), np.float32)
    original[:, 1] = 1
    other = original.copy()
    other[0, :, 0, 0] = (1, 0)

    assert compare([[original]], [[other]]).top1 == 0.75


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_no_agreement(value: float) -> None:
    agreement = compare([row(0.1, 0.9)], [row(value, 0.9)])

    assert agreement.mean_difference == np.inf
    assert agreement.largest_difference == np.inf


def test_all_outputs_count_for_the_difference() -> None:
    assert compare([[*row(0, 1), *row(1)]], [[*row(0, 1), *row(2)]]).mean_difference == pytest.approx(0.5)


def test_the_networks_run_in_turns() -> None:
    runs: list[str] = []

    class Runs:
        def __init__(self, name: str) -> None:
            self.name = name

        def run(self, sample: Any) -> list[Any]:
            runs.append(self.name)
            return []

    times = measure([Runs("a"), Runs("b")], None)  # type: ignore[list-item]  # as much of a Network as is needed

    assert len(times) == 2
    assert runs.count("a") == runs.count("b")
    assert runs.index("b") < len(runs) // 2
