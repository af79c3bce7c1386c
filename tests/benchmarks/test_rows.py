"""Which rows there are, and how they are chosen."""

import pytest

from .catalogue import scenarios_under_load
from .once import scenarios_without_load
from .rows import Row, Scenario, Steps, select

SCENARIOS: list[Scenario] = [
    Steps((Row("noop-1", ""), Row("noop-8", "")), lambda bench, rows: None),
    Steps((Row("echo", ""),), lambda bench, rows: None),
]


def test_rows_are_selected_by_pattern_with_their_scenario() -> None:
    chosen = select(SCENARIOS, ["*-8", "echo"])
    assert [(scenario, [row.name for row in rows]) for scenario, rows in chosen] == [
        (SCENARIOS[0], ["noop-8"]),
        (SCENARIOS[1], ["echo"]),
    ]


def test_a_pattern_that_fits_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing"):
        select(SCENARIOS, ["echo", "nothing"])


def test_every_row_has_a_name_of_its_own() -> None:
    scenarios: list[Scenario] = [*scenarios_under_load(), *scenarios_without_load()]
    names = [row.name for scenario in scenarios for row in scenario.rows]
    assert len(set(names)) == len(names)
