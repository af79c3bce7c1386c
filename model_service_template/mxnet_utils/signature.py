"""What a model's archive says about its inputs and classes: signature.json and synset.txt."""

import json
from pathlib import Path
from typing import Any


def load_signature(model_dir: str | Path) -> dict[str, Any]:
    """Read signature.json: `{"inputs": [{"data_name": "data", "data_shape": [0, 3, 224, 224]}, ...]}`."""
    path = Path(model_dir, "signature.json")
    if not path.is_file():
        raise FileNotFoundError("Missing signature.json file.")
    signature: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for entry in signature["inputs"]:
        if not entry.get("data_name") or not entry.get("data_shape"):
            raise ValueError(f"signature.json: an input needs a data_name and a data_shape, not {entry}.")
    return signature


def load_labels(model_dir: str | Path) -> list[str] | None:
    """Read synset.txt, one class a line; None if there is no such file."""
    path = Path(model_dir, "synset.txt")
    if not path.is_file():
        return None
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]


def find_input(request: dict[str, Any], signature: dict[str, Any], number: int = 0) -> Any:
    """Look up what a client sent for an input of the signature, or None.

    It is the form field or file of the input's name, or the entry of that name in a JSON object; the first input may
    also be the whole body or a field named `data`.
    """
    name = signature["inputs"][number]["data_name"]
    body = request.get("body")
    values = [request.get(name)]
    if isinstance(body, dict):
        values.append(body.get(name))
    elif number == 0:
        values.append(body)
    if number == 0:
        values.append(request.get("data"))
    return next((value for value in values if value is not None), None)


def check_input_shape(inputs: list[Any], signature: dict[str, Any]) -> None:
    """Raise ValueError where arrays for a model do not have the shapes of its signature; any batch size is right."""
    expected = signature["inputs"]
    if len(inputs) != len(expected):
        raise ValueError(f"The signature has {len(expected)} inputs, not {len(inputs)}.")
    for array, entry in zip(inputs, expected, strict=True):
        if not fits(array.shape[1:], entry["data_shape"][1:]):
            raise ValueError(
                f"Input {entry['data_name']} must have the shape {entry['data_shape']}, not {array.shape}."
            )


def fits(shape: tuple[int, ...], wanted: list[int]) -> bool:
    """Tell whether a shape is the wanted one, where 0 stands for any length."""
    return len(shape) == len(wanted) and all(want in (0, have) for want, have in zip(wanted, shape, strict=True))
