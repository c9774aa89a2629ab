"""The flows of a Python file and their steps, read from its text. The file is never imported or run.

This is on the path of `envlock check` and of every task start, so it imports nothing heavy, and
looks at module and class bodies only, and at the last statement of steps. A flow whose steps are not told there,
because of a base in another module or of names that may mean several things, is left to `flow_classes.py`.
"""

from __future__ import annotations

import _ast as ast
import builtins
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from envlock.config.flows.errors import FlowFileMissing, FlowFileSyntax, shown_path
from envlock.errors import Location
from envlock.files import FLOW_BYTES, NotPlain, is_of, read_file

# Bases from these modules bring no steps: a flow that has them is still known whole.
STEPLESS_MODULES = {"abc", "builtins", "collections", "enum", "typing", "typing_extensions"}


class Doubt(NamedTuple):
    """Something that may bring steps to a flow, and cannot be read."""

    path: Path
    line: int
    reason: str
    """A sentence: what it is, and why it cannot."""


class FlowSource(NamedTuple):
    """A flow, as its file declares it."""

    name: str
    """The class's name, which is Metaflow's name for the flow."""
    line: int
    steps: tuple[tuple[str, int], ...]
    """Each step and its line: `start` first, `end` last, the others in the file's order."""
    complete: bool
    """False where there may be steps that are not seen."""
    doubts: tuple[Doubt, ...] = ()
    """What may bring steps; where nothing is missing for all that, it does not."""
    targets: tuple[str, ...] = ()
    """Where there are doubts: the steps that those which are seen go on to."""
    files: tuple[Path, ...] = ()
    """The other modules of the project that were read for it."""

    def missing(self, named: Iterable[str] = ()) -> tuple[str, ...]:
        """The steps that the flow surely has and that are neither seen nor `named`.

        Metaflow refuses a flow with steps that none leads to. So where nothing is missing, nothing else is there.
        """
        known = {*self.step_names(), *named}
        return tuple(step for step in dict.fromkeys(("start", *self.targets, "end")) if step not in known)

    def step_names(self) -> tuple[str, ...]:
        """The steps' names, in order."""
        return tuple(name for name, _ in self.steps)


def read_flows(
    path: Path, *, named_by: Callable[[], Location] | None = None, project: Path | None = None, wanted: str = ""
) -> tuple[FlowSource, ...]:
    """The flows in a Python file, in its order; none if it has none.

    `named_by` tells, for an error, where the file is named. No link in the folder `project` leads out of the project.
    With `wanted`, the name of a flow, only that one is surely read whole, and found where the file makes it in a
    function or imports it. Costs one parse of the file, a millisecond or two for two hundred lines, and one of each
    module of the project that has to be read. Raises FlowFileMissing, UnsafeFile or FlowFileSyntax.
    """
    tree = parse_tree(path, named_by=named_by, project=project)
    try:
        return _flows_of(tree, path, project, wanted)
    except RecursionError:
        named = (named_by(),) if named_by else ()
        raise FlowFileSyntax(path, None, "it is nested too deeply", locations=named) from None


def _flows_of(tree: ast.Module, path: Path, project: Path | None, wanted: str) -> tuple[FlowSource, ...]:
    module = FlowModule(tree)
    flows = module.flows()
    asked = [flow for flow in flows if flow.name == wanted] if wanted else flows
    if (wanted and not asked) or not all(map(module.is_plain, asked)):
        from envlock.config.flows.flow_classes import FlowReader

        return FlowReader(path, project).flows(tree, wanted)
    return tuple(
        FlowSource(
            name=flow.name,
            line=flow.lineno,
            steps=tuple((step.name, step.lineno) for step in module.steps(flow)),
            complete=not module.foreign_bases(flow),
        )
        for flow in flows
    )


def parse_module(path: Path) -> FlowModule:
    """The parsed file. Raises FlowFileMissing, UnsafeFile or FlowFileSyntax."""
    return FlowModule(parse_tree(path))


def parse_tree(
    path: Path, *, named_by: Callable[[], Location] | None = None, project: Path | None = None
) -> ast.Module:
    """The syntax tree of a file. Raises FlowFileMissing, UnsafeFile or FlowFileSyntax.

    An error repeats a line of the file only where that is of the project, or where no project names it.
    """
    try:
        source = read_file(path, FLOW_BYTES, within=project)
    except NotPlain as error:
        from envlock.config.errors import UnsafeFile

        raise UnsafeFile(shown_path(path), error.reason, (named_by(),) if named_by else ()) from None
    except OSError as error:
        is_missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
        reason = "" if is_missing else error.strerror or str(error)
        raise FlowFileMissing(path, reason, locations=(named_by(),) if named_by else ()) from None
    try:
        with warnings.catch_warnings():
            # An odd escape in the user's strings is none of our business.
            warnings.simplefilter("ignore")
            tree = compile(source, str(path), "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
            assert isinstance(tree, ast.Module)
            return tree
    except SyntaxError as error:
        named = (named_by(),) if named_by else ()
        text = (error.text or "") if project is None or is_of(path, project) else ""
        raise FlowFileSyntax(path, error.lineno, error.msg, text, locations=named) from None
    except (ValueError, RecursionError, MemoryError) as error:
        named = (named_by(),) if named_by else ()
        raise FlowFileSyntax(path, None, str(error) or "it is nested too deeply", locations=named) from None


def statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a body and of the `if`, `try`, `with`, `match` and loop blocks in it, in order.

    Never into functions and classes.
    """
    for statement in body:
        yield statement
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        for field in ("body", "handlers", "orelse", "finalbody", "cases"):
            for child in getattr(statement, field, ()):
                if isinstance(child, (ast.ExceptHandler, ast.match_case)):
                    yield from statements(child.body)
                elif isinstance(child, ast.stmt):
                    yield from statements([child])


def next_steps(method: ast.FunctionDef) -> Iterator[ast.Attribute]:
    """The steps that a step goes on to. Metaflow itself reads its last statement, in this form and no other."""
    last = method.body[-1]
    call = last.value if isinstance(last, ast.Expr) else None
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "next":
        for given in call.args:
            for target in given.values if isinstance(given, ast.Dict) else (given,):
                if isinstance(target, ast.Attribute):
                    yield target


def lacking_steps(steps: Sequence[ast.FunctionDef]) -> dict[str, ast.Attribute | None]:
    """The steps that a flow with these surely has beside, and what goes on to each; nothing goes on to `start`."""
    keywords = [key.arg for step in steps for each in step.decorator_list for key in getattr(each, "keywords", ())]
    # Another step may be told to be the first; one that is alone is.
    wanted: dict[str, ast.Attribute | None] = {"start": None} if len(steps) > 1 and "start" not in keywords else {}
    wanted.update((target.attr, target) for step in steps for target in next_steps(step))
    for step in steps:
        wanted.pop(step.name, None)
    return wanted


class FlowModule:
    """A parsed Python file, asked for its flows, and for what its names mean."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        self.classes: dict[str, ast.ClassDef] = {}
        self._imported: dict[str, tuple[str, str]] = {}
        """Local name to (module, name there)."""
        self._modules: dict[str, str] = {}
        """Local name to the module that it stands for."""
        self._called: set[str] = set()
        self._is_ambiguous = False
        """Whether a name is bound twice, or a class is changed after it was made."""
        self.has_metaflow_star = False
        """Whether any name that the file does not define may be Metaflow's."""
        self._foreign_star = False
        for statement in statements(tree.body):
            self._read(statement)

    def flows(self) -> list[ast.ClassDef]:
        """The classes that are flows, in order.

        Those below FlowSpec, and those below a class of another module that have steps or are called by the file.
        """
        return [each for each in self.classes.values() if self._is_flow(each)]

    def is_plain(self, flow: ast.ClassDef) -> bool:
        """Whether this file alone tells all steps of a flow, and in the simplest of ways."""
        if (
            self._is_ambiguous
            or self._foreign_star
            or {"setattr", "delattr"} & self._called
            or self.foreign_bases(flow)
            or (lacking_steps(self.steps(flow)) and not self.is_base(flow))
        ):
            return False
        return not any(
            each.keywords
            or not all(map(self._is_known, each.decorator_list))
            or not all(
                self._is_known(decorator)
                for method in statements(each.body)
                if isinstance(method, ast.FunctionDef)
                for decorator in method.decorator_list
            )
            for each in self.lineage(flow)
        )

    def is_base(self, flow: ast.ClassDef) -> bool:
        """Whether a flow only serves other flows of the file as their base: they inherit it, and nothing calls it."""
        heirs = [each for each in self.flows() if each is not flow and flow in self.lineage(each)]
        return bool(heirs) and flow.name not in self._called

    def lineage(self, flow: ast.ClassDef) -> list[ast.ClassDef]:
        """The class and its bases that this file defines, nearest first."""
        found: dict[str, ast.ClassDef] = {}
        self._climb(flow, found)
        return list(found.values())

    def steps(self, flow: ast.ClassDef) -> list[ast.FunctionDef]:
        """The step methods of a class, own and inherited in this file: `start` first, `end` last."""
        methods: dict[str, ast.stmt] = {}
        for each in self.lineage(flow):
            own = {s.name: s for s in statements(each.body) if isinstance(s, (ast.FunctionDef, ast.AsyncFunctionDef))}
            for name, method in own.items():
                methods.setdefault(name, method)
        steps = [method for method in methods.values() if isinstance(method, ast.FunctionDef) and self._is_step(method)]
        return sorted(steps, key=lambda step: (step.name != "start", step.name == "end", step.lineno))

    def foreign_bases(self, flow: ast.ClassDef) -> list[ast.expr]:
        """The bases of a class, or of its bases, that come from modules which may bring steps."""
        return [base for each in self.lineage(flow) for base in each.bases if self._is_foreign(base)]

    def origin(self, node: ast.expr) -> tuple[str, str] | None:
        """Where a name or a dotted name was imported from, as (module, name there); None where it was not.

        A call means what it calls: `pypi(...)` has the origin of `pypi`.
        """
        if isinstance(node, ast.Call):
            node = node.func
        if isinstance(node, ast.Name):
            return self._imported.get(node.id)
        names: list[str] = []
        while isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        if names and isinstance(node, ast.Name) and node.id in self._modules:
            *inner, last = reversed(names)
            return ".".join([self._modules[node.id], *inner]), last
        return None

    def metaflow_name(self, node: ast.expr) -> str | None:
        """What Metaflow calls a name, a dotted name or a call: `pypi` for `pypi`, `mf.pypi(...)` and aliases of it."""
        origin = self.origin(node)
        if origin is None or not _is_metaflow(origin[0]):
            return None
        return origin[1]

    def _is_known(self, decorator: ast.expr) -> bool:
        """Whether a decorator is surely `step`, or surely makes no step."""
        origin = self.origin(decorator)
        if origin is not None:
            top = origin[0].partition(".")[0]
            return origin[1] == "step" or top == "metaflow" or top in sys.stdlib_module_names
        name = decorator.func if isinstance(decorator, ast.Call) else decorator
        return isinstance(name, ast.Name) and name.id in {"property", "staticmethod", "classmethod"}

    def _bind(self, name: str) -> None:
        self._is_ambiguous |= name in self.classes or name in self._imported or name in self._modules

    def _read(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.ClassDef):
            self._bind(statement.name)
            # Defined twice, the later one counts, and stands where it is.
            self.classes.pop(statement.name, None)
            self.classes[statement.name] = statement
        elif isinstance(statement, ast.ImportFrom):
            self._read_import_from(statement)
        elif isinstance(statement, ast.Import):
            for alias in statement.names:
                module = alias.name if alias.asname else alias.name.partition(".")[0]
                name = alias.asname or module
                if self._modules.get(name) != module:
                    self._bind(name)
                self._modules[name] = module
        elif isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    self._bind(target.id)
                    origin = self.origin(statement.value) if isinstance(statement.value, _NAMES) else None
                    if origin is not None:  # `s = step` is as good as an import
                        self._imported[target.id] = origin
                elif isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
                    self._is_ambiguous |= target.value.id in self.classes
        elif (
            isinstance(statement, ast.Expr)
            and isinstance(statement.value, ast.Call)
            and isinstance(statement.value.func, ast.Name)
        ):
            self._called.add(statement.value.func.id)

    def _read_import_from(self, statement: ast.ImportFrom) -> None:
        module = "." * statement.level + (statement.module or "")
        for alias in statement.names:
            if alias.name != "*":
                if self._imported.get(alias.asname or alias.name) != (module, alias.name):
                    self._bind(alias.asname or alias.name)
                self._imported[alias.asname or alias.name] = (module, alias.name)
            elif _is_metaflow(module):
                self.has_metaflow_star = True
                for name in METAFLOW_STAR:
                    self._imported.setdefault(name, (module, name))
            else:
                self._foreign_star = True

    def _climb(self, node: ast.ClassDef, found: dict[str, ast.ClassDef]) -> None:
        if node.name in found:
            return
        found[node.name] = node
        for base in node.bases:
            plain = base.value if isinstance(base, ast.Subscript) else base  # of a generic class
            if isinstance(plain, ast.Name) and plain.id in self.classes:
                self._climb(self.classes[plain.id], found)

    def _is_flow(self, node: ast.ClassDef) -> bool:
        bases = [base for each in self.lineage(node) for base in each.bases]
        if any(self.metaflow_name(base) == "FlowSpec" for base in bases):
            return True
        return any(self._is_foreign(base) for base in bases) and (node.name in self._called or bool(self.steps(node)))

    def _is_step(self, method: ast.FunctionDef) -> bool:
        # A team may hand on Metaflow's `step` through a module of its own, so where it comes from does not matter.
        return any((self.origin(decorator) or ("", ""))[1] == "step" for decorator in method.decorator_list)

    def _is_foreign(self, base: ast.expr) -> bool:
        if isinstance(base, ast.Subscript):
            base = base.value
        if self.metaflow_name(base) == "FlowSpec":
            return False
        origin = self.origin(base)
        if origin is not None:
            return origin[0].partition(".")[0] not in STEPLESS_MODULES
        if isinstance(base, ast.Name):
            return base.id not in self.classes and (self._foreign_star or not hasattr(builtins, base.id))
        return True


_NAMES = (ast.Name, ast.Attribute)


def _is_metaflow(module: str) -> bool:
    return module.partition(".")[0] == "metaflow"


# What `from metaflow import *` brings that matters here.
METAFLOW_STAR = (
    "FlowSpec",
    "FlowMutator",
    "step",
    *(name + suffix for name in ("conda", "pypi", "pip", "named_env", "sys_packages") for suffix in ("", "_base")),
)
