"""What `verify_prefix` finds in prefixes of wheels, of conda packages, and of both; and what it does not find."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import py_compile
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from envlock.hydration.prefix import read_receipt, write_receipt
from envlock.hydration.verify import PrefixFinding, verify_prefix
from envlock.model.lock import Lock
from metaflow_extensions.envlock.plugins.node.home import write_variables
from tests.channel import data_package
from tests.hydration.conda_making import CondaMaking, wheels
from tests.hydration.making import SERIES, Making
from tests.index import Release


@dataclass(frozen=True)
class Made:
    """A prefix of one's own, to be damaged, and its lock."""

    prefix: Path
    lock: Lock

    @property
    def site(self) -> Path:
        (found,) = self.prefix.glob("lib/python*/site-packages")
        return found

    def findings(self, *, unexpected: bool = False) -> list[PrefixFinding]:
        return list(verify_prefix(self.lock, self.prefix, unexpected=unexpected).findings)

    def found(self, *, unexpected: bool = False) -> list[tuple[str, str, str]]:
        """Verdict, path and package of each finding."""
        return [(each.verdict, each.path, str(each.package)) for each in self.findings(unexpected=unexpected)]


def _copy(prefix: Path, lock: Lock, folder: Path) -> Made:
    """A copy that shares no file with the original."""
    place = folder / prefix.name
    shutil.copytree(prefix, place, symlinks=True)
    receipt = read_receipt(prefix)
    assert receipt is not None
    inside = receipt.python.startswith(f"{prefix}/")
    python = place / Path(receipt.python).relative_to(prefix) if inside else Path(receipt.python)
    write_receipt(place, receipt._replace(python=str(python)))
    return Made(place, lock)


@pytest.fixture(scope="module")
def made_of_wheels(tmp_path_factory: pytest.TempPathFactory) -> Making:
    making = Making(tmp_path_factory.mktemp("wheels"), count=2)
    making.write_artifacts()
    making.hydrate()
    return making


@pytest.fixture(scope="module")
def made_of_both(tmp_path_factory: pytest.TempPathFactory) -> CondaMaking:
    """Conda packages that have links, a noarch command, odd names and clobber each other, and wheels over them."""
    over = Release("over", "1.0", files={"speak/__init__.py": "def main() -> None: ...\n"})
    making = CondaMaking(
        tmp_path_factory.mktemp("both"),
        ("speak", "hello", "accents", "activates", "clobber-one", "clobber-two"),
        own=(data_package("shares", "1.0", {"share/activates/note.txt": "another note\n"}),),
        wheels=(*wheels(2), over),
    )
    making.hydrate()
    return making


@pytest.fixture
def of_wheels(made_of_wheels: Making, tmp_path: Path) -> Made:
    return _copy(made_of_wheels.prefix, made_of_wheels.lock, tmp_path)


@pytest.fixture
def of_both(made_of_both: CondaMaking, tmp_path: Path) -> Made:
    return _copy(made_of_both.prefix, made_of_both.lock, tmp_path)


@pytest.mark.parametrize("kind", ["of_wheels", "of_both"])
def test_variables_that_are_not_those_of_the_lock(kind: str, request: pytest.FixtureRequest) -> None:
    made: Made = request.getfixturevalue(kind)
    path = ".envlock-variables.json" if kind == "of_wheels" else "conda-meta/state"
    wanted = replace(made.lock, requirements=made.lock.requirements._replace(variables=(("MODE", "quick"),)))
    assert ("missing", path) in [each[:2] for each in Made(made.prefix, wanted).found()]
    write_variables(str(made.prefix), (("MODE", "quick"),))
    assert not [each for each in Made(made.prefix, wanted).found() if each[1] == path]
    assert [each[:2] for each in made.found()] == [("changed", path)]
    (made.prefix / path).write_text("[")
    assert [each[:2] for each in made.found()] == [("changed", path)]


def test_what_is_as_it_was_installed(made_of_wheels: Making, made_of_both: CondaMaking) -> None:
    for prefix, lock in ((made_of_wheels.prefix, made_of_wheels.lock), (made_of_both.prefix, made_of_both.lock)):
        verified = verify_prefix(lock, prefix, unexpected=True)
        assert verified.findings == ()
        assert verified.files > 10
    assert any("speak" in warning for warning in made_of_both.reporter.warnings), "the wheel is over a conda package"


def test_bytecode_that_python_writes_is_no_damage(of_both: Made) -> None:
    python = of_both.prefix / "bin" / "python"
    modules = "import json, speak, wheel_0, ctypes, email.message"
    subprocess.run([python, "-c", modules], check=True, env={"PATH": os.defpath})
    assert list(of_both.site.rglob("*.pyc"))
    py_compile.compile(str(of_both.site / "wheel_0" / "__init__.py"), doraise=True)
    assert of_both.found(unexpected=True) == []


def test_files_that_are_gone_or_changed(of_both: Made) -> None:
    (of_both.prefix / "share/accents/näme of a file.txt").unlink()
    (of_both.prefix / "share/activates/note.txt").write_text("an odd note\n")
    (of_both.site / "wheel_0/__init__.py").write_text("")
    (of_both.site / "speak/__init__.py").unlink()
    (of_both.prefix / "bin/speak").unlink()
    (of_both.prefix / "bin/speak").mkdir()
    (of_both.prefix / "bin/wheel-1").unlink()
    found = [(each.verdict, each.path, each.package.name) for each in of_both.findings()]
    site = of_both.site.relative_to(of_both.prefix)
    note = next(name for _, path, name in found if path == "share/activates/note.txt")
    assert note in {"activates", "shares"}, "both brought one, and which is there they know"
    assert sorted(found) == [
        ("changed", "bin/speak", "speak"),
        ("changed", f"{site}/wheel_0/__init__.py", "wheel-0"),
        ("changed", "share/activates/note.txt", note),
        ("missing", "bin/wheel-1", "wheel-1"),
        ("missing", f"{site}/speak/__init__.py", "over"),
        ("missing", "share/accents/näme of a file.txt", "accents"),
    ]


def test_links(of_both: Made) -> None:
    python = of_both.prefix / "bin" / "python3"
    target = python.readlink()
    python.unlink()
    assert [each[:2] for each in of_both.found()] == [("missing", "bin/python3")]
    python.write_text("#!/bin/sh\n")
    (finding,) = of_both.findings()
    assert (finding.verdict, finding.reason) == ("changed", "it was a link, and is not one now")
    python.unlink()
    python.symlink_to("/usr/bin/env")
    (finding,) = of_both.findings()
    assert finding.package.name == "python"
    assert finding.reason == "it leads to /usr/bin/env, and led elsewhere when it was installed"
    python.unlink()
    python.symlink_to(target)
    assert of_both.findings() == []


def test_packages_that_are_not_those_that_were_locked(of_both: Made) -> None:
    meta = of_both.prefix / "conda-meta"
    (accents,) = meta.glob("accents-*.json")
    record = json.loads(accents.read_text())
    accents.write_text(json.dumps({**record, "sha256": "0" * 64}))
    (finding,) = of_both.findings()
    assert (finding.verdict, finding.package.name) == ("other-package", "accents")
    assert f"sha256 {'0' * 64}, and {record['sha256']} is locked" in finding.reason
    accents.write_text("{ not json")
    assert of_both.found()[0][0] == "not-installed"
    accents.write_text(json.dumps(record))
    (meta / "foreign-1.0-0.json").write_text(json.dumps({**record, "name": "foreign"}))
    assert ("not-locked", "conda-meta/foreign-1.0-0.json") in [each[:2] for each in of_both.found()]
    (meta / "foreign-1.0-0.json").unlink()
    assert of_both.findings() == []


def test_a_wheel_that_was_put_there_by_hand(of_wheels: Made) -> None:
    folder = of_wheels.site / "by_hand-2.0.dist-info"
    folder.mkdir()
    module = of_wheels.site / "by_hand.py"
    module.write_text("")
    digest = base64.urlsafe_b64encode(hashlib.sha256(b"").digest()).rstrip(b"=").decode()
    (folder / "RECORD").write_text(f"by_hand.py,sha256={digest},0\nby_hand-2.0.dist-info/RECORD,,\n")
    assert [(each[0], each[2]) for each in of_wheels.found()] == [("not-locked", "by-hand 2.0 (wheel)")]
    old = next(of_wheels.site.glob("package_0-1.0.dist-info"))
    old.rename(old.with_name("package_0-1.1.dist-info"))
    found = of_wheels.findings()
    assert ("other-package", "it is version 1.1, and 1.0 is locked") in [(each.verdict, each.reason) for each in found]


def test_a_wheel_whose_record_is_gone(of_wheels: Made) -> None:
    shutil.rmtree(of_wheels.site / "package_1-1.0.dist-info")
    assert of_wheels.found() == [("not-installed", "", "package-1 1.0 (wheel)")]


@pytest.mark.parametrize(
    "text", ["package_1/part_0.py,sha256=q,3\n", 'a,b\0c,1\n"', "\udcff,sha256=\udcff,1", "a\0b,sha256=q80,1\n"]
)
def test_a_record_that_is_damaged(of_wheels: Made, text: str) -> None:
    record = of_wheels.site / "package_1-1.0.dist-info" / "RECORD"
    record.write_text(text, errors="surrogateescape")
    assert {each.package.name for each in of_wheels.findings()} == {"package-1"}


def test_conda_records_that_are_odd(of_both: Made) -> None:
    (record,) = (of_both.prefix / "conda-meta").glob("accents-*.json")
    for text in ("[]", '{"name": 1}', '{"name": "accents", "version": 1, "paths_data": {"paths": [1]}}', "\0"):
        record.write_text(text)
        assert [each[::2] for each in of_both.found()] == [("not-installed", "accents 1.0 0 (conda)")]


def test_modules_that_nobody_brought(of_both: Made) -> None:
    (of_both.site / "sitecustomize.py").write_text("")
    (of_both.site / "odd.pth").write_text("")
    (of_both.site / "cache.txt").write_text("")
    assert of_both.found() == []
    assert [each[:2] for each in of_both.found(unexpected=True)] == [
        ("unexpected", f"lib/{of_both.site.parent.name}/site-packages/odd.pth"),
        ("unexpected", f"lib/{of_both.site.parent.name}/site-packages/sitecustomize.py"),
    ]


def test_activation_scripts_that_nobody_brought(of_both: Made) -> None:
    for name in ("activate.d/mine.sh", "env_vars.d/mine.json"):
        script = of_both.prefix / "etc/conda" / name
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text("")
    assert of_both.found() == []
    assert [each[:2] for each in of_both.found(unexpected=True)] == [
        ("unexpected", "etc/conda/activate.d/mine.sh"),
        ("unexpected", "etc/conda/env_vars.d/mine.json"),
    ]


def test_the_interpreter(of_wheels: Made, tmp_path: Path) -> None:
    receipt = read_receipt(of_wheels.prefix)
    assert receipt is not None

    def reason() -> str:
        (finding,) = of_wheels.findings()
        assert finding.verdict == "interpreter"
        return finding.reason

    write_receipt(of_wheels.prefix, receipt._replace(python="/no/such/python"))
    assert reason() == "the interpreter that it was made from is gone: /no/such/python"
    write_receipt(of_wheels.prefix, receipt._replace(python_version="3.7.1", python_file=(1, 2, 3)))
    assert f"was Python 3.7.1 when it was made, and is {SERIES}" in reason()
    write_receipt(of_wheels.prefix, receipt._replace(full_id="0" * 40))
    assert reason() == "its receipt is of another environment"
    write_receipt(of_wheels.prefix, receipt)
    (of_wheels.prefix / "pyvenv.cfg").rename(tmp_path / "pyvenv.cfg")
    assert "pyvenv.cfg is missing" in reason()
    (tmp_path / "pyvenv.cfg").rename(of_wheels.prefix / "pyvenv.cfg")
    python = of_wheels.prefix / "bin" / "python"
    python.unlink()
    assert reason() == "it is not there"
    python.symlink_to("/usr/bin/env")
    assert "and the environment was made from" in reason()


def test_a_file_that_cannot_be_read(of_wheels: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    (of_wheels.site / "package_0" / "part_0.py").unlink()
    (of_wheels.site / "package_0" / "part_0.py").symlink_to("part_0.py")
    (finding,) = of_wheels.findings()
    assert finding.verdict == "changed"
    assert finding.reason.startswith("it cannot be read (")


def test_progress_is_reported(made_of_wheels: Making) -> None:
    from envlock.reporter import Reporter

    class Counting(Reporter):
        def __init__(self) -> None:
            self.total = self.done = self.ends = 0

        def began(self, phase: str, total: int, unit: str) -> None:
            assert (phase, unit) == ("verifying DemoFlow/train", "files")
            self.total = total

        def advanced(self, phase: str, item: str, amount: int = 1) -> None:
            self.done += amount

        def ended(self, phase: str) -> None:
            self.ends += 1

    counting = Counting()
    verify_prefix(made_of_wheels.lock, made_of_wheels.prefix, counting)
    assert counting.total == counting.done > 0
    assert counting.ends == 1
