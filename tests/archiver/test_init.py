"""What `import model_archiver` gives."""

import subprocess
import sys
from pathlib import Path

import pytest

import mms
import model_archiver
from model_archiver import packaging


def test_every_name_is_there() -> None:
    for name in model_archiver.__all__:
        assert getattr(model_archiver, name) is not None
    assert model_archiver.package_model is packaging.package_model
    with pytest.raises(AttributeError, match="no attribute 'nosuch'"):
        _ = model_archiver.nosuch


def test_version_is_that_of_the_distribution() -> None:
    assert model_archiver.__version__ == mms.__version__


def test_reading_a_manifest_loads_nothing_that_packs() -> None:
    code = (
        "import sys, model_archiver.manifest\n"
        "print([name for name in ('zipfile', 'tarfile', 'click') if name in sys.modules])"
    )
    source_root = str(Path(model_archiver.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env={"PYTHONPATH": source_root}
    )
    assert done.stdout == "[]\n"
