"""Benchmarks: this server beside its peers and its limits. Run by `python -m tests.benchmarks`; docs/performance.md."""
