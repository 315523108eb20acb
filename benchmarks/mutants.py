"""Single mutants of a Python module, each a change of one place that tests should notice.

Used by `mutation_sample.py`. The rest of the source stays as it is, so that a mutant's diff is the change alone.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.MatMult: ast.Add,
}
NAMES = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "argmin": "argmax",
    "argmax": "argmin",
    "minimum": "maximum",
    "maximum": "minimum",
    "floor": "ceil",
    "ceil": "floor",
    "mean": "sum",
    "startswith": "endswith",
    "endswith": "startswith",
}
SPEECH = {"print", "log", "warn", "warning", "info", "debug", "Option", "Argument", "TypeVar", "NewType"}
"""Calls whose constants are words to people, or declarations."""


class Mutant(NamedTuple):
    """One changed place."""

    path: str
    line: int
    kind: str
    source: str
    """The whole module, changed."""
    diff: str

    @property
    def id(self) -> str:
        """The same for the same change of the same module, wherever its line has moved."""
        change = [line for line in self.diff.splitlines() if line[:1] in "+-"]
        return hashlib.sha256("\n".join([self.path, self.kind, *change]).encode()).hexdigest()[:12]


def mutants(root: Path, path: str) -> Iterator[Mutant]:
    """Yield every mutant of ``root/path``; those of one id once."""
    source = (root / path).read_text()
    known = set()
    for node, kind, text in _changes(ast.parse(source)):
        changed = _replace(source, node, text)
        if changed == source or not _compiles(changed):
            continue
        lines = difflib.unified_diff(source.splitlines(), changed.splitlines(), path, path, lineterm="", n=1)
        mutant = Mutant(path, node.lineno, kind, changed, "\n".join(lines))
        if mutant.id not in known:
            known.add(mutant.id)
            yield mutant


Change = tuple[ast.expr | ast.stmt, str, str]


def _changes(module: ast.Module) -> Iterator[Change]:
    for node in _code(module):
        for kind, visit in VISITS.items():
            for place, text in visit(node):
                yield place, kind, text


def _code(node: ast.AST, *, constants: bool = True) -> Iterator[ast.AST]:
    """Yield all nodes below that decide something: no annotations, decorators, f-strings or messages of errors."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "bases", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.JoinedStr):
                continue
            inner = constants and not _is_speech(child)
            if inner or not isinstance(child, ast.Constant):
                yield child
            yield from _code(child, constants=inner)


def _is_speech(node: ast.AST) -> bool:
    if isinstance(node, ast.Raise):
        return True
    return isinstance(node, ast.Call) and _called(node) in SPEECH


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _comparison(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            for other in COMPARISONS[type(operator)]:
                ops = [*node.ops[:place], other(), *node.ops[place + 1 :]]
                yield node, f"({ast.unparse(ast.Compare(node.left, ops, node.comparators))})"


def _operator(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        if isinstance(node.op, ast.BitOr) and _is_type(node):
            return
        yield node, f"({ast.unparse(ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right))})"
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
        yield node, f"({ast.unparse(node.operand)})"
    elif isinstance(node, ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield node, f"({ast.unparse(ast.BoolOp(other, node.values))})"


def _is_type(node: ast.BinOp) -> bool:
    """Whether ``|`` joins types, as in ``str | None``."""
    sides = [node.left, node.right]
    return any(isinstance(side, ast.Constant) and side.value is None for side in sides) or any(
        isinstance(side, ast.Name) and (side.id[0].isupper() or side.id in ("str", "int", "float", "dict", "list"))
        for side in sides
    )


def _constant(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    if isinstance(node, ast.Constant):
        value = node.value
        if isinstance(value, bool):
            yield node, repr(not value)
        elif isinstance(value, int):
            yield node, repr(value + 1)
            if value > 0:
                yield node, repr(value - 1)
        elif isinstance(value, float):
            yield node, repr(2 * value if value else 1.0)


def _condition(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    if isinstance(node, ast.If | ast.IfExp | ast.While) and not _is_type_checking(node.test):
        yield node.test, f"(not ({ast.unparse(node.test)}))"
    elif isinstance(node, ast.comprehension):
        for test in node.ifs:
            yield test, "True"


def _is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in ("TYPE_CHECKING", "__name__ == '__main__'")


def _call(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    if isinstance(node, ast.Call) and _called(node) in NAMES:
        name = NAMES[_called(node)]
        function = node.func
        text = f"{ast.unparse(function.value)}.{name}" if isinstance(function, ast.Attribute) else name
        yield function, text


def _statement(node: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    """Remove a call made for its effect, an assignment to what lives on, a raise, a jump; swap the jumps."""
    if isinstance(node, ast.Expr):
        is_removable = isinstance(node.value, ast.Call) and _called(node.value) not in SPEECH
    elif isinstance(node, ast.Assign):
        is_removable = any(isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets)
    else:
        is_removable = isinstance(node, ast.AugAssign | ast.Raise)
    if is_removable:
        yield node, "pass"
    elif isinstance(node, ast.Continue | ast.Break):
        yield node, "break" if isinstance(node, ast.Continue) else "continue"


def _default(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """Change a default that is no number, which `_constant` changes: none to zero."""
    if isinstance(node, ast.arguments):
        for default in [*node.defaults, *node.kw_defaults]:
            if isinstance(default, ast.Constant) and default.value is None:
                yield default, "0"


VISITS: dict[str, Callable[[ast.AST], Iterator[tuple[ast.expr | ast.stmt, str]]]] = {
    "comparison": _comparison,
    "operator": _operator,
    "constant": _constant,
    "condition": _condition,
    "function": _call,
    "statement": _statement,
    "default": _default,
}


def _replace(source: str, node: ast.expr | ast.stmt, text: str) -> str:
    """The source with a node's text replaced; columns of `ast` are bytes of UTF-8."""
    lines = source.encode().splitlines(keepends=True)
    first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    start = sum(map(len, lines[:first])) + node.col_offset
    end = sum(map(len, lines[:last])) + (node.end_col_offset or 0)
    data = source.encode()
    return (data[:start] + text.encode() + data[end:]).decode()


def _compiles(source: str) -> bool:
    try:
        compile(source, "<mutant>", "exec")
    except SyntaxError:
        return False
    return True
