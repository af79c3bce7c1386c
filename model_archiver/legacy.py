"""The MANIFEST.json of MMS 0.x archives, read only. Runs in the front process.

Such a file lies at the top of the archive, or one folder down, and uses keys such as `Model-Name` and `Service`.
"""

import json
from collections.abc import Mapping

from model_archiver.errors import InvalidModelException
from model_archiver.manifest import Engine, Manifest, Model, Publisher, json_object, json_text

LEGACY_MANIFEST = "MANIFEST.json"


def parse_legacy_manifest(document: Mapping[str, object]) -> Manifest:
    """Turn a 0.x manifest into a `Manifest`: the service file becomes the handler, "snapshot" the model version.

    Raises `InvalidModelException` where no service file is named.
    Same rule as MMS: frontend/modelarchive/.../LegacyManifest.java migrate.
    """
    model = json_object(document, "Model", LEGACY_MANIFEST)
    service = json_text(model, "Service", LEGACY_MANIFEST)
    if not service:
        raise InvalidModelException("Missing Service entry in MANIFEST.json")
    extensions = {
        "parametersFile": json_text(model, "Parameters", LEGACY_MANIFEST),
        "symbolFile": json_text(model, "Symbol", LEGACY_MANIFEST),
    }
    return Manifest(
        model=Model(
            name=json_text(model, "Model-Name", LEGACY_MANIFEST),
            handler=service,
            version="snapshot",
            description=json_text(model, "Description", LEGACY_MANIFEST),
            extensions={key: value for key, value in extensions.items() if value},
        ),
        engine=_engine(document),
        description=json_text(document, "Model-Archive-Description", LEGACY_MANIFEST),
        license=json_text(document, "License", LEGACY_MANIFEST),
        publisher=_publisher(document),
        specification_version="0.1",
        raw=document,
    )


def _engine(document: Mapping[str, object]) -> Engine | None:
    # The value of "MXNet" is a version; an old exporter wrote other things there, which MMS ignores.
    engine = document.get("Engine")
    if not isinstance(engine, dict):
        return None
    version = engine.get("MXNet")
    if isinstance(version, str):
        return Engine("MXNet", version)
    return Engine("MXNet", json.dumps(version) if isinstance(version, int | float) else None)


def _publisher(document: Mapping[str, object]) -> Publisher | None:
    created_by = document.get("Created-By")
    if not isinstance(created_by, dict):
        return None
    return Publisher(
        json_text(created_by, "Author", LEGACY_MANIFEST), json_text(created_by, "Author-Email", LEGACY_MANIFEST)
    )
