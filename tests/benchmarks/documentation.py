"""What the documentation shows of the benchmarks: a page with tables, the figures behind them, and the plots."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path

from .plots import draw
from .report import Results, insert, merged, rows_shown, to_markdown

PROGRAM = "tests.benchmarks"


class Documentation:
    """A folder with `performance.md`, `performance.json` and `images`."""

    def __init__(self, folder: Path) -> None:
        self._page = folder / "performance.md"
        self._figures = self._page.with_suffix(".json")
        self._images = folder / "images"

    def refuse_to_lose(self, known: Sequence[str], measured: Collection[str]) -> None:
        """Raise ValueError if the page shows known rows whose figures are neither kept beside it nor measured anew."""
        shown, kept = rows_shown(self._page, PROGRAM), read_results(self._figures)
        lost = [name for name in known if name in shown and name not in measured and name not in kept]
        if lost:
            raise ValueError(
                f"{self._page.name} shows rows that are neither measured now nor in {self._figures.name}: "
                f"{', '.join(lost)}. Measure them too, or leave --docs out."
            )

    def publish(self, results: Results, order: Sequence[str]) -> None:
        """Put rows in the place of earlier ones, and write all of them in the given order."""
        published = merged(read_results(self._figures), results, order)
        write_results(self._figures, published)
        insert(self._page, PROGRAM, to_markdown(published))
        draw(published, self._images)


def read_results(file: Path) -> Results:
    """Return the rows of an earlier run, or none where there was none."""
    results: Results = json.loads(file.read_text()) if file.exists() else {}
    return results


def write_results(file: Path, results: Results) -> None:
    """Save them as JSON, each row on a line of its own."""
    rows = ",\n".join(f"{json.dumps(name)}: {json.dumps(row)}" for name, row in results.items())
    file.write_text(f"{{\n{rows}\n}}\n")
