"""Results as JSON and as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from .figures import Spread, Values, spread
from .rows import RowResult

COLUMNS: Mapping[str, str] = {
    "requests_per_s": "answers/s",
    "good_per_s": "good answers/s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "front_cpu_us": "CPU us: front",
    "worker_cpu_us": "worker",
    "client_cpu_us": "client",
    "front_mib": "MiB: front",
    "worker_mib": "worker",
    "worker_pss_mib": "worker, PSS",
    "parents_mib": "others",
    "start_s": "s",
    "register_s": "register s",
    "scale_s": "scale s",
    "kept_share": "share kept",
    "connection_kib": "KiB: connection",
    "queued_kib": "waiting request",
}


class GoalRecord(TypedDict):
    """A goal and what became of it."""

    goal: str
    metric: str
    median: float
    least: float
    most: float
    reached: bool


class RowRecord(TypedDict):
    """One row of the results file."""

    title: str
    samples: dict[str, list[Values]]
    failures: dict[str, str]
    goals: list[GoalRecord]


class Results(TypedDict):
    """The results file."""

    machine: dict[str, str]
    options: dict[str, float]
    rows: dict[str, RowRecord]


def to_results(results: Mapping[str, RowResult], machine: dict[str, str], options: dict[str, float]) -> Results:
    """Put together what is saved."""
    rows = {}
    for name, result in results.items():
        goals = []
        for goal in result.row.goals:
            measured = goal.measured(result.samples)
            if measured is not None:
                goals.append(
                    GoalRecord(
                        goal=str(goal),
                        metric=goal.metric,
                        median=measured.median,
                        least=measured.least,
                        most=measured.most,
                        reached=goal.reached(measured),
                    )
                )
        rows[name] = RowRecord(title=result.row.title, samples=result.samples, failures=result.failures, goals=goals)
    return Results(machine=machine, options=options, rows=rows)


def to_markdown(results: Results) -> str:
    """Write the tables."""
    machine = ", ".join(f"{name} {value}" for name, value in results["machine"].items())
    options = ", ".join(f"{name} {value:g}" for name, value in results["options"].items())
    return "\n\n".join([f"Measured: {machine}; {options}.", _goal_table(results), _figure_tables(results)]) + "\n"


def marks(name: str) -> tuple[str, str]:
    """Return the two comments between which a page holds what is generated; `name` says what writes it."""
    return f"<!-- written by {name} --docs: begin -->", f"<!-- written by {name} --docs: end -->"


def insert(page: Path, name: str, tables: str) -> None:
    """Replace what stands between the marks of a page; see `marks`. A page without them is a ValueError."""
    text = page.read_text()
    begin, end = marks(name)
    if begin not in text or end not in text:
        raise ValueError(f"{page} has no marks for {name}.")
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    page.write_text(f"{head}{begin}\n\n{tables}\n{end}{tail}")


def _goal_table(results: Results) -> str:
    lines = [["row", "what", "metric", "goal", "median (min to max)", "reached"]]
    for name, row in results["rows"].items():
        for goal in row["goals"]:
            figure = _figure(Spread(goal["median"], goal["least"], goal["most"]))
            said = "yes" if goal["reached"] else "**no**"
            lines.append([name, row["title"], COLUMNS.get(goal["metric"], goal["metric"]), goal["goal"], figure, said])
    failures = [
        f"- {name}, {contestant}: {why.splitlines()[0][:300]}"
        for name, row in results["rows"].items()
        for contestant, why in row["failures"].items()
    ]
    failed = "\n\nWithout figures, or not with those of all rounds:\n\n" + "\n".join(failures) if failures else ""
    return table(lines) + failed


def _figure_tables(results: Results) -> str:
    """Write one table for all rows that have the same columns."""
    tables: dict[tuple[str, ...], list[list[str]]] = {}
    for name, row in results["rows"].items():
        measured = {metric for samples in row["samples"].values() for values in samples for metric in values}
        columns = tuple(metric for metric in COLUMNS if metric in measured)
        for contestant, samples in row["samples"].items():
            cells = [_cell(samples, metric) for metric in columns]
            tables.setdefault(columns, []).append([name, contestant, *cells])
    return "\n\n".join(
        table([["row", "server", *(COLUMNS[metric] for metric in columns)], *lines])
        for columns, lines in tables.items()
    )


def _cell(samples: Sequence[Values], metric: str) -> str:
    values = [one[metric] for one in samples if metric in one]
    return _figure(spread(values)) if values else ""


def _figure(measured: Spread) -> str:
    if measured.least == measured.most:
        return _number(measured.median)
    return f"{_number(measured.median)} ({_number(measured.least)} to {_number(measured.most)})"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(lines: Iterable[Sequence[str]]) -> str:
    """Write a table; its first line is the head."""
    head, *rest = lines
    rows = [head, ["---"] * len(head), *rest]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
