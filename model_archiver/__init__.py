"""The model archive format (.mar) and the command `model-archiver`; usable without the server."""

from model_archiver.errors import InvalidModelException, ModelArchiverError
from model_archiver.manifest import Manifest
from model_archiver.packaging import package_model

__all__ = ["InvalidModelException", "Manifest", "ModelArchiverError", "__version__", "package_model"]

__version__ = "2.0.0"
