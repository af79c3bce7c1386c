"""What rounds come to, and which goals are reached."""

import pytest

from .figures import Goal, ratios, spread


def test_a_spread_is_the_median_with_its_bounds() -> None:
    measured = spread([3.0, 1.0, 2.0, 10.0])
    assert (measured.median, measured.least, measured.most) == (2.5, 1.0, 10.0)


def test_ratios_are_taken_round_by_round() -> None:
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]


def test_a_round_that_only_one_side_has_does_not_count() -> None:
    assert ratios([2.0, 9.0, 8.0], [1.0, 0.0]) == [2.0]


@pytest.mark.parametrize(
    ("goal", "reached"),
    [
        (Goal(metric="rate", against="mms", at_least=3.0), True),
        (Goal(metric="rate", against="mms", at_least=3.1), False),
        (Goal(metric="time_ms", against="mms", at_most=0.5), True),
        (Goal(metric="time_ms", against="mms", at_most=0.4), False),
        (Goal(metric="time_ms", at_most=5.0), True),
        (Goal(metric="time_ms", of="mms", at_most=5.0), False),
    ],
)
def test_a_goal_is_judged_by_the_median(goal: Goal, *, reached: bool) -> None:
    samples = {
        "ours": [{"rate": 30.0, "time_ms": 5.0}, {"rate": 90.0, "time_ms": 5.0}, {"rate": 20.0, "time_ms": 1.0}],
        "mms": [{"rate": 10.0, "time_ms": 10.0}] * 3,
    }
    measured = goal.measured(samples)
    assert measured is not None
    assert goal.reached(measured) is reached


def test_a_goal_against_a_peer_that_is_not_there_has_no_figure() -> None:
    assert Goal(metric="rate", against="mms", at_least=1).measured({"ours": [{"rate": 1.0}]}) is None


def test_a_goal_says_what_it_is() -> None:
    assert str(Goal(metric="rate", against="mms", at_least=1.6)) == "at least 1.6 x mms"
    assert str(Goal(metric="front_mib", at_most=55)) == "at most 55 MiB"
    assert str(Goal(metric="kept_share", at_least=0.9)) == "at least 0.9"
