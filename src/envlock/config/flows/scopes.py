"""What binds the names of one Python file: imports, assignments, classes, functions, each as the text has it."""

from __future__ import annotations

import _ast as ast
from collections.abc import Iterator, Sequence

from envlock.config.flows.flow_reader import statements
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

DEEPEST = 40
"""How far names lead to each other."""

METAFLOW_STAR = (
    "FlowSpec",
    "FlowMutator",
    "step",
    *(name + suffix for name in ("conda", "pypi", "pip", "named_env", "sys_packages") for suffix in ("", "_base")),
)
"""What `from metaflow import *` brings that matters here."""


class Module:
    """A module of the project, and what its names are bound to."""

    def __init__(self, path: str, tree: ast.Module) -> None:
        self.path = path
        self.tree = tree
        self.scope = Scope(tree.body)
        self.called: dict[str, None] = {}
        self.touched: dict[str, int] = {}
        """Classes that get or lose attributes after they were made, with the line."""
        for statement in statements(tree.body):
            for node in walk(statement) if isinstance(statement, (ast.Expr, ast.Assign, ast.For, ast.If)) else ():
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    self.called[node.func.id] = None
                    if node.func.id in {"setattr", "delattr"} and node.args and isinstance(node.args[0], ast.Name):
                        self.touched[node.args[0].id] = node.lineno
                elif (
                    isinstance(node, ast.Attribute)
                    and isinstance(node.ctx, ast.Store)
                    and isinstance(node.value, ast.Name)
                ):
                    self.touched[node.value.id] = node.lineno

    @property
    def has_metaflow_star(self) -> bool:
        """Whether any name that the file does not define may be Metaflow's."""
        return any(star.module.partition(".")[0] == "metaflow" for star in self.scope.stars)

    def origin(self, node: ast.expr) -> tuple[str, str] | None:
        """The module that a name or a dotted name is imported from, and its name there; None where it is not imported.

        A call means what it calls, and another name for a name means that: `s` after `s = step`.
        """
        parts: list[str] = []
        for _ in range(DEEPEST):
            if isinstance(node, ast.Call):
                node = node.func
            while isinstance(node, ast.Attribute):
                parts.insert(0, node.attr)
                node = node.value
            if not isinstance(node, ast.Name):
                return None
            bindings = self.scope.names.get(node.id)
            if bindings is None:
                is_metaflows = self.has_metaflow_star and node.id in METAFLOW_STAR and not parts
                return ("metaflow", node.id) if is_metaflows else None
            bound = bindings[-1]
            if isinstance(bound, Import):
                *path, name = (*filter(None, (bound.module, bound.name)), *parts)
                return ("." * bound.level + ".".join(path), name) if path or bound.level else None
            if not isinstance(bound, (ast.Name, ast.Attribute)):
                return None
            node = bound
        return None


class Import(NamedTuple):
    """A name that an import brings."""

    module: str
    level: int
    name: str
    """Empty where it is the module that is meant."""
    line: int


Binding: TypeAlias = "ast.AST | Import | None"
"""What gives a name its value; None for a parameter."""


class Scope:
    """The names of a module or of a function, each with everything that may have bound it."""

    def __init__(self, body: Sequence[ast.stmt]) -> None:
        self.names: dict[str, list[Binding]] = {}
        self.stars: list[Import] = []
        self._read(body, surely=True)

    def _read(self, body: Sequence[ast.stmt], *, surely: bool) -> None:
        for statement in body:
            if isinstance(statement, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                self._bind(statement.name, statement, surely=surely)
            elif isinstance(statement, (ast.Import, ast.ImportFrom)):
                self._read_import(statement, surely=surely)
            elif isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
                for target in statement.targets if isinstance(statement, ast.Assign) else [statement.target]:
                    self._assign(target, statement.value, surely=surely)
            elif isinstance(statement, ast.If) and _is_for_type_checkers(statement.test):
                self._read(statement.orelse, surely=surely)
            else:
                for field in ("body", "handlers", "orelse", "finalbody", "cases"):
                    for child in getattr(statement, field, ()):
                        inner = child.body if isinstance(child, (ast.ExceptHandler, ast.match_case)) else [child]
                        self._read(inner, surely=surely and isinstance(statement, ast.With))

    def _read_import(self, statement: ast.Import | ast.ImportFrom, *, surely: bool) -> None:
        for alias in statement.names:
            if isinstance(statement, ast.Import):
                module = alias.name if alias.asname else alias.name.partition(".")[0]
                self._bind(alias.asname or module, Import(module, 0, "", statement.lineno), surely=surely)
                continue
            found = Import(statement.module or "", statement.level, alias.name, statement.lineno)
            if alias.name == "*":
                self.stars.append(found)
            else:
                self._bind(alias.asname or alias.name, found, surely=surely)

    def _assign(self, target: ast.expr, value: ast.expr, *, surely: bool) -> None:
        if isinstance(target, ast.Name):
            self._bind(target.id, value, surely=surely)
        elif isinstance(target, (ast.Tuple, ast.List)):
            values = value.elts if isinstance(value, (ast.Tuple, ast.List)) else []
            for number, each in enumerate(target.elts):
                self._assign(each, values[number] if len(values) == len(target.elts) else value, surely=surely)

    def _bind(self, name: str, binding: Binding, *, surely: bool) -> None:
        if surely:
            self.names[name] = [binding]
        else:
            self.names.setdefault(name, []).append(binding)


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it, in no order."""
    pending = [node]
    while pending:
        each = pending.pop()
        yield each
        for field in each._fields:
            value = getattr(each, field, None)
            inner = value if isinstance(value, list) else (value,)
            pending += [child for child in inner if isinstance(child, ast.AST)]


def _is_for_type_checkers(test: ast.expr) -> bool:
    return last_name(test) == "TYPE_CHECKING"


def last_name(node: ast.expr) -> str:
    """The last part of a name or a dotted name; empty for other expressions."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def source_of(node: ast.AST) -> str:
    """An expression as a message shows it: on one line, without credentials, not too long.

    >>> import ast
    >>> source_of(ast.parse("f('https://me:secret@index.example/simple')").body[0])
    "f('https://index.example/simple')"
    """
    from ast import unparse

    from envlock.redaction import shown

    try:
        return shown(" ".join(unparse(node).split()))
    except (RecursionError, ValueError):  # deeper than Python walks, or a number with more digits than it writes
        return "..."
