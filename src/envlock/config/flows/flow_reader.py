"""The flows of a Python file or a notebook and their steps, read from its text. The file is never imported or run.

`envlock check` and every start of a task read flows, so nothing heavy is imported here, and of a file only module and
class bodies count, and the last statement of steps. `flow_classes.py` follows the names of bases and decorators.
"""

from __future__ import annotations

import _ast as ast
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from envlock.config.flows.errors import BadNotebook, FlowFileMissing, FlowFileSyntax, NotANotebook, shown_path
from envlock.errors import Location
from envlock.files import FLOW_BYTES, NotPlain, is_of, read_file
from envlock.values import NamedTuple

TOO_DEEP = "it is nested too deeply"


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
    """The flows in a Python file or a notebook, in its order; none if it has none.

    `named_by` tells, for an error, where the file is named. No link in the folder `project` leads out of the project.
    With `wanted`, the name of a flow, only that one is surely read whole, and found where the file makes it in a
    function or imports it. Costs one parse of the file, a millisecond or two for two hundred lines, and one of each
    module of the project that has to be read. Raises FlowFileMissing, UnsafeFile, FlowFileSyntax or BadNotebook.
    """
    from envlock.config.flows.flow_classes import FlowReader

    tree = parse_tree(path, named_by=named_by, project=project)
    try:
        return tuple(flow.source for flow in FlowReader(path, tree, project).flows(wanted))
    except RecursionError:
        raise FlowFileSyntax(path, None, TOO_DEEP, locations=(named_by(),) if named_by else ()) from None


def parse_tree(
    path: Path, *, named_by: Callable[[], Location] | None = None, project: Path | None = None
) -> ast.Module:
    """The syntax tree of a file; of a notebook, that of its cells. Raises as `read_flows` does.

    An error repeats a line of the file only where that is of the project, or where no project names it.
    """

    def named() -> tuple[Location, ...]:
        return (named_by(),) if named_by else ()

    try:
        source: bytes | str
        if path.suffix == ".ipynb":
            from envlock.config.flows.notebook import NOTEBOOK_BYTES, code_of

            source = code_of(read_file(path, NOTEBOOK_BYTES, within=project))
        else:
            source = read_file(path, FLOW_BYTES, within=project)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd escape in the user's strings is none of our business
            tree = compile(source, str(path), "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
    except NotPlain as error:
        from envlock.config.errors import UnsafeFile

        raise UnsafeFile(shown_path(path), error.reason, named()) from None
    except OSError as error:
        is_missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
        raise FlowFileMissing(path, "" if is_missing else error.strerror or str(error), locations=named()) from None
    except NotANotebook as error:
        raise BadNotebook(path, str(error), named()) from None
    except SyntaxError as error:
        text = (error.text or "") if project is None or is_of(path, project) else ""
        raise FlowFileSyntax(path, error.lineno, error.msg, text, locations=named()) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise FlowFileSyntax(path, None, str(error) or TOO_DEEP, locations=named()) from None
    assert isinstance(tree, ast.Module)
    return tree


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
