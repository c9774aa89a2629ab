"""What the names of a Python module are bound to, read from its text and from that of other modules of the project.

Nothing is run. Only files of the project are read, and only those that a question leads to. Where a name may mean
several things, it means all of them; where that cannot be read, it is `Unknown`, with the line that is why.
"""

from __future__ import annotations

import _ast as ast
import builtins
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from envlock.config.flows.flow_reader import TOO_DEEP, Doubt, parse_tree, statements
from envlock.config.flows.scopes import (
    DEEPEST,
    METAFLOW_STAR,
    Binding,
    Import,
    Module,
    Scope,
    last_name,
    source_of,
)
from envlock.errors import EnvlockError
from envlock.revisions import exists, is_file, is_folder
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

NO_STEPS = "no steps"
"""What a name is bound to if it has no say in a flow's steps: of Python itself, or a plain value."""

_STEPLESS_MODULES = {"typing_extensions"}
"""Modules beside Python's own whose classes bring no steps: a flow that has them as bases is known whole."""

_MAKE_CLASSES = {"NamedTuple", "NewType", "TypedDict", "namedtuple"}
"""Functions of Python itself that give classes without steps."""


class Class(NamedTuple):
    """A class, and the functions around it, the outermost first."""

    file: Module
    node: ast.ClassDef
    scopes: tuple[Scope, ...]


class Function(NamedTuple):
    """A function, and those around it."""

    file: Module
    node: ast.FunctionDef
    scopes: tuple[Scope, ...]


class Folder(NamedTuple):
    """A package without an `__init__.py`."""

    path: str


class OfMetaflow(NamedTuple):
    """Something of Metaflow's own, by its last name."""

    name: str


class Unknown(NamedTuple):
    """What cannot be read."""

    doubt: Doubt
    name: str = ""
    """What it is called where it comes from."""


Meaning: TypeAlias = "Class | Function | Module | Folder | OfMetaflow | Unknown | str"
"""What a name is bound to; `NO_STEPS` for what has no say in a flow's steps."""


class ModuleNames:
    """The modules of a project, as far as somebody asks for them. `path` is the file that they are asked from."""

    def __init__(self, path: Path, project: Path | None = None) -> None:
        self._path = os.path.abspath(path)  # noqa: PTH100  pathlib's own keeps `..`
        own = os.path.dirname(self._path)  # noqa: PTH120
        self._project = os.path.abspath(project) if project else own  # noqa: PTH100
        self._roots = tuple(dict.fromkeys((own, self._project, os.path.join(self._project, "src"))))  # noqa: PTH118
        self.modules: dict[str, Module | Unknown] = {}
        self._depth = 0
        # What was worked out before, or is being worked out: names may lead to each other in any number of ways.
        self._known: dict[tuple[ast.AST, tuple[Scope, ...]], list[Meaning] | None] = {}
        self._exported: dict[tuple[str, str], list[Meaning] | None] = {}
        self._scopes: dict[ast.FunctionDef, Scope] = {}

    def local_scope(self, function: ast.FunctionDef) -> Scope:
        """The names of a function, parameters included."""
        if function not in self._scopes:
            scope = self._scopes[function] = Scope(function.body)
            given = function.args
            for each in (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg):
                if each is not None and each.arg not in scope.names:
                    scope.names[each.arg] = [None]
        return self._scopes[function]

    def meanings(self, node: ast.AST, file: Module, scopes: tuple[Scope, ...]) -> list[Meaning]:
        """Every value that an expression may have. Each is worked out once."""
        key = (node, scopes)
        found = self._known.get(key)
        if found is not None:
            return found
        if key in self._known or self._depth == DEEPEST:
            return [Unknown(doubt_of(file, node, "refers to itself"))]
        self._known[key] = None
        self._depth += 1
        try:
            found = self._known[key] = list(dict.fromkeys(self._meanings_of(node, file, scopes)))
            return found
        finally:
            self._depth -= 1

    def _meanings_of(self, node: ast.AST, file: Module, scopes: tuple[Scope, ...]) -> list[Meaning]:
        if isinstance(node, ast.Name):
            found = self.name(node.id, file, scopes, node)
            if found is None and hasattr(builtins, node.id):
                return [NO_STEPS]
            return (
                [Unknown(doubt_of(file, node, "is not defined in a file that can be read"))] if found is None else found
            )
        if isinstance(node, ast.Attribute):
            return [
                inner
                for meaning in self.meanings(node.value, file, scopes)
                for inner in self._attribute(meaning, node.attr, lambda: doubt_of(file, node, "cannot be read"))
            ]
        if isinstance(node, ast.Subscript):  # of a generic class
            return self.meanings(node.value, file, scopes)
        if isinstance(node, ast.Constant):
            return []
        if isinstance(node, ast.IfExp):
            return self.meanings(node.body, file, scopes) + self.meanings(node.orelse, file, scopes)
        if isinstance(node, ast.BoolOp):
            return [meaning for each in node.values for meaning in self.meanings(each, file, scopes)]
        if isinstance(node, ast.Call):
            return self._called(node, file, scopes)
        return [Unknown(doubt_of(file, node, "cannot be read"))]

    def _called(self, node: ast.Call, file: Module, scopes: tuple[Scope, ...]) -> list[Meaning]:
        """What a call gives: the classes that a function of the project returns."""
        found: list[Meaning] = []
        for meaning in self.meanings(node.func, file, scopes):
            if isinstance(meaning, Function):
                inside = (*meaning.scopes, self.local_scope(meaning.node))
                for statement in statements(meaning.node.body):
                    if isinstance(statement, ast.Return) and statement.value is not None:
                        found += self.meanings(statement.value, meaning.file, inside)
            elif meaning == NO_STEPS and last_name(node.func) in _MAKE_CLASSES:
                found.append(NO_STEPS)
            else:
                found.append(Unknown(doubt_of(file, node, "is made when the flow is read")))
        return found

    def name(
        self, name: str, file: Module, scopes: tuple[Scope, ...], node: ast.AST | None = None
    ) -> list[Meaning] | None:
        """What a name may be bound to; None where nothing binds it."""
        for number in range(len(scopes), 0, -1):
            if name in scopes[number - 1].names:
                return self._bound(scopes[number - 1].names[name], file, scopes[:number], node)
        if name in file.scope.names:
            return self._bound(file.scope.names[name], file, (), node)
        for star in reversed([star for scope in (file.scope, *scopes) for star in scope.stars]):
            found = self._starred(name, star, file)
            if found is not None:
                return found
        return None

    def _starred(self, name: str, star: Import, file: Module) -> list[Meaning] | None:
        for module in self._module(star, file):
            if isinstance(module, Module):
                found = self._exported_name(name, module)
                if found is not None:
                    return found
            elif isinstance(module, OfMetaflow) and name in METAFLOW_STAR:
                return [OfMetaflow(name)]
            elif isinstance(module, Unknown) and not hasattr(builtins, name):
                return [module._replace(name=name)]
        return None

    def _exported_name(self, name: str, file: Module) -> list[Meaning] | None:
        """What another module finds under a name of `file`; each is worked out once."""
        key = (file.path, name)
        if key not in self._exported:
            self._exported[key] = None
            self._depth += 1
            try:
                self._exported[key] = self.name(name, file, ()) if self._depth < DEEPEST else None
            finally:
                self._depth -= 1
        return self._exported[key]

    def _bound(
        self, bindings: Sequence[Binding], file: Module, scopes: tuple[Scope, ...], node: ast.AST | None
    ) -> list[Meaning]:
        found: list[Meaning] = []
        for each in bindings:
            if isinstance(each, ast.ClassDef):
                found.append(Class(file, each, scopes))
            elif isinstance(each, ast.FunctionDef):
                found.append(Function(file, each, scopes))
            elif isinstance(each, Import):
                reason = f"`{each.name}` is not in the module `{each.module}`"
                doubt = partial(Doubt, Path(file.path), each.line, reason)
                for module in self._module(each, file):
                    found += self._attribute(module, each.name, doubt) if each.name else [module]
            elif each is None:
                found.append(Unknown(doubt_of(file, node, "is a parameter") if node else Doubt(Path(file.path), 1, "")))
            else:
                found += self.meanings(each, file, scopes)
        return found

    def _attribute(self, meaning: Meaning, name: str, doubt: Callable[[], Doubt]) -> list[Meaning]:
        if isinstance(meaning, Module):
            found = self._exported_name(name, meaning)
            if found is None and os.path.basename(meaning.path) == "__init__.py":  # noqa: PTH119
                found = self._file_at(os.path.dirname(meaning.path), name)  # noqa: PTH120
            return [Unknown(doubt(), name)] if found is None else found
        if isinstance(meaning, Folder):
            found = self._file_at(meaning.path, name)
            return [Unknown(doubt(), name)] if found is None else found
        if isinstance(meaning, OfMetaflow):
            return [OfMetaflow(name)]
        if isinstance(meaning, Class):
            inner = Scope(meaning.node.body).names.get(name)
            return [Unknown(doubt(), name)] if inner is None else self._bound(inner, meaning.file, meaning.scopes, None)
        if isinstance(meaning, Unknown):
            return [meaning._replace(name=name)]
        return [NO_STEPS] if meaning == NO_STEPS else [Unknown(doubt(), name)]

    def modules_of(self, name: str, file: Module) -> list[Module]:
        """The files of the project that a module's name means in a file; leading dots are those of an import."""
        path = name.lstrip(".")
        wanted = Import(path, len(name) - len(path), "", 0)
        return [each for each in self._module(wanted, file) if isinstance(each, Module)]

    def _module(self, wanted: Import, file: Module) -> list[Meaning]:
        """The module that an import leads to: a file of the project, where it is one."""
        names = wanted.module.split(".") if wanted.module else []
        folders = list(self._roots)
        if wanted.level:
            folder = file.path
            for _ in range(wanted.level):
                folder = os.path.dirname(folder)  # noqa: PTH120
            folders = [folder]
        elif names[0] == "metaflow":
            return [OfMetaflow(names[-1])]
        for folder in folders:
            found: list[Meaning] | None = [Folder(folder)]
            if wanted.level and is_file(os.path.join(folder, "__init__.py")) and not names:  # noqa: PTH118
                found = self._file_at(os.path.dirname(folder), os.path.basename(folder))  # noqa: PTH119, PTH120
            for name in names:
                at = found[0] if found else None
                if isinstance(at, Module):
                    at = Folder(os.path.dirname(at.path)) if os.path.basename(at.path) == "__init__.py" else None  # noqa: PTH119, PTH120
                found = (
                    self._file_at(at.path, name)
                    if isinstance(at, Folder)
                    else found
                    if isinstance(at, Unknown)
                    else None
                )
            if found is not None:
                return found
        if not wanted.level and (names[0] in sys.stdlib_module_names or names[0] in _STEPLESS_MODULES):
            return [NO_STEPS]
        shown = "." * wanted.level + wanted.module
        return [Unknown(Doubt(Path(file.path), wanted.line, f"the module `{shown}` is no file of the project"))]

    def _file_at(self, folder: str, name: str) -> list[Meaning] | None:
        """The module of that name in a folder, if it is there."""
        place = os.path.join(folder, name)  # noqa: PTH118
        if not any(place.startswith(f"{root.rstrip('/')}/") for root in self._roots):
            return None
        for path in (os.path.join(place, "__init__.py"), f"{place}.py"):  # noqa: PTH118
            if exists(path, follow=False):
                return [self._parsed(path)]
        return [Folder(place)] if is_folder(place) else None

    def _parsed(self, path: str) -> Module | Unknown:
        if path not in self.modules:
            try:
                self.modules[path] = Module(path, parse_tree(Path(path), project=Path(self._project)))
            except RecursionError:
                self.modules[path] = Unknown(Doubt(Path(path), 1, f"`{os.path.basename(path)}`: {TOO_DEEP}"))  # noqa: PTH119
            except EnvlockError as error:
                line = error.locations[0].line if error.locations else None
                self.modules[path] = Unknown(Doubt(Path(path), line or 1, error.message))
        return self.modules[path]


def doubt_of(file: Module, node: ast.AST, reason: str) -> Doubt:
    """A doubt whose sentence begins with the text of a node."""
    return Doubt(Path(file.path), getattr(node, "lineno", 1), f"`{source_of(node)}` {reason}")
