"""The manifest of a model archive: read by the front process, written by the command line tool."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from model_archiver.errors import InvalidModelException

MANIFEST_PATH = "MAR-INF/MANIFEST.json"
RUNTIMES = ("python", "python2", "python3")
# A larger file is not a manifest; the front process holds the whole of it in memory.
MAX_MANIFEST_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Engine:
    """The framework a model was made with. Shown by `GET /models/{name}`, otherwise without effect."""

    name: str | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Publisher:
    """Who made the archive."""

    author: str | None = None
    email: str | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """What to serve: `handler` is `module`, `module.py`, `module:function` or `dir/module.py:function`."""

    name: str | None = None
    handler: str | None = None
    version: str | None = None
    description: str | None = None
    extensions: Mapping[str, object] | None = field(default=None, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an archive says about itself. Reading checks types only; `validate` checks that it can be served."""

    model: Model = field(default_factory=Model)
    runtime: str | None = "python"
    engine: Engine | None = None
    description: str | None = None
    license: str | None = None
    publisher: Publisher | None = None
    user_data: object = field(default=None, hash=False)
    specification_version: str | None = "1.0"
    implementation_version: str | None = "1.0"
    model_server_version: str | None = "1.0"
    raw: Mapping[str, object] | None = field(default=None, compare=False, repr=False)
    """The parsed file with every key it has, as handlers see it; None where the archive has no manifest."""

    def with_overrides(
        self,
        *,
        name: str | None = None,
        handler: str | None = None,
        runtime: str | None = None,
        default_name: str | None = None,
        default_handler: str | None = None,
    ) -> Self:
        """Apply what the register request says, then the defaults for what is still missing.

        Empty texts count as not given. `raw` stays as the archive has it.
        Same rule as MMS: frontend/server/.../wlm/ModelManager.java registerModel.
        """
        model = replace(
            self.model,
            name=name or self.model.name or default_name,
            handler=handler or self.model.handler or default_handler,
        )
        return replace(self, model=model, runtime=runtime or self.runtime)

    def validate(self) -> None:
        """Raise `InvalidModelException`, with MMS's text, unless a worker could be started for this manifest."""
        if not self.model.name:
            raise InvalidModelException("Model name is not defined.")
        if not self.model.handler:
            raise InvalidModelException("Model handler is not defined.")
        if self.runtime not in RUNTIMES:
            raise InvalidModelException("Runtime is not defined or invalid.")
        if self.engine is not None and not self.engine.name:
            raise InvalidModelException("engineName is required in <engine>.")

    def dump(self) -> str:
        """Write the manifest as MMS's archiver does: two-space indentation, its key order, no final newline."""
        model = {
            "modelName": self.model.name,
            "handler": self.model.handler,
            "description": self.model.description,
            "modelVersion": self.model.version,
            "extensions": self.model.extensions,
        }
        engine, publisher = self.engine, self.publisher
        document: dict[str, object] = {
            "runtime": self.runtime,
            "model": _present(model),
            "engine": _present({"engineName": engine.name, "engineVersion": engine.version}) if engine else None,
            "modelServerVersion": self.model_server_version,
            "implementationVersion": self.implementation_version,
            "specificationVersion": self.specification_version,
            "license": self.license,
            "description": self.description,
            "userData": self.user_data,
            "publisher": _present({"author": publisher.author, "email": publisher.email}) if publisher else None,
        }
        return json.dumps(_present(document), indent=2)


def default_manifest() -> Manifest:
    """Return what an archive without any manifest counts as (MMS: the constructor of archive/Manifest.java)."""
    return Manifest(license="Apache 2.0")


def parse_manifest(document: Mapping[str, object]) -> Manifest:
    """Read the keys the server knows and ignore the others. Missing keys and nulls mean the default.

    A number where a text belongs is taken as its text, as MMS does (engine versions are often numbers). A `runtime`
    that is there but no text becomes None, which `validate` refuses unless the register request names another.
    """
    where = MANIFEST_PATH
    model = json_object(document, "model", where)
    extensions = model.get("extensions")
    engine = json_object(document, "engine", where) if document.get("engine") is not None else None
    publisher = json_object(document, "publisher", where) if document.get("publisher") is not None else None
    runtime = document.get("runtime", "python")
    return Manifest(
        model=Model(
            name=json_text(model, "modelName", where),
            handler=json_text(model, "handler", where),
            version=json_text(model, "modelVersion", where),
            description=json_text(model, "description", where),
            extensions=extensions if isinstance(extensions, dict) else None,
        ),
        runtime=runtime if isinstance(runtime, str) else None,
        engine=None
        if engine is None
        else Engine(json_text(engine, "engineName", where), json_text(engine, "engineVersion", where)),
        description=json_text(document, "description", where),
        license=json_text(document, "license", where),
        publisher=None
        if publisher is None
        else Publisher(json_text(publisher, "author", where), json_text(publisher, "email", where)),
        user_data=document.get("userData"),
        specification_version=json_text(document, "specificationVersion", where) or "1.0",
        implementation_version=json_text(document, "implementationVersion", where) or "1.0",
        model_server_version=json_text(document, "modelServerVersion", where) or "1.0",
        raw=document,
    )


def load_json_object(path: Path, *, label: str) -> dict[str, object]:
    """Parse a JSON file whose top is an object; `label` is what its messages call the file."""
    with path.open("rb") as file:
        content = file.read(MAX_MANIFEST_BYTES + 1)
    if len(content) > MAX_MANIFEST_BYTES:
        raise InvalidModelException(f"Failed to parse {label}: it has more than {MAX_MANIFEST_BYTES} bytes.")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as exc:
        raise InvalidModelException(f"Failed to parse {label}: {exc}.") from exc
    if not isinstance(document, dict):
        raise InvalidModelException(f"Failed to parse {label}: it must be a JSON object.")
    return document


def json_object(parent: Mapping[str, object], key: str, label: str) -> Mapping[str, object]:
    """Return the object under `key`; nothing and null count as an empty one."""
    value = parent.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidModelException(f"Failed to parse {label}: {key} must be a JSON object.")
    return value


def json_text(parent: Mapping[str, object], key: str, label: str) -> str | None:
    """Return the text under `key`, None where it is missing or null."""
    value = parent.get(key)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise InvalidModelException(f"Failed to parse {label}: {key} must be a string.")


def _present(document: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in document.items() if value is not None}
