"""The classes of a file that are flows, with all steps: bases in other modules, aliases, classes made in functions.

Where something may be in several ways, all of them count: a step too many is locked for nothing, while one too few
would stop the flow when it starts. What cannot be read is a `Doubt`.
"""

from __future__ import annotations

import _ast as ast
from collections.abc import Iterator, Sequence
from pathlib import Path

from envlock.config.flows.flow_reader import Doubt, FlowSource, statements
from envlock.config.flows.module_names import (
    NO_STEPS,
    Class,
    Function,
    ModuleNames,
    OfMetaflow,
    Unknown,
    doubt_of,
)
from envlock.config.flows.scopes import DEEPEST, Module, Scope, walk
from envlock.values import NamedTuple


class FlowClass(NamedTuple):
    """A flow, and what it is made of."""

    source: FlowSource
    lineage: tuple[Class, ...]
    """The class and all its bases that can be read, nearest first."""
    steps: tuple[tuple[Class, ast.FunctionDef], ...]
    """The methods that are steps, each with its class: `start` first, `end` last, those of the file before others."""


class FlowReader:
    """Reads the flows of one file, and of the project's other files what they need."""

    def __init__(self, path: Path, tree: ast.Module, project: Path | None = None) -> None:
        self.names = ModuleNames(path, project)
        self.file = Module(str(path.absolute()), tree)
        self.names.modules[self.file.path] = self.file

    def flows(self, wanted: str = "") -> tuple[FlowClass, ...]:
        """The flows of the file; `wanted`, the name of a flow, too where the file only imports it."""
        found: dict[str, list[Class]] = {}
        for each in self._classes():
            found.setdefault(each.node.name, []).append(each)
        if wanted and wanted not in found:
            for name in (wanted, *self.file.called):
                for meaning in self.names.name(name, self.file, ()) or ():
                    if isinstance(meaning, Class) and meaning.node.name == wanted:
                        found.setdefault(wanted, []).append(meaning)
        flows = (self._flow(alternatives) for alternatives in found.values())
        return tuple(flow for flow in flows if flow is not None)

    def is_only_a_base(self, name: str) -> bool:
        """Whether a class only serves other flows of the file as their base: some inherit it, and nothing calls it."""
        classes = [each for each in statements(self.file.tree.body) if isinstance(each, ast.ClassDef)]
        named = [base.value if isinstance(base, ast.Subscript) else base for each in classes for base in each.bases]
        return name not in self.file.called and any(isinstance(base, ast.Name) and base.id == name for base in named)

    def _classes(self) -> Iterator[Class]:
        """Every class of the file that a flow may be made of, those in functions last."""
        file = self.file
        for bindings in file.scope.names.values():
            for each in bindings:
                if isinstance(each, ast.ClassDef):
                    yield Class(file, each, ())
        functions = [each for each in statements(file.tree.body) if isinstance(each, ast.FunctionDef)]
        pending: list[tuple[ast.FunctionDef, tuple[Scope, ...]]] = [(each, ()) for each in functions]
        while pending:
            function, around = pending.pop(0)
            scopes = (*around, self.names.local_scope(function))
            for statement in statements(function.body):
                if isinstance(statement, ast.ClassDef):
                    yield Class(file, statement, scopes)
                elif isinstance(statement, ast.FunctionDef) and len(scopes) < DEEPEST:
                    pending.append((statement, scopes))

    def _flow(self, alternatives: Sequence[Class]) -> FlowClass | None:
        file = self.file
        lineage, doubts, is_flow = self._lineage(alternatives)
        steps: dict[str, tuple[Class, ast.FunctionDef]] = {}
        others: set[str] = set()
        for each in lineage:
            own: set[str] = set()
            for method in statements(each.node.body):
                if not isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    continue
                own.add(method.name)
                if isinstance(method, ast.FunctionDef) and method.name not in {*steps, *others}:
                    is_step, doubtful = self._is_step(method, each)
                    if is_step:
                        steps[method.name] = (each, method)
                    doubts += doubtful if not is_step else ()
            others |= own - steps.keys()
        name = alternatives[0].node.name
        if not is_flow and not (doubts and (steps or name in file.called)):
            return None
        places = {id(each.node): number for number, each in enumerate(lineage)}
        found = sorted(
            steps.items(),
            key=lambda item: (
                item[0] != "start",
                item[0] == "end",
                item[1][0].file is not file,
                places[id(item[1][0].node)] if item[1][0].file is not file else 0,
                item[1][1].lineno,
            ),
        )
        if not doubts and not self.is_only_a_base(name):
            doubts = list(_doubts_of_lacking(found, alternatives[-1]))
        targets = {target.attr: None for _, (_, method) in found for target in _next_steps(method)} if doubts else {}
        source = FlowSource(
            name=name,
            line=alternatives[-1].node.lineno,
            steps=tuple((step, method.lineno) for step, (_, method) in found),
            complete=True,
            doubts=tuple(dict.fromkeys(doubts)),
            targets=tuple(targets),
            files=tuple(Path(path) for path, each in self.names.modules.items() if each is not file),
        )
        source = source._replace(complete=not source.doubts or not source.missing())
        return FlowClass(source, tuple(lineage), tuple(method for _, method in found))

    def _lineage(self, alternatives: Sequence[Class]) -> tuple[list[Class], list[Doubt], bool]:
        """The classes and all their bases, nearest first; what cannot be read of them; and whether it is a flow."""
        of_bases: list[Doubt] = []
        of_makers: list[Doubt] = []
        is_flow = False
        done: dict[ast.ClassDef, Class] = {}
        begun: set[ast.ClassDef] = set()

        def climb(each: Class) -> None:
            nonlocal is_flow
            if each.node in begun:
                return
            begun.add(each.node)
            of_makers.extend(self._doubts_of_class(each))
            # The last base first: a class that several have as a base then comes after all of them, as Python has it.
            for base in reversed(each.node.bases):
                for meaning in reversed(self.names.meanings(base, each.file, each.scopes)):
                    if isinstance(meaning, Class):
                        climb(meaning)
                    elif meaning == OfMetaflow("FlowSpec"):
                        is_flow = True
                    elif isinstance(meaning, Unknown):
                        of_bases.append(meaning.doubt)
                    elif meaning != NO_STEPS:
                        of_bases.append(doubt_of(each.file, base, "is no class that can be read"))
            done[each.node] = each

        for each in reversed(alternatives):
            climb(each)
        return list(reversed(done.values())), [*reversed(of_bases), *of_makers], is_flow

    def _doubts_of_class(self, each: Class) -> Iterator[Doubt]:
        """What may give a class steps, or take them, beside its body and its bases."""
        makers = [(keyword.value, "is its metaclass") for keyword in each.node.keywords if keyword.arg != "total"]
        for node, what in (*makers, *((decorator, "decorates it") for decorator in each.node.decorator_list)):
            meanings = self.names.meanings(node.func if isinstance(node, ast.Call) else node, each.file, each.scopes)
            if not all(meaning == NO_STEPS or isinstance(meaning, OfMetaflow) for meaning in meanings):
                yield doubt_of(each.file, node, f"{what}, and may add steps")
        if each.node.name in each.file.touched:
            line = each.file.touched[each.node.name]
            yield Doubt(Path(each.file.path), line, f"`{each.node.name}` is changed after it was made")

    def _is_step(self, method: ast.FunctionDef, owner: Class) -> tuple[bool, list[Doubt]]:
        """Whether a method is a step, and which decorators may make it one where none surely does."""
        doubts = []
        for decorator in method.decorator_list:
            node = decorator.func if isinstance(decorator, ast.Call) else decorator
            for meaning in self.names.meanings(node, owner.file, owner.scopes):
                # A team may hand on Metaflow's `step` through a module that is not the project's.
                if isinstance(meaning, (OfMetaflow, Unknown)) and meaning.name == "step":
                    return True, []
                if isinstance(meaning, Function) and self._makes_steps(meaning):
                    return True, []
                if isinstance(meaning, Unknown):
                    doubts.append(doubt_of(owner.file, decorator, f"may make a step of `{method.name}`"))
        return False, doubts

    def _makes_steps(self, function: Function) -> bool:
        """Whether a function speaks of Metaflow's `step`: as a decorator, it may make one."""
        scopes = (*function.scopes, self.names.local_scope(function.node))
        return any(
            OfMetaflow("step") in self.names.meanings(node, function.file, scopes)
            for node in walk(function.node)
            if isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load)
        )


def _doubts_of_lacking(steps: Sequence[tuple[str, tuple[Class, ast.FunctionDef]]], flow: Class) -> Iterator[Doubt]:
    """The places which tell that a flow has steps that are not among its methods, however it comes by them."""
    files = {id(target): owner.file for _, (owner, method) in steps for target in _next_steps(method)}
    for name, target in _lacking_steps([method for _, (_, method) in steps]).items():
        if target is not None:
            yield doubt_of(files[id(target)], target, "is a step, and no method with `@step` that can be read")
        else:
            yield Doubt(Path(flow.file.path), flow.node.lineno, f"`{name}` is no method with `@step` that can be read")


def _next_steps(method: ast.FunctionDef) -> Iterator[ast.Attribute]:
    """The steps that a step goes on to. Metaflow itself reads its last statement, in this form and no other."""
    last = method.body[-1]
    call = last.value if isinstance(last, ast.Expr) else None
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "next":
        for given in call.args:
            for target in given.values if isinstance(given, ast.Dict) else (given,):
                if isinstance(target, ast.Attribute):
                    yield target


def _lacking_steps(steps: Sequence[ast.FunctionDef]) -> dict[str, ast.Attribute | None]:
    """The steps that a flow with these surely has beside, and what goes on to each; nothing goes on to `start`."""
    keywords = [key.arg for step in steps for each in step.decorator_list for key in getattr(each, "keywords", ())]
    # Another step may be told to be the first; one that is alone is.
    wanted: dict[str, ast.Attribute | None] = {"start": None} if len(steps) > 1 and "start" not in keywords else {}
    wanted.update((target.attr, target) for step in steps for target in _next_steps(step))
    for step in steps:
        wanted.pop(step.name, None)
    return wanted
