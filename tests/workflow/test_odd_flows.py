"""Flows of many shapes: `check` is green for exactly those that Metaflow's own list of steps lets `run` start."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from textwrap import indent

import pytest

from envlock.cli.check import as_document, as_text
from envlock.cli.check_formats import as_github, notice_of
from envlock.config.flows.errors import FlowFileSyntax
from envlock.config.flows.flow_reader import read_flows
from envlock.config.read import load_project
from envlock.config.selection import Selection
from envlock.model.arch import host_arch
from envlock.workflow.check import check
from envlock.workflow.errors import StepNotInConfig
from envlock.workflow.launch import Start, launch_of
from envlock.workflow.lock import lock
from tests.index import CATALOGUE, Index, Release
from tests.support import ProjectFolder, isolation, run_envlock
from tests.workflow.recording import Recorder

IMPORT = "from metaflow import FlowSpec, step\n"


def steps(*names: str, step: str = "step", end: str = "") -> str:
    """Methods that go on to each other, in the body of a class; the last one to `end`, or to nothing."""
    lines = []
    for name, then in zip(names, (*names[1:], end), strict=True):
        lines += [f"@{step}", f"def {name}(self):", f"    self.next(self.{then})" if then else "    pass"]
    return indent("\n".join(lines), "    ") + "\n"


FOUR = ("start", "middle", "late", "end")
ALL = steps("start", "middle", "end")
BASE = f"{IMPORT}class Base(FlowSpec):\n{steps('start', end='middle')}"
REST = steps("middle", "end")
ODD = f"class Odd(Base):\n{REST}"

# What the flow `Odd` of `flow.py` is made of, by the names of files; and what `[flow.Odd]` says beside.
GREEN: dict[str, dict[str, str]] = {
    "plain": {"flow.py": f"{IMPORT}class Odd(FlowSpec):\n{ALL}"},
    "sibling": {"flow.py": f"{IMPORT}from base import Base\n{ODD}", "base.py": BASE},
    "sibling of a sibling": {
        "flow.py": f"{IMPORT}import base as b\n{ODD.replace('Base', 'b.Base')}",
        "base.py": f"{IMPORT}from more.root import Root\nclass Base(Root): pass\n",
        "more/root.py": BASE.replace("Base", "Root"),
    },
    "star import": {"flow.py": f"{IMPORT}from base import *\n{ODD}", "base.py": BASE},
    "everything from a star": {"flow.py": f"from base import *\n{ODD}", "base.py": BASE},
    "re-export": {
        "flow.py": f"{IMPORT}from team import Base\n{ODD}",
        "team/__init__.py": "from .flows import TeamBase as Base\n",
        "team/flows.py": BASE.replace("Base", "TeamBase"),
    },
    "re-export by a star": {
        "flow.py": f"{IMPORT}from team import Base\n{ODD}",
        "team/__init__.py": "from .flows import *\n",
        "team/flows.py": BASE,
    },
    "package as a module": {
        "flow.py": f"{IMPORT}import team.flows\n{ODD.replace('Base', 'team.flows.Base')}",
        "team/__init__.py": "",
        "team/flows.py": BASE,
    },
    "namespace package": {
        "flow.py": f"{IMPORT}from team import flows\n{ODD.replace('Base', 'flows.Base')}",
        "team/flows.py": BASE,
    },
    "parents": {
        "flow.py": f"{IMPORT}from team.a.flows import Base\n{ODD}",
        "team/__init__.py": "",
        "team/a/__init__.py": "",
        "team/a/flows.py": "from ..roots import Base\n",
        "team/roots.py": BASE,
    },
    "generic": {
        "flow.py": f"{IMPORT}from base import Base\n{ODD.replace('(Base)', '(Base[int])')}",
        "base.py": (
            f"{IMPORT}import typing\nT = typing.TypeVar('T')\nclass Base(FlowSpec, typing.Generic[T]):\n"
            f"{steps('start', end='middle')}"
        ),
    },
    "generic of the same file": {
        "flow.py": (
            f"{IMPORT}from typing import Generic, TypeVar\nT = TypeVar('T')\n"
            f"class Base(FlowSpec, Generic[T]):\n{steps('start', end='middle')}"
            f"{ODD.replace('(Base)', '(Base[int])')}"
        ),
    },
    "generic beside the flow's own base": {
        "flow.py": (
            f"{IMPORT}from typing import Generic, TypeVar\nT = TypeVar('T')\n"
            f"class Base(Generic[T]):\n{steps('start', end='middle')}"
            f"{ODD.replace('(Base)', '(Base[int], FlowSpec)')}"
        ),
    },
    "base under another name": {"flow.py": f"{BASE}Other = Base\n{ODD.replace('(Base)', '(Other)')}"},
    "base inside of a class": {
        "flow.py": (
            f"{IMPORT}class Team:\n    class Base(FlowSpec):\n{indent(steps('start', end='middle'), '    ')}"
            f"{ODD.replace('(Base)', '(Team.Base)')}"
        )
    },
    "base by choice": {"flow.py": f"{BASE}import os\n{ODD.replace('(Base)', '(Base if os.sep else FlowSpec)')}"},
    "metaflow by another name": {
        "flow.py": f"import metaflow as mf\nF = mf.FlowSpec\ns = mf.step\nclass Odd(F):\n{steps(*FOUR, step='s')}"
    },
    "step under another name": {
        "flow.py": f"{IMPORT}s = step\nclass Odd(FlowSpec):\n{steps('start', 'middle', 'end', step='s')}"
    },
    "step handed on": {
        "flow.py": f"from compat import Flow, task\nclass Odd(Flow):\n{steps('start', 'middle', 'end', step='task')}",
        "compat.py": "import metaflow\nfrom metaflow import step as task\nFlow = metaflow.FlowSpec\n",
    },
    "step inside of a decorator": {
        "flow.py": (
            f"{IMPORT}from compat import task\nclass Odd(FlowSpec):\n{steps('start', 'middle', 'end', step='task')}"
        ),
        "compat.py": "from metaflow import retry, step\ndef task(f):\n    return retry(times=1)(step(f))\n",
    },
    "class of a function": {
        "flow.py": (
            "def make():\n    from metaflow import FlowSpec, step\n    class Odd(FlowSpec):\n"
            f"{indent(ALL, '    ')}    return Odd\nOdd = make()\n"
        )
    },
    "base of a function": {
        "flow.py": f"{IMPORT}from base import make\n{ODD.replace('(Base)', '(make(True))')}",
        "base.py": (
            f"{IMPORT}def make(really):\n    class Base(FlowSpec):\n"
            f"{indent(steps('start', end='middle'), '    ')}    return Base\n"
        ),
    },
    "imported flow": {"flow.py": "from other import Odd\n", "other.py": f"{IMPORT}class Odd(FlowSpec):\n{ALL}"},
    "imported flow under another name": {
        "flow.py": "from other import Odd as Mine\nif __name__ == '__main__': Mine()\n",
        "other.py": f"{IMPORT}class Odd(FlowSpec):\n{ALL}",
    },
    "either of two": {
        "flow.py": f"{IMPORT}try:\n    from fast import Base\nexcept ImportError:\n    from base import Base\n{ODD}",
        "base.py": BASE,
    },
    "for type checkers": {
        "flow.py": (
            f"{IMPORT}from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from wrong import Base\n"
            f"else:\n    from base import Base\n{ODD}"
        ),
        "base.py": BASE,
    },
    "by condition": {
        "flow.py": (
            f"{IMPORT}import sys\nif sys.version_info > (3,):\n    from base import Base\nelse:\n"
            f"    Base = FlowSpec\n{ODD}"
        ),
        "base.py": BASE,
    },
    "mixin of Python": {
        "flow.py": (
            f"{IMPORT}from json import JSONEncoder\nfrom pytest import Item\nclass Odd(FlowSpec, JSONEncoder):\n{ALL}"
        )
    },
    "mixin that cannot be read": {
        "flow.py": f"{IMPORT}from installed import Mixin\nclass Odd(Mixin, FlowSpec):\n{ALL}"
    },
    "decorators that cannot be read": {
        "flow.py": (
            f"{IMPORT}from installed import noted, marked\n@marked\nclass Odd(FlowSpec):\n{ALL}    @noted\n"
            "    def helper(self): pass\n"
        )
    },
    "mutator of a sibling": {
        "flow.py": f"{IMPORT}from mutators import Adds\n@Adds()\nclass Odd(FlowSpec):\n{ALL}",
        "mutators.py": (
            "from metaflow import FlowMutator\nclass Adds(FlowMutator):\n    def pre_mutate(self, flow): pass\n"
        ),
    },
    "metaclass": {
        "flow.py": f"{IMPORT}from metas import Meta\nclass Odd(FlowSpec, metaclass=Meta):\n{ALL}",
        "metas.py": "from metaflow import FlowSpec\nclass Meta(type(FlowSpec)): pass\n",
    },
    "changed afterwards": {"flow.py": f"{IMPORT}class Odd(FlowSpec):\n{ALL}Odd.note = 'x'\n"},
    "diamond": {
        "flow.py": f"{IMPORT}from base import Base, Left, Right\nclass Odd(Left, Right):\n{steps('middle', 'end')}",
        "base.py": f"{BASE}class Left(Base): pass\nclass Right(Base):\n    def helper(self): pass\n",
    },
    "below a condition": {
        "flow.py": (
            f"{IMPORT}import os\nclass Odd(FlowSpec):\n{steps('start', 'end')}"
            f"    if 'NEVER_SET' in os.environ:\n{indent(steps('other', end='end'), '    ')}"
        )
    },
    "a base that cannot be read, and its steps are told": {
        "flow.py": f"{IMPORT}from installed import Base\n{ODD}",
        "envlock.toml": 'steps = ["start"]',
    },
    "a flow file in a folder of its own": {
        "flows/flow.py": f"{IMPORT}from team.base import Base\n{ODD}",
        "team/base.py": BASE,
    },
}
BLOCKS = {
    "match": "match 1:\n case _:\n",
    "try": "try:\n  raise ValueError\nexcept ValueError:\n",
    "finally": "try: pass\nfinally:\n",
    "with": "import contextlib\nwith contextlib.suppress(ValueError):\n",
    "while": "while 'middle' not in vars():\n",
    "for": "for _ in '1':\n",
    "for else": "for _ in '': pass\nelse:\n",
}
for _name, _head in BLOCKS.items():
    _middle = indent(_head, "    ") + indent(steps("middle", end="end"), "    ")
    GREEN[f"a step in a body of {_name}"] = {
        "flow.py": f"{IMPORT}class Odd(FlowSpec):\n{steps('start', end='middle')}{_middle}{steps('end')}"
    }
GREEN |= {
    "a step that is no method, and is told": {
        "flow.py": f"{IMPORT}from helper import middle\nclass Odd(FlowSpec):\n{steps('start', end='middle')}"
        f"    middle = middle\n{steps('end')}",
        "helper.py": f"{IMPORT}@step\ndef middle(self):\n    self.next(self.end)\n",
        "envlock.toml": 'steps = ["middle"]',
    },
}
# What gives a flow the step `middle` without a method: in its body, and after it.
NO_METHODS = {
    "another name of a function": ("_m = middle", "middle = _m", ""),
    "an import": ("", "from helper import middle", ""),
    "a partial decorator": (
        "",
        "import functools\n@functools.partial(step)\ndef middle(self): self.next(self.end)",
        "",
    ),
    "a walrus": ("_m = middle", "(middle := _m)", ""),
    "a loop": ("_m = middle", "for middle in [_m]: pass", ""),
    "vars": ("_m = middle", "vars()['middle'] = _m", ""),
    "an annotated attribute": ("", "", "Odd.middle: object = middle"),
    "type.__setattr__": ("", "", "type.__setattr__(Odd, 'middle', middle)"),
    "setattr in a function": ("", "", "def late(): setattr(Odd, 'middle', middle)\nlate()"),
    "a loop after it": ("", "", "for Odd.middle in [middle]: pass"),
    "a class under another name": ("", "", "O = Odd\nO.middle = middle"),
}
RED: dict[str, dict[str, str]] = {
    "a base that cannot be read": {"flow.py": f"{IMPORT}from installed import Base\n{ODD}"},
    "a base that brings a step in the middle": {
        "flow.py": (
            f"{IMPORT}from installed import Middle\nclass Odd(Middle, FlowSpec):\n"
            f"{steps('start', end='middle')}{steps('end')}"
        )
    },
    "a base that is no Python": {"flow.py": f"{IMPORT}from broken import Base\n{ODD}", "broken.py": "class Base(:\n"},
    "a factory with a parameter": {
        "flow.py": (
            f"{IMPORT}from installed import Base as B\ndef make(base):\n    class Made(base): pass\n"
            f"    return Made\n{ODD.replace('(Base)', '(make(B))')}"
        )
    },
    "a module that is chosen when it runs": {
        "flow.py": (
            f"{IMPORT}import importlib\n"
            f"{ODD.replace('(Base)', '(importlib.import_module(chr(98) + chr(97) + chr(115) + chr(101)).Base)')}"
        ),
        "base.py": BASE,
    },
    "a step that a decorator makes, which cannot be read": {
        "flow.py": (
            f"{IMPORT}from installed import task\nclass Odd(FlowSpec):\n{steps('start', end='middle')}"
            f"{steps('middle', step='task', end='end')}{steps('end')}"
        )
    },
    "steps that are set": {
        "flow.py": (
            f"{IMPORT}class Odd(FlowSpec):\n{steps('start', end='middle')}{steps('end')}import base\n"
            "setattr(Odd, 'middle', base.middle)\n"
        ),
        "base.py": f"{IMPORT}@step\ndef middle(self):\n    self.next(self.end)\n",
    },
    "a table for a step that cannot be read": {
        "flow.py": f"{IMPORT}from installed import Base, Middle\nclass Odd(Base, Middle):\n{steps('end')}",
        "envlock.toml": "[flow.Odd.step.start]",
    },
    "not all steps are told": {"flow.py": f"{IMPORT}from installed import Base\n{ODD}", "envlock.toml": "steps = []"},
}
for _name, (_before, _inside, _after) in NO_METHODS.items():
    _class = f"class Odd(FlowSpec):\n{steps('start', end='middle')}{indent(_inside, '    ')}\n{steps('end')}"
    RED[f"a step by {_name}"] = {
        "flow.py": f"{IMPORT}from helper import middle\n{_before}\n{_class}{_after}\n",
        "helper.py": f"{IMPORT}@step\ndef middle(self): self.next(self.end)\n",
    }
RED["a start that is no method"] = {
    "flow.py": f"{IMPORT}from helper import first\nclass Odd(FlowSpec):\n    start = first\n{steps('middle', 'end')}",
    "helper.py": f"{IMPORT}def first(self): self.next(self.middle)\nfirst.__name__ = 'start'\nfirst = step(first)\n",
}
INSTALLED = {
    "installed.py": f"{BASE}class Middle:\n{steps('middle', end='end')}class Mixin:\n    def helper(self): pass\n"
    "def noted(f): return f\nmarked = noted\ndef task(f): return step(f)\n"
}

# Prints Metaflow's own list of each flow's steps; none, where it cannot be imported, or the linter refuses it.
TELL = """
import importlib, json, os, sys
from metaflow import lint
installed, *files = sys.argv[1:]
told, clean = {}, set(sys.modules)
for project, file in map(str.split, files):
    for name in set(sys.modules) - clean:
        del sys.modules[name]
    here = [os.path.dirname(file), project, installed]
    sys.path[:0] = here
    importlib.invalidate_caches()
    try:
        module = vars(importlib.import_module("flow"))
        flow = (module.get("Odd") or module["Mine"])(use_cli=False)
        lint.linter.run_checks(flow._graph)
        told[project] = [each.name for each in flow]
    except (SyntaxError, lint.LintWarn):
        told[project] = []
    del sys.path[:len(here)]
print(json.dumps(told))
"""


def file_of(project: Path) -> Path:
    """The file of the flow."""
    return next(path for path in (project / "flow.py", project / "flows" / "flow.py") if path.exists())


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory, shared_uv_cache: Path) -> Iterator[dict[str, Path]]:
    """The flows by name, each in a project of its own. One lock serves all: their steps ask for the same."""
    root = tmp_path_factory.mktemp("odd")
    made = {}
    with (
        isolation(tmp_path_factory.mktemp("home"), shared_uv_cache),
        Index(*CATALOGUE, Release("requests", "2.32.0")) as index,
    ):
        first = ProjectFolder.make(root / "first", index.url)
        first.write_flow("Odd")
        table = 'pypi = { packages = { alpha = "1.0" } }'
        first.write(
            f'[flow.Odd]\nfile = "odd.py"\n{table}', settings="metaflow-requirements = true", archs=[host_arch()]
        )
        run_envlock("lock", cwd=first.folder)
        settings = first.config.read_text().partition("[flow.Odd]")[0]
        for number, (name, files) in enumerate({**GREEN, **RED, "installed": INSTALLED}.items()):
            project = root / str(number)
            for path, text in files.items():
                if path != "envlock.toml":
                    (project / path).parent.mkdir(parents=True, exist_ok=True)
                    (project / path).write_text(text)
            if name != "installed":
                file = file_of(project).relative_to(project)
                more = files.get("envlock.toml", "")
                (project / "envlock.toml").write_text(f'{settings}[flow.Odd]\nfile = "{file}"\n{table}\n{more}\n')
                shutil.copytree(first.lock_folder, project / "envlock.lock")
            made[name] = project
        yield made


@pytest.fixture(scope="module")
def told(projects: dict[str, Path]) -> dict[str, list[str]]:
    """Metaflow's own list of each flow's steps."""
    flows = {name: project for name, project in projects.items() if name != "installed"}
    command = [sys.executable, "-c", TELL, str(projects["installed"])]
    command += [f"{project} {file_of(project)}" for project in flows.values()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    return {name: found[str(project)] for name, project in flows.items()}


def starts(project: Path, steps: list[str]) -> bool:
    """Whether `run` starts the flow, when Metaflow says that these are its steps."""
    try:
        return bool(steps) and bool(launch_of(Start(flow="Odd", file=file_of(project), steps=tuple(steps))).steps)
    except StepNotInConfig:
        return False


@pytest.mark.parametrize("name", [*GREEN, *RED])
def test_check_is_green_for_what_runs(name: str, projects: dict[str, Path], told: dict[str, list[str]]) -> None:
    found = check(load_project(projects[name] / "envlock.toml"))
    assert starts(projects[name], told[name]) is (found.exit_status == 0) is (name in GREEN), found
    if name in RED:
        (finding,) = found.findings
        assert (finding.verdict, finding.exit_status, finding.environment) == ("steps-unknown", 2, "Odd/*")
        assert finding.location is not None
        lines = (projects[name] / finding.location.path).read_text().splitlines()
        assert 0 < (finding.location.line or 0) <= len(lines)


def test_what_cannot_be_read_is_reported_with_its_line(projects: dict[str, Path]) -> None:
    found = check(load_project(projects["a base that brings a step in the middle"] / "envlock.toml"))
    text = as_text(found)
    assert "Odd/*: may have steps that envlock cannot read\n  at flow.py:2\n" in text
    assert "the module `installed` is no file of the project" in text
    assert "steps that it has, and that cannot be read: middle" in text
    assert 'write `steps = ["start", "end", "middle"]` in `[flow.Odd]`' in text
    assert "file=" in as_github(notice_of(found.findings[:1]), projects["plain"])
    assert json.loads(json.dumps(as_document(found)))["findings"][0]["line"] == 2


@pytest.mark.usefixtures("isolated")
def test_locking_warns_of_steps_that_are_not_locked(projects: dict[str, Path]) -> None:
    heard = Recorder()
    lock(load_project(projects["a base that cannot be read"] / "envlock.toml"), reporter=heard)
    lock(load_project(projects["sibling"] / "envlock.toml"), reporter=heard)
    assert heard.warnings == ["Odd may have steps that are not locked: `envlock check` says why"]


def test_who_names_a_step_hears_of_that_step_alone(projects: dict[str, Path]) -> None:
    project = load_project(projects["a base that cannot be read"] / "envlock.toml")
    assert check(project, Selection(steps=("middle",))).exit_status == 0
    assert check(project, Selection(flows=("Odd",))).exit_status == 2


def test_a_module_is_read_where_it_is_of_the_project_alone(projects: dict[str, Path], tmp_path: Path) -> None:
    flow = f"{IMPORT}from base import Base\n{ODD}"
    (tmp_path / "outside.py").write_text(BASE)
    project = tmp_path / "project"
    project.mkdir()
    (project / "flow.py").write_text(flow)
    (project / "base.py").symlink_to(tmp_path / "outside.py")
    os.mkfifo(project / "fifo.py")
    (source,) = read_flows(project / "flow.py", project=project)
    assert (source.complete, source.step_names()) == (False, ("middle", "end"))
    (project / "flow.py").write_text(flow.replace("base", "fifo"))
    (source,) = read_flows(project / "flow.py", project=project)
    assert "named pipe" in source.doubts[0].reason
    (project / "flow.py").write_text(flow.replace("from base", "from ..outside"))
    (source,) = read_flows(project / "flow.py", project=project)
    assert not source.complete


@pytest.mark.parametrize(
    "text",
    [
        "Base = Base\n", "from flow import Base\n", "from flow import *\n", "import flow\nBase = flow.Base\n",
        "def make(): return make()\nBase = make()\n", "class Base(Odd): pass\n", "Base = x = y = Base[Base]\n",
        "Base, = [*Base]\n", "Base = (lambda: Base)()\n", "from . import Base\n", "from ... import Base\n",
        "if x: pass\n" + "elif x: pass\n" * 5000,
        # What would take for ever, were each way gone by itself.
        "A0 = A0\n" + "".join(f"A{n + 1} = A{n} if x else A{n}\n" for n in range(35)) + "Base = A35\n",
        "class A0: pass\n" + "".join(
            f"class B{n}(A{n}): pass\nclass C{n}(A{n}): pass\nclass A{n + 1}(B{n}, C{n}): pass\n" for n in range(60)
        ) + "class Base(A60): pass\n",
        "from a0 import *\nfrom b0 import *\n",
    ],
)  # fmt: skip
def test_names_that_lead_nowhere_end(text: str, tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(f"{IMPORT}{text}{ODD}")
    for number in range(30):
        for name in "ab":
            stars = f"from a{number + 1} import *\nfrom b{number + 1} import *\n"
            (tmp_path / f"{name}{number}.py").write_text(stars)
    with suppress(FlowFileSyntax):
        assert [flow.complete for flow in read_flows(tmp_path / "flow.py", wanted="Odd")] in ([], [False])
