"""The tables."""

from pathlib import Path

import pytest

from .figures import Goal
from .report import insert, marks, merged, rows_shown, to_markdown, to_results
from .rows import Row, RowResult

ROW = Row("noop-1", "no-op, 1 client", (Goal(metric="requests_per_s", against="mms", at_least=1.6),))


def result() -> RowResult:
    return RowResult(
        ROW,
        samples={
            "ours": [{"requests_per_s": 3000.0}, {"requests_per_s": 3300.0}, {"requests_per_s": 3600.0}],
            "mms": [{"requests_per_s": 1000.0}] * 3,
        },
        failures={"aiohttp": "did not start\nand more"},
    )


def test_the_table_shows_goals_figures_and_failures() -> None:
    tables = to_markdown(to_results({"noop-1": result()}, {"cores": "2"}, {"rounds": 3}))
    assert "| noop-1 | no-op, 1 client | answers/s | at least 1.6 x mms | 3.3 (3 to 3.6) | yes |" in tables
    assert "| noop-1 | ours | 3300 (3000 to 3600) |" in tables
    assert "- noop-1, aiohttp: did not start\n" in tables
    assert "Measured: cores 2; rounds 3." in tables


def test_a_goal_that_is_missed_stands_out() -> None:
    missed = result()
    missed.samples["ours"] = [{"requests_per_s": 1000.0}]
    assert "| **no** |" in to_markdown(to_results({"noop-1": missed}, {}, {}))


def test_a_goal_without_figures_is_named_too() -> None:
    alone = result()
    del alone.samples["mms"]
    assert "| at least 1.6 x mms |  | not measured |" in to_markdown(to_results({"noop-1": alone}, {}, {}))


def test_rows_keep_the_day_of_their_own() -> None:
    old = to_results({"noop-1": result(), "echo": result(), "gone": result()}, {"date": "monday"}, {"rounds": 3})
    new = to_results({"noop-1": result(), "cold": result()}, {"date": "friday"}, {"rounds": 5})
    tables = to_markdown(merged(old, new, ["cold", "noop-1", "echo", "never"]))
    assert "- cold, noop-1: date friday; rounds 5.\n- echo: date monday; rounds 3.\n" in tables
    assert "gone" not in tables


def test_a_page_tells_which_rows_it_shows(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    begin, end = marks("program")
    page.write_text(f"| not-this | |\n{begin}\n{end}\n")
    insert(page, "program", to_markdown(to_results({"noop-1": result()}, {}, {})))
    assert "noop-1" in rows_shown(page, "program")
    assert "not-this" not in rows_shown(page, "program")


def test_the_tables_replace_what_was_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    begin, end = marks("program")
    page.write_text(f"# Before\n\n{begin}\nold\n{end}\n\nAfter\n")
    for _ in range(2):
        insert(page, "program", "new\n")
        assert page.read_text() == f"# Before\n\n{begin}\n\nnew\n\n{end}\n\nAfter\n"


def test_a_page_without_marks_stays_as_it_is(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Before\n")
    with pytest.raises(ValueError, match="no marks"):
        insert(page, "program", "new\n")
    assert page.read_text() == "# Before\n"
