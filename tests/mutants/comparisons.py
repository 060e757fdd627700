"""What the suite compares by itself, whatever number an oracle is given: found in its code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from copy import deepcopy

from tests.mutants.reading import assigned, functions_of, is_number, reached, scenario_of

LEAST_STATUS = 100
"""Numbers from here on that something is compared with for being the same are statuses of HTTP."""


def comparisons(source: str) -> Iterator[str]:
    """``KV-02 if age - limit - lab.deadline > 0``: what one file's scenarios compare by themselves.

    Whatever says more or less, and whether something is so and so often, with names put in where
    they stand for a sum. A status of HTTP is no number of anything.

    Args:
        source: The file.
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
    """``closing _closed if took - CLOSE_WITHIN > 0``: the same of a module that many scenarios use.

    Each function and method of it is named before what it compares. The lesser and the greater of
    two is a comparison as well, where a number is among them (``min(cap, LONGEST)``), and so is a
    time that holds where none is declared (``declared('refresh', 5.0)``). What only chooses a word
    for a person is none.

    Args:
        where: What the module is called.
        source: The module.
    """
    for name, function in functions_of(ast.parse(source)):
        sums, words = _Sums(function), _words(function)
        for node in ast.walk(function):
            if isinstance(node, ast.Compare) and _measures(node) and node not in words:
                yield f"{where} {name} if {ast.unparse(sums.visit(deepcopy(node)))}"
            elif isinstance(node, ast.Call) and _chooses(node):
                yield f"{where} {name} takes {ast.unparse(node)}"


def _chooses(call: ast.Call) -> bool:
    """Whether it gives the lesser or the greater of several, or what holds if nothing is said."""
    if ast.unparse(call.func) == "self.declared":
        return True
    least = isinstance(call.func, ast.Name) and call.func.id in ("min", "max")
    return least and len(call.args) > 1 and any(_has_number(one) for one in call.args)


def _has_number(value: ast.expr) -> bool:
    """Whether a number is in it, or a name of one: ``0.5 * self.ttl``, ``LONGEST``."""
    return any(
        (isinstance(one, ast.Constant) and is_number(one) and one.value != 0)
        or (isinstance(one, ast.Name) and one.id.isupper())
        for one in ast.walk(value)
    )


def _words(function: ast.FunctionDef) -> set[ast.AST]:
    """Comparisons that only make text: ``"s" * (count != 1)``, ``"was" if count == 1 else ...``."""
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
    """Whether a comparison is of more and less, or with a count."""
    if any(isinstance(one, ast.Lt | ast.LtE | ast.Gt | ast.GtE) for one in node.ops):
        return True
    equal = any(isinstance(one, ast.Eq | ast.NotEq) for one in node.ops)
    return equal and any(
        is_number(side) and ast.literal_eval(ast.unparse(side)) < LEAST_STATUS
        for side in (node.left, *node.comparators)
        if isinstance(side, ast.Constant)
    )


class _Sums(ast.NodeTransformer):
    """Puts in what a function's names stand for, where that is a sum, a product or a number."""

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
        """A name, or what it stands for."""
        value = self._sums.get(node.id)
        return node if value is None else self.visit(deepcopy(value))
