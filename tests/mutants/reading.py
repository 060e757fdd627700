"""How tests of the suite read its code."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping


def scenario_of(function: ast.FunctionDef) -> str:
    """Return the id in a function's mark, or ""."""
    for mark in function.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.scenario":
            return str(ast.literal_eval(mark.args[0]))
    return ""


def reached(
    function: ast.FunctionDef, functions: Mapping[str, ast.FunctionDef]
) -> list[ast.FunctionDef]:
    """Return the function, and those of its file that it calls, directly or not."""
    reached, left = {function.name}, [function.name]
    while left:
        for node in ast.walk(functions[left.pop()]):
            if isinstance(node, ast.Name) and node.id in functions and node.id not in reached:
                reached.add(node.id)
                left.append(node.id)
    return [functions[name] for name in sorted(reached)]


def functions_of(module: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Yield functions and methods (``Footprint.growth``) by name."""
    for node in module.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for one in node.body:
                if isinstance(one, ast.FunctionDef):
                    yield f"{node.name}.{one.name}", one


def assigned(node: ast.Assign) -> Iterator[tuple[str, ast.expr]]:
    """Yield an assignment's names, each with its value."""
    for target in node.targets:
        if isinstance(target, ast.Name):
            yield target.id, node.value
        elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            for one, value in zip(target.elts, node.value.elts, strict=True):
                yield ast.unparse(one), value


def is_number(value: ast.expr) -> bool:
    """Return whether a value is made of numbers alone: ``15 * 60.0``."""
    if isinstance(value, ast.BinOp):
        return is_number(value.left) and is_number(value.right)
    return (
        isinstance(value, ast.Constant)
        and isinstance(value.value, int | float)
        and not isinstance(value.value, bool)
    )
