"""Let mxnet 1.9.1 import and work on current Python and numpy. Worker process, and any tool that imports mxnet.

mxnet's last release uses names that numpy and the standard library have dropped since. `install` registers an import
hook that puts the missing ones back at the moment mxnet is imported, and never for a program that does not. Standard
library only, and nothing of this package, so that it can be used on its own.
"""

import builtins
import importlib.util
import numbers
import re
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any


def install() -> None:
    """Register the import hook, once."""
    if not any(isinstance(finder, _MXNetFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _MXNetFinder())


class _MXNetFinder(MetaPathFinder):
    """Finds mxnet as the other finders do, and has it loaded by `_MXNetLoader`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "mxnet":
            return None
        for finder in sys.meta_path:
            if isinstance(finder, _MXNetFinder):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _MXNetLoader(spec.loader)
                return spec
        return None


class _MXNetLoader(Loader):
    """Wraps the real loader for the one call that runs mxnet's code, then steps aside."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        import numpy

        _restore(numpy, _numpy_names(numpy))
        stand_ins = _distutils()
        sys.modules.update(stand_ins)
        try:
            self._loader.exec_module(module)
        finally:
            # mxnet compares its versions while it is imported; nobody else shall take these for the real distutils.
            for name in stand_ins:
                sys.modules.pop(name, None)
        _make_arrays_convertible(module)
        _mend_recordio(module, numpy)


def _restore(module: ModuleType, names: Mapping[str, object]) -> None:
    # In vars(), since asking numpy for a retired name with getattr() warns.
    for name, value in names.items():
        if name not in vars(module):
            setattr(module, name, value)


def _numpy_names(numpy: Any) -> dict[str, object]:
    """Return the names that mxnet and handlers of its time expect in this numpy: `numpy.bool`, `numpy.PINF`..."""
    names: dict[str, object] = {}
    release = tuple(map(int, re.findall(r"\d+", numpy.__version__)[:2]))
    if release >= (1, 24):
        # Before that they exist, with a warning that is the handler's own to get.
        names.update({name: getattr(builtins, name) for name in ("bool", "int", "float", "complex", "object", "str")})
    if release >= (2, 0):
        infinity, nan = numpy.inf, numpy.nan
        names.update(
            {"PZERO": 0.0, "NZERO": -0.0, "NAN": nan, "NaN": nan, "NINF": -infinity},
            **dict.fromkeys(("PINF", "Inf", "Infinity", "infty"), infinity),
            float_=numpy.float64,
            complex_=numpy.complex128,
            unicode_=numpy.str_,
            string_=numpy.bytes_,
            alltrue=numpy.all,
            sometrue=numpy.any,
            round_=numpy.round,
            product=numpy.prod,
            cumproduct=numpy.cumprod,
            trapz=numpy.trapezoid,
            in1d=lambda ar1, ar2, **options: numpy.isin(numpy.ravel(ar1), ar2, **options),
            msort=lambda a: numpy.sort(a, axis=0),
            compat=SimpleNamespace(basestring=str),
        )
    # mx.np looks these up when it is imported; numpy has had none of them since 1.20.
    names.update({name: _removed(name) for name in ("mirr", "npv", "pmt", "ppmt", "pv", "rate")})
    return names


def _removed(name: str) -> Callable[..., object]:
    def function(*_args: object, **_options: object) -> object:
        raise NotImplementedError(f"numpy.{name} is no longer part of numpy.")

    function.__name__ = name
    return function


class _Version(str):
    """As much of distutils' LooseVersion and StrictVersion as mxnet uses: comparing release numbers."""

    __slots__ = ()

    def _key(self) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", self)]

    def __lt__(self, other: str) -> bool:
        return self._key() < _Version(other)._key()

    def __le__(self, other: str) -> bool:
        return self._key() <= _Version(other)._key()

    def __gt__(self, other: str) -> bool:
        return self._key() > _Version(other)._key()

    def __ge__(self, other: str) -> bool:
        return self._key() >= _Version(other)._key()


def _distutils() -> dict[str, ModuleType]:
    """Return modules to stand in for distutils, which Python 3.12 dropped; none where there is one."""
    if "distutils" in sys.modules or importlib.util.find_spec("distutils") is not None:
        return {}
    package, version = ModuleType("distutils"), ModuleType("distutils.version")
    vars(version).update(LooseVersion=_Version, StrictVersion=_Version)
    vars(package).update(version=version, __path__=[])
    return {"distutils": package, "distutils.version": version}


def _make_arrays_convertible(mxnet: Any) -> None:
    """Give NDArray what `numpy.asarray` asks for; without it numpy walks an array element by element, or fails."""

    def to_numpy(self: Any, dtype: Any = None, copy: bool | None = None) -> Any:
        if copy is False:
            raise ValueError("An NDArray cannot become a numpy array without a copy.")
        array = self.asnumpy()
        return array if dtype is None else array.astype(dtype, copy=False)

    if "__array__" not in vars(mxnet.nd.NDArray):
        mxnet.nd.NDArray.__array__ = to_numpy


def _mend_recordio(mxnet: Any, numpy: Any) -> None:
    """Replace the two functions that call `ndarray.tostring`, which numpy 2.3 dropped."""
    if "tostring" in vars(numpy.ndarray):
        return
    recordio = mxnet.recordio

    def pack(header: Any, s: bytes) -> bytes:
        header = recordio.IRHeader(*header)
        if isinstance(header.label, numbers.Number):
            header = header._replace(flag=0)
        else:
            label = numpy.asarray(header.label, dtype=numpy.float32)
            header = header._replace(flag=label.size, label=0)
            s = label.tobytes() + s
        return struct.pack(recordio._IR_FORMAT, *header) + s

    def pack_img(header: Any, img: Any, quality: int = 95, img_fmt: str = ".jpg") -> bytes:
        cv2 = recordio.cv2
        if cv2 is None:
            raise ImportError("mxnet.recordio.pack_img needs OpenCV for Python: pip install opencv-python-headless.")
        flags = {
            ".JPG": cv2.IMWRITE_JPEG_QUALITY,
            ".JPEG": cv2.IMWRITE_JPEG_QUALITY,
            ".PNG": cv2.IMWRITE_PNG_COMPRESSION,
        }
        flag = flags.get(img_fmt.upper())
        encoded, data = cv2.imencode(img_fmt, img, None if flag is None else [flag, quality])
        if not encoded:
            raise ValueError(f"OpenCV could not encode the image as {img_fmt}.")
        return pack(header, data.tobytes())

    pack.__doc__, pack_img.__doc__ = recordio.pack.__doc__, recordio.pack_img.__doc__
    recordio.pack, recordio.pack_img = pack, pack_img
