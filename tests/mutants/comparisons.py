"""The comparisons in the suite's own code, beside the numbers given to oracles."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from copy import deepcopy

from tests.mutants.reading import assigned, functions_of, is_number, reached, scenario_of

LEAST_STATUS = 100
"""Numbers from here on that are tested for equality are HTTP statuses."""


def comparisons(source: str) -> Iterator[str]:
    """Yield what a file's scenarios compare: ``KV-02 if age - limit - lab.deadline > 0``.

    Only more and less, and counts; no HTTP statuses. A name for a sum is replaced by it.
    """
    module = ast.parse(source)
    functions = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef)}
    for function in functions.values():
        if scenario := scenario_of(function):
            for one in reached(function, functions):
                sums = _Sums(one)
                for node in ast.walk(one):
                    if isinstance(node, ast.Compare) and _measures(node):
                        yield f"{scenario} if {ast.unparse(sums.visit(deepcopy(node)))}"


def judgements(where: str, source: str) -> Iterator[str]:
    """Yield the same of a module for many scenarios: ``closing _closed if took - LIMIT > 0``."""
    for name, function in functions_of(ast.parse(source)):
        sums, words = _Sums(function), _words(function)
        for node in ast.walk(function):
            if isinstance(node, ast.Compare) and _measures(node) and node not in words:
                yield f"{where} {name} if {ast.unparse(sums.visit(deepcopy(node)))}"
            elif isinstance(node, ast.Call) and _chooses(node):
                yield f"{where} {name} takes {ast.unparse(node)}"


def _chooses(call: ast.Call) -> bool:
    """Return whether it gives a minimum, a maximum, or a default."""
    if ast.unparse(call.func) == "self.declared":
        return True
    least = isinstance(call.func, ast.Name) and call.func.id in ("min", "max")
    return least and len(call.args) > 1 and any(_has_number(one) for one in call.args)


def _has_number(value: ast.expr) -> bool:
    """Return whether a value has a number, or a constant's name: ``0.5 * self.ttl``."""
    return any(
        (isinstance(one, ast.Constant) and is_number(one) and one.value != 0)
        or (isinstance(one, ast.Name) and one.id.isupper())
        for one in ast.walk(value)
    )


def _words(function: ast.FunctionDef) -> set[ast.AST]:
    """Return comparisons that only make text: ``"s" * (count != 1)``."""
    found: set[ast.AST] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) and _is_text(node.left):
            found.add(node.right)
        elif isinstance(node, ast.IfExp) and _is_text(node.body) and _is_text(node.orelse):
            found.add(node.test)
    return found


def _is_text(value: ast.expr) -> bool:
    text = isinstance(value, ast.Constant) and isinstance(value.value, str)
    return text or isinstance(value, ast.JoinedStr)


def _measures(node: ast.Compare) -> bool:
    """Return whether it is of more and less, or with a count."""
    if any(isinstance(one, ast.Lt | ast.LtE | ast.Gt | ast.GtE) for one in node.ops):
        return True
    equal = any(isinstance(one, ast.Eq | ast.NotEq) for one in node.ops)
    return equal and any(
        is_number(side) and ast.literal_eval(ast.unparse(side)) < LEAST_STATUS
        for side in (node.left, *node.comparators)
        if isinstance(side, ast.Constant)
    )


class _Sums(ast.NodeTransformer):
    """Replaces names that stand for a sum, a product or a number."""

    def __init__(self, function: ast.FunctionDef) -> None:
        changed = [node for node in ast.walk(function) if isinstance(node, ast.Assign)]
        pairs = [pair for node in changed for pair in assigned(node)]
        again = [
            ast.unparse(node.target)
            for node in ast.walk(function)
            if isinstance(node, ast.AugAssign)
        ]
        names = [*(name for name, _ in pairs), *again]
        self._sums = {
            name: value
            for name, value in pairs
            if names.count(name) == 1 and (isinstance(value, ast.BinOp) or is_number(value))
        }

    def visit_Name(self, node: ast.Name) -> ast.expr:
        value = self._sums.get(node.id)
        return node if value is None else self.visit(deepcopy(value))
