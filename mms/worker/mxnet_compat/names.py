"""The names and methods that current Python and numpy have dropped, put back for mxnet and handlers of its time."""

import builtins
import numbers
import re
import struct
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any


def restore(numpy: Any) -> None:
    """Give numpy the names back that it lacks. One that is there, the handler's own perhaps, is not touched."""
    # In vars(), since asking numpy for a retired name with getattr() warns.
    for name, value in _numpy_names(numpy).items():
        if name not in vars(numpy):
            setattr(numpy, name, value)


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


def make_arrays_convertible(mxnet: Any) -> None:
    """Give NDArray what `numpy.asarray` asks for; without it numpy walks an array element by element, or fails."""

    def to_numpy(self: Any, dtype: Any = None, copy: bool | None = None) -> Any:
        if copy is False:
            raise ValueError("An NDArray cannot become a numpy array without a copy.")
        array = self.asnumpy()
        return array if dtype is None else array.astype(dtype, copy=False)

    if "__array__" not in vars(mxnet.nd.NDArray):
        mxnet.nd.NDArray.__array__ = to_numpy


def mend_recordio(mxnet: Any, numpy: Any) -> None:
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
