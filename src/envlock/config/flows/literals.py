"""The values of literals in a Python file, and of constants made of literals, there and in the project's other files.

Runs nothing and guesses nothing. A value that depends on anything but the text of these files is no literal: what a
module from elsewhere defines, what is assigned twice, what may be changed later.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence

from envlock.config.flows.flow_reader import statements
from envlock.config.flows.module_names import ModuleNames
from envlock.config.flows.scopes import Import, Module, source_of

_DEEPEST = 50
_CHANGING_METHODS = {
    "add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "remove", "setdefault", "update",
}  # fmt: skip

_CONVERSIONS: dict[str, Callable[[object], str]] = {"s": str, "r": repr, "a": ascii}


class NotLiteral(Exception):
    """A value that only a run would tell; the message shows the expression that is why, `line` where it stands."""

    def __init__(self, node: ast.AST, reason: str) -> None:
        self.line: int = getattr(node, "lineno", 0)
        super().__init__(f"`{source_of(node)}` {reason}")


class Literals:
    """Reads expressions of one module, at module level or inside a class of it.

    `names` knows the project's other modules, from which the module may import constants, and `others` what reads them.
    """

    def __init__(
        self, module: Module, names: ModuleNames | None = None, others: dict[str, Literals] | None = None
    ) -> None:
        self._module = module
        self._names = names
        self._others = {} if others is None else others
        self._others[module.path] = self
        self._changed = dict(_changes(module.tree))
        self._scopes: dict[str, dict[str, ast.expr | str]] = {"": _bindings(module.tree.body)}
        self._depth = 0

    def value(self, node: ast.expr, scope: str = "") -> object:
        """The value of an expression in the module, or in the body of the class `scope`.

        Made of str, int, float, bool, None, list and dict. Raises NotLiteral.
        """
        self._depth += 1
        try:
            if self._depth > _DEEPEST:
                raise NotLiteral(node, "refers to itself")
            found = self._value(node, scope)
            if isinstance(found, int) and found.bit_length() > 64:
                raise NotLiteral(node, "has too many digits")
            return found
        except (TypeError, LookupError, ValueError, AttributeError, OverflowError) as error:
            raise NotLiteral(node, f"cannot be computed ({error})") from None
        finally:
            self._depth -= 1

    def defines(self, name: str) -> bool:
        """Whether the module binds a name at its own level, other than by an import."""
        return name in self._scope("")

    def _value(self, node: ast.expr, scope: str) -> object:
        if isinstance(node, ast.Constant) and isinstance(node.value, (str, int, float, type(None))):
            return node.value
        if isinstance(node, ast.Name):
            return self._name(node, scope)
        if isinstance(node, ast.Attribute):
            return self._attribute(node)
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            return [item for element in node.elts for item in self._items(element, scope)]
        if isinstance(node, ast.Dict):
            return self._dict(node, scope)
        if isinstance(node, ast.BinOp):
            return self._operation(node, scope)
        if isinstance(node, ast.JoinedStr):
            return "".join(self._piece(piece, scope) for piece in node.values)
        if isinstance(node, ast.Subscript):
            container = self.value(node.value, scope)
            if isinstance(container, (dict, list)):
                return container[self.value(node.slice, scope)]  # type: ignore[call-overload]
        if isinstance(node, ast.Call):
            return self._call(node, scope)
        raise NotLiteral(node, "is not a literal")

    def _name(self, node: ast.Name, scope: str) -> object:
        origin = self._module.origin(node)
        for where in dict.fromkeys((scope, "")):
            bound = self._scope(where).get(node.id)
            if bound is None:
                continue
            if isinstance(bound, str):
                raise NotLiteral(node, bound)
            if node.id in self._changed:
                raise NotLiteral(node, f"may be changed on line {self._changed[node.id]}")
            return self.value(bound, where)
        if origin is not None:
            return self._imported(node, node.id, origin)
        raise NotLiteral(node, "is not defined in this file")

    def _imported(self, node: ast.expr, bound: str, origin: tuple[str, str]) -> object:
        """The value of a constant that a module of the project defines; `bound` is the name that the import binds."""
        module, name = origin
        bindings = self._module.scope.names.get(bound, [])
        only = bindings[0] if len(bindings) == 1 else None
        if self._names is None or not isinstance(only, Import) or bound in self._changed:
            raise NotLiteral(node, f"comes from the module `{module}`")
        why = ""
        for meaning in self._names.modules_of(module, self._module):
            other = self._others.get(meaning.path) or Literals(meaning, self._names, self._others)
            try:
                return other.value(ast.copy_location(ast.Name(name, ast.Load()), node))
            except NotLiteral as reason:
                why = "" if " comes from the module " in str(reason) else f", where {reason}"
        raise NotLiteral(node, f"comes from the module `{module}`{why}")

    def _attribute(self, node: ast.Attribute) -> object:
        if isinstance(node.value, ast.Name) and self._class(node.value.id) is not None:
            if node.value.id in self._changed:
                raise NotLiteral(node, f"may be changed on line {self._changed[node.value.id]}")
            for name in self._lineage(node.value.id):
                if node.attr in self._scope(name):
                    return self._name(ast.copy_location(ast.Name(node.attr, ast.Load()), node), name)
        origin = self._module.origin(node)
        if origin is not None and isinstance(node.value, ast.Name):
            return self._imported(node, node.value.id, origin)
        if origin is not None:
            raise NotLiteral(node, f"comes from the module `{origin[0]}`")
        raise NotLiteral(node, "is not a literal")

    def _class(self, name: str) -> ast.ClassDef | None:
        bound = self._module.scope.names.get(name, [None])[-1]
        return bound if isinstance(bound, ast.ClassDef) else None

    def _lineage(self, name: str) -> list[str]:
        """A class and its bases in this file, nearest first."""
        names = [name]
        for each in names:  # which grows meanwhile
            found = self._class(each)
            bases = [base.id for base in found.bases if isinstance(base, ast.Name)] if found is not None else []
            names += [base for base in bases if base not in names and self._class(base) is not None]
        return names

    def _scope(self, name: str) -> dict[str, ast.expr | str]:
        if name not in self._scopes:
            found = self._class(name)
            self._scopes[name] = _bindings(found.body) if found is not None else {}
        return self._scopes[name]

    def _items(self, element: ast.expr, scope: str) -> list[object]:
        if isinstance(element, ast.Starred):
            return _as_list(self.value(element.value, scope))
        return [self.value(element, scope)]

    def _dict(self, node: ast.Dict, scope: str) -> dict[object, object]:
        made: dict[object, object] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                made.update(_as_dict(self.value(value, scope)))
            else:
                made[self.value(key, scope)] = self.value(value, scope)
        return made

    def _operation(self, node: ast.BinOp, scope: str) -> object:
        left, right = self.value(node.left, scope), self.value(node.right, scope)
        if isinstance(node.op, ast.BitOr):
            return {**_as_dict(left), **_as_dict(right)}
        if isinstance(node.op, ast.Add):
            if isinstance(left, list):
                return [*left, *_as_list(right)]
            if isinstance(left, str) and isinstance(right, str):
                return left + right
        if isinstance(node.op, ast.Mod) and isinstance(left, str):
            return left % (tuple(right) if isinstance(right, list) else right)
        raise NotLiteral(node, "is not a literal")

    def _piece(self, piece: ast.expr, scope: str) -> str:
        if not isinstance(piece, ast.FormattedValue):
            return str(self.value(piece, scope))
        value = self.value(piece.value, scope)
        if piece.conversion != -1:
            value = _CONVERSIONS[chr(piece.conversion)](value)
        return format(value, str(self.value(piece.format_spec, scope)) if piece.format_spec else "")

    def _call(self, node: ast.Call, scope: str) -> object:
        function = node.func
        if isinstance(function, ast.Name) and function.id not in self._scope("") and self._module.origin(node) is None:
            if function.id == "dict" and len(node.args) <= 1:
                made = dict(_pairs(self.value(node.args[0], scope))) if node.args else {}
                for keyword in node.keywords:
                    value = self.value(keyword.value, scope)
                    made.update(_as_dict(value) if keyword.arg is None else {keyword.arg: value})
                return made
            if function.id in {"list", "tuple"} and len(node.args) == 1 and not node.keywords:
                return _as_list(self.value(node.args[0], scope))
        if isinstance(function, ast.Attribute) and function.attr in {"format", "join", "copy"}:
            subject = self.value(function.value, scope)
            arguments = [self.value(argument, scope) for argument in node.args]
            named = {str(keyword.arg): self.value(keyword.value, scope) for keyword in node.keywords if keyword.arg}
            if isinstance(subject, str) and function.attr == "format" and len(named) == len(node.keywords):
                return subject.format(*arguments, **named)
            if isinstance(subject, str) and function.attr == "join" and len(arguments) == 1:
                return subject.join(map(str, _as_list(arguments[0])))
            if isinstance(subject, (dict, list)) and function.attr == "copy" and not arguments:
                return subject.copy()
        module, name = self._module.origin(node) or ("", "")
        if name == "config_expr" and module.partition(".")[0] == "metaflow":
            raise NotLiteral(node, "is taken from a Config when the flow runs")
        raise NotLiteral(node, "is a call, known only when the flow runs")


def _as_list(value: object) -> list[object]:
    if isinstance(value, (list, dict)):
        return list(value)
    raise TypeError("not a list")


def _as_dict(value: object) -> dict[object, object]:
    if isinstance(value, dict):
        return value
    raise TypeError("not a dict")


def _pairs(value: object) -> dict[object, object]:
    if isinstance(value, dict):
        return value
    return dict(tuple(_as_list(pair)) for pair in _as_list(value))  # type: ignore[misc]


def _bindings(body: Sequence[ast.stmt]) -> dict[str, ast.expr | str]:
    """For each name that a body binds: the expression that it is fixed to, or why it is not."""
    found: dict[str, ast.expr | str] = {}
    outermost = set(map(id, body))
    for statement in statements(body):
        value = _assigned(statement) if id(statement) in outermost else None
        for name in _bound_names(statement):
            if name in found:
                found[name] = "is assigned more than once"
            elif value is not None:
                found[name] = value
            else:
                found[name] = f"is not a literal (line {statement.lineno})"
    return found


def _assigned(statement: ast.stmt) -> ast.expr | None:
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1 and isinstance(statement.targets[0], ast.Name):
        return statement.value
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return statement.value
    return None


def _bound_names(statement: ast.stmt) -> list[str]:
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [statement.name]
    if isinstance(statement, ast.AnnAssign) and statement.value is None:
        return []
    # The statements inside of a block come on their own; here only the expressions of its head count.
    heads = [child for child in ast.iter_child_nodes(statement) if isinstance(child, (ast.expr, ast.withitem))]
    return [
        node.id
        for head in heads
        for node in ast.walk(head)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]


def _changes(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Names whose value may be changed after it was assigned, each with a line that may do so."""
    for statement in statements(tree.body):
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call) and not _prints(statement.value):
            for argument in (*statement.value.args, *(keyword.value for keyword in statement.value.keywords)):
                yield from ((node.id, node.lineno) for node in ast.walk(argument) if isinstance(node, ast.Name))
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            yield from ((name, node.lineno) for name in node.names)
        elif isinstance(node, (ast.Subscript, ast.Attribute)) and not isinstance(node.ctx, ast.Load):
            yield from _root(node)
        elif (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CHANGING_METHODS
        ):
            yield from _root(node.func)


def _root(node: ast.expr) -> Iterator[tuple[str, int]]:
    line = node.lineno
    while isinstance(node, (ast.Subscript, ast.Attribute)):
        node = node.value
    if isinstance(node, ast.Name):
        yield node.id, line


def _prints(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id == "print"
