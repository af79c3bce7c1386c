"""Packages with endpoint plugins, as pip would leave them: a module and its metadata in a folder of the path."""

import itertools
from pathlib import Path

import pytest

_numbers = itertools.count(1)


class PluginPackages:
    """Installs packages for one test."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._monkeypatch = monkeypatch

    def install(self, text: str, **entry_points: str) -> str:
        """Install a module of this text; its classes by the names of their entry points. Return the module's name."""
        # New every time: a module that was imported once stays in this process.
        number = next(_numbers)
        module = f"endpoints_{number}"
        site = self._folder / f"site-{number}"
        metadata = site / f"{module}-1.0.dist-info"
        metadata.mkdir(parents=True)
        (site / f"{module}.py").write_text(f"from mms.plugin import ModelServerEndpoint\n{text}")
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        lines = [f"{name} = {module}:{attribute}\n" for name, attribute in entry_points.items()]
        (metadata / "entry_points.txt").write_text("[mms.endpoints]\n" + "".join(lines))
        self._monkeypatch.syspath_prepend(site)
        return module
