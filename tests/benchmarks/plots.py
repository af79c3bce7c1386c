"""The two plots: throughput over concurrency, and latency percentiles."""

import importlib.util
import re
import statistics
from pathlib import Path

from .report import Results

NAMES = {
    "ours": "mxnet-model-server",
    "before": "mxnet-model-server, before",
    "mms": "MMS 1.1.11 as installed",
    "mms-tuned": "MMS 1.1.11 tuned, logs off",
    "aiohttp": "bare aiohttp, no worker",
    "torchserve": "TorchServe 0.12 as installed",
    "litserve": "LitServe 0.2.19 as installed",
}
# Distinguishable for the colour-blind too (Okabe and Ito), and by their markers.
STYLES = {
    "ours": ("#0072b2", "o"),
    "before": ("#56b4e9", "v"),
    "mms": ("#d55e00", "s"),
    "mms-tuned": ("#e69f00", "^"),
    "aiohttp": ("#555555", "x"),
    "torchserve": ("#cc79a7", "D"),
    "litserve": ("#009e73", "P"),
}
NOOP = re.compile(r"noop-(\d+)")
PERCENTILES = {"p50_ms": "50", "p75_ms": "75", "p90_ms": "90", "p99_ms": "99", "p999_ms": "99.9"}
MODEL = "a model that does nothing: one worker, batch size 1"
Series = dict[str, dict[int, dict[str, list[float]]]]
"""Contestant -> concurrency -> metric -> one value a round."""


def draw(results: Results, folder: Path) -> list[Path]:
    """Draw the plots of the no-op rows into a folder; nothing if there are none, or matplotlib is not installed."""
    series = noop_series(results)
    if not series or importlib.util.find_spec("matplotlib") is None:
        return []
    machines = [row["machine"] for name, row in results.items() if NOOP.fullmatch(name)]
    caption = "; ".join(dict.fromkeys("{processor}, {cores} cores, {date}".format(**one) for one in machines))
    return [
        draw_throughput(series, caption, folder / "noop-throughput.png"),
        draw_latency(series, caption, folder / "noop-latency.png"),
    ]


def noop_series(results: Results) -> Series:
    """Find the figures of the rows `noop-N`."""
    series: Series = {}
    for name, row in results.items():
        match = NOOP.fullmatch(name)
        if match is None:
            continue
        for contestant, samples in row["samples"].items():
            metrics = series.setdefault(contestant, {}).setdefault(int(match[1]), {})
            for values in samples:
                for metric, value in values.items():
                    metrics.setdefault(metric, []).append(value)
    return series


def draw_throughput(series: Series, caption: str, path: Path) -> Path:
    """Draw medians, and the range of the rounds as a band."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for contestant, loads in series.items():
        clients = sorted(loads)
        rates = [loads[number]["requests_per_s"] for number in clients]
        colour, marker = STYLES[contestant]
        axes.plot(
            clients, [statistics.median(one) for one in rates], color=colour, marker=marker, label=NAMES[contestant]
        )
        axes.fill_between(clients, [min(one) for one in rates], [max(one) for one in rates], color=colour, alpha=0.15)
    ticks = sorted({number for loads in series.values() for number in loads})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(number) for number in ticks])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("clients at once")
    axes.set_ylabel("answers per second")
    axes.set_title(
        f"Throughput with {MODEL}\n{caption}; line: median of the rounds, band: their range", loc="left", fontsize=10
    )
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
    return path


def draw_latency(series: Series, caption: str, path: Path) -> Path:
    """Draw the medians of the percentiles, one panel for each number of clients, all on one scale."""
    from matplotlib.figure import Figure

    ticks = sorted({number for loads in series.values() for number in loads})
    figure = Figure(figsize=(9, 2.2 + 2.4 * ((len(ticks) + 1) // 2)), layout="constrained")
    positions = list(range(len(PERCENTILES)))
    panels = figure.subplots((len(ticks) + 1) // 2, 2, squeeze=False, sharex=True, sharey=True).flat
    for number, panel in zip(ticks, panels, strict=False):
        for contestant, loads in series.items():
            if number in loads:
                medians = [statistics.median(loads[number][metric]) for metric in PERCENTILES]
                colour, marker = STYLES[contestant]
                panel.plot(positions, medians, color=colour, marker=marker, label=NAMES[contestant])
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter("")
        panel.set_xticks(positions, PERCENTILES.values())
        panel.set_xlabel("percentile of the requests")
        panel.set_ylabel("milliseconds (logarithmic)")
        panel.label_outer()
        panel.set_title(f"{number} client{'s' * (number > 1)}", loc="left", fontsize=10)
        panel.grid(alpha=0.3)
    for panel in panels:
        panel.set_visible(False)
    figure.suptitle(f"Latency with {MODEL}\n{caption}; medians of the rounds", x=0.01, ha="left", fontsize=10)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, dpi=120)
    return path
