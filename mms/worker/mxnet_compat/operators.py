"""Make mxnet's operator functions when they are first called: all together they take half of the time of its import."""

from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

Make = Callable[[Any, str, str], FunctionType]
"""mxnet's own: writes, compiles and returns the function of an operator, from its handle and its two names."""


def defer(base: Any) -> None:
    """Have the module mxnet.base register functions that are written and compiled later, one by one."""
    init_op_module, init_np_op_module = base._init_op_module, base._init_np_op_module

    def init_op(root_namespace: str, module_name: str, make_op_func: Make) -> None:
        init_op_module(root_namespace, module_name, _deferred(make_op_func))

    def init_np_op(root_module_name: str, np_module_name: str, mx_module_name: str | None, make_op_func: Make) -> None:
        init_np_op_module(root_module_name, np_module_name, mx_module_name, _deferred(make_op_func))

    base._init_op_module, base._init_np_op_module = init_op, init_np_op


def _deferred(make: Make) -> Make:
    def make_deferred(handle: Any, name: str, func_name: str) -> FunctionType:
        function = FunctionType(_CODE, make.__globals__, func_name)
        function.__kwdefaults__ = {"_complete": _Completion(function, make, handle, name)}
        function.__doc__ = _DOC
        return function

    return make_deferred


def _stub(*args: Any, _complete: Any, **options: Any) -> Any:
    return _complete()(*args, **options)


# As if mxnet had compiled it: what asks for the function's source shall not find this file.
_CODE: CodeType = _stub.__code__.replace(co_filename="<string>")
_DOC = "An operator of MXNet. Its signature and its documentation are complete once it has been called."


class _Completion:
    """Turns a function that `_stub` stands for into what mxnet would have made in the first place."""

    __slots__ = ("_function", "_handle", "_make", "_name")

    def __init__(self, function: FunctionType, make: Make, handle: Any, name: str) -> None:
        self._function, self._make, self._handle, self._name = function, make, handle, name

    def __call__(self) -> FunctionType:
        """Complete the function, which stays the same object, and return it. Several threads may do so at once."""
        function = self._function
        made = self._make(self._handle, self._name, function.__name__)
        if function.__doc__ == _DOC:  # else mxnet has given it a better one
            function.__doc__ = made.__doc__
        function.__defaults__ = made.__defaults__  # the stub's code does not look at them
        function.__code__ = made.__code__
        function.__kwdefaults__ = None
        return function
