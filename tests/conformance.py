"""Compare this checkout's server with the recorded answers of Multi Model Server 1.1.11: `make conformance`.

Takes the folder of the recordings; without them there is nothing to compare with, and that is no failure.
"""

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from mms.server.pid_file import MARKER

# The safe defaults that differ from MMS, set its way (docs/migration.md).
MMS_WAY = ("allow_private_urls=true", "lenient_http=true")


def main(recordings: Path, arguments: list[str]) -> int:
    if not (recordings / "conform.py").is_file():
        print(f"No recordings in {recordings}: nothing to compare with.")
        return 0
    commands = Path(sys.executable).parent
    with tempfile.TemporaryDirectory() as scratch:
        store = Path(scratch, "store")
        build = [recordings / "models" / "build_models.py", "--archiver", commands / "model-archiver", "--out", store]
        subprocess.run([sys.executable, *build], check=True)
        compare = [recordings / "conform.py", "compare", "--server-cmd", commands / "multi-model-server"]
        compare += ["--archiver-cmd", commands / "model-archiver", "--store", store, "--workdir", Path(scratch, "run")]
        for setting in MMS_WAY:
            compare += ["--extra-config", setting]
        try:
            done = subprocess.run([sys.executable, *compare, *arguments], check=False, text=True, capture_output=True)
        finally:
            end_servers(scratch)
    print(done.stdout, done.stderr, sep="\n")
    return unexplained(done.stdout)


def end_servers(folder: str) -> None:
    """End the background servers whose temp folder lies in `folder`: where MMS fails, ours may start and stay."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if MARKER in process.cmdline() and process.environ().get("TEMP", "").startswith(folder):
                process.terminate()
                process.wait(20)


def unexplained(output: str) -> int:
    """Return how many differences are neither the reference's faults nor explained in docs/migration.md."""
    explained = (Path(__file__).parent.parent / "docs" / "migration.md").read_text()
    failed = [line.split()[1] for line in output.splitlines() if line.startswith("   FAIL ")]
    surprises = [name for name in failed if f"`{name}`" not in explained]
    for name in failed:
        print("explained in docs/migration.md:" if name not in surprises else "NOT EXPLAINED:", name)
    if " match (" not in output:
        print("The comparison did not finish.")
        return 1
    return len(surprises)


if __name__ == "__main__":
    sys.exit(min(main(Path(sys.argv[1]), sys.argv[2:]), 1))
