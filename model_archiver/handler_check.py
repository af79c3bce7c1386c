"""Look, without importing it, whether a handler is where the command line says. Runs in the command line tool."""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_DEFAULT_FUNCTION = "handle"


@dataclass(frozen=True, slots=True)
class HandlerProblem:
    """Why a handler will perhaps not load."""

    message: str
    certain: bool
    """False where the module may still come from PYTHONPATH on the machine that serves the model."""


def find_handler_problem(model_path: Path, handler: str) -> HandlerProblem | None:
    """Check the file and the function, or the class, that `handler` names; None if nothing is wrong or can be said.

    An empty handler is no problem: the register request may name one.
    """
    if not handler:
        return None
    module, _, function = handler.partition(":")
    file = _find_module(model_path, module)
    if file is None:
        return HandlerProblem(
            f"The module of handler {handler} is not in the model path; it must come from PYTHONPATH then.",
            certain=False,
        )
    try:
        tree = ast.parse(file.read_bytes(), filename=str(file))
    except (SyntaxError, ValueError, RecursionError) as exc:
        return HandlerProblem(f"{file} is not valid Python for this interpreter: {exc}.", certain=True)
    return _missing_entry_point(tree, file, function or _DEFAULT_FUNCTION)


def _find_module(model_path: Path, module: str) -> Path | None:
    name = module.removesuffix(".py")
    candidates = (f"{name}.py", f"{name.replace('.', '/')}.py", f"{name.replace('.', '/')}/__init__.py")
    for candidate in candidates:
        path = model_path / candidate
        if "\0" not in candidate and path.is_file():
            return path
    return None


def _missing_entry_point(tree: ast.Module, file: Path, function: str) -> HandlerProblem | None:
    # As the worker looks: the attribute of that name, else the one class that the module defines.
    statements = list(_module_level(tree.body))
    classes = [node.name for node in statements if isinstance(node, ast.ClassDef)]
    names = {name for node in statements for name in _bound_names(node)}
    if len(classes) == 1 or names & {function, "*", "__getattr__"}:
        return None
    found = f"{len(classes)} classes" if classes else "no class"
    return HandlerProblem(
        f"{file} has no function {function}, and {found} where one could take its place.", certain=True
    )


def _module_level(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Walk what runs when the module is imported, so not the bodies of functions and classes."""
    for node in body:
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield from _module_level(ast.iter_child_nodes(node))


def _bound_names(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Name(id=name, ctx=ast.Store()):
            yield name
        case ast.alias(name=name, asname=asname):
            yield asname or name.partition(".")[0]
        case _:
            pass
