"""The model archive format (.mar) and the command `model-archiver`; usable without the server."""

from typing import TYPE_CHECKING

from model_archiver.errors import InvalidModelException, ModelArchiverError
from model_archiver.manifest import Manifest

if TYPE_CHECKING:
    from model_archiver.packaging import package_model

__all__ = ["InvalidModelException", "Manifest", "ModelArchiverError", "__version__", "package_model"]

__version__ = "2.0.0"


def __getattr__(name: str) -> object:
    # The server and its workers import this package for the manifest and should not pay for what only packs.
    if name == "package_model":
        from model_archiver.packaging import package_model

        return package_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
