"""The option --convert."""

from pathlib import Path
from model_archiver.archive import ArchiveFile
from model_archiver.errors import ModelArchiverError


def find_onnx_file(root: Path) -> Path | None:
    files = sorted(path for path in root.iterdir() if path.name.endswith(".onnx") and path.is_file())
    if len(files) > 1:
        names = [path.name for path in files]
        raise ModelArchiverError(
            f"model-archiver expects only one .onnx file in the folder. Found {len(names)} files {names} in model-path."
        )
    if files:
        raise ModelArchiverError("Onnx package is not installed. Run command: pip install onnx to install it.")
    return None


def convert_onnx(onnx_file: Path, files: list[ArchiveFile], *, model_name: str, output: Path) -> list[ArchiveFile]:
    return files
