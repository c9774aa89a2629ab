"""Packages that bring one path: the last of the lock has it, always; and paths that no package may bring."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from envlock.errors import HydrateError
from envlock.hydration.pypi_uv import UvInstaller
from envlock.hydration.verify import verify_prefix
from metaflow_extensions.envlock.plugins.node.home import is_reserved
from tests.channel import data_package
from tests.hydration.conda_making import CondaMaking
from tests.hydration.making import SERIES, Heard, Making, remains
from tests.index import Release

# In a lock `alpha-one` comes before `alpha2`; the names of their folders sort the other way round.
ALPHA = Release(
    "Alpha_one", "1.0",
    scripts={"tool": "alpha_one:main"},
    files={
        "shared/both.py": "OF = 'alpha-one'\n",
        "shared/same.py": "SAME = 1\n",
        "shared/two.py": "OF = 'alpha-one'\n",
    },
)  # fmt: skip
MIDDLE = Release("middle", "1.0", files={"shared/both.py": "OF = 'middle'\n", "shared/three.py": "OF = 'middle'\n"})
ZETA = Release(
    "Zeta_first", "1.0",
    scripts={"tool": "zeta_first:main"},
    files={
        "shared/both.py": "OF = 'zeta-first'\n",
        "shared/same.py": "SAME = 1\n",
        "shared/three.py": "OF = 'zeta-first'\n",
        "zeta_first-1.0.data/data/share/note.txt": "zeta-first\n",
    },
)  # fmt: skip
ALPHA2 = Release(
    "alpha2", "1.0", files={"shared/two.py": "OF = 'alpha2'\n", "alpha2-1.0.data/data/share/note.txt": "alpha2\n"}
)
COLLIDING = (ZETA, ALPHA, ALPHA2, MIDDLE)
HAS = {
    "shared/both.py": "OF = 'zeta-first'\n",
    "shared/three.py": "OF = 'zeta-first'\n",
    "shared/two.py": "OF = 'alpha2'\n",
    "shared/same.py": "SAME = 1\n",
    "../../../share/note.txt": "zeta-first\n",
}


def making(place: Path, *own: Release) -> Making:
    made = Making(place, count=0, own=own)
    made.write_artifacts()
    return made


def test_the_last_wheel_of_the_lock_has_a_path_that_several_bring(tmp_path: Path) -> None:
    made = making(tmp_path, *COLLIDING)
    for attempt in range(3):  # uv links side by side: left to itself, it gives either content
        heard = Heard()
        prefix = made.hydrate(installer=UvInstaller(heard))
        site = prefix / "lib" / f"python{SERIES}" / "site-packages"
        assert {path: (site / path).read_text() for path in HAS} == HAS, attempt
        assert "from zeta_first import main" in (prefix / "bin/tool").read_text()
        assert verify_prefix(made.lock, prefix, unexpected=True).findings == ()
        assert [line.split(" contain")[0].split(": ")[1].removesuffix(" both") for line in heard.warnings] == [
            "alpha-one and alpha2",
            "alpha-one, middle and zeta-first all",
            "alpha-one and zeta-first",
            "alpha2 and zeta-first",
            "middle and zeta-first",
        ]
        shutil.rmtree(prefix)
    # What is linked is shared: the wheels themselves are still what they were.
    alone = making(tmp_path / "alone", ALPHA)
    site = alone.hydrate() / "lib" / f"python{SERIES}" / "site-packages"
    assert (site / "shared/both.py").read_text() == "OF = 'alpha-one'\n"


def test_damage_in_a_path_that_several_bring_is_found_and_named_after_the_winner(tmp_path: Path) -> None:
    made = making(tmp_path, *COLLIDING)
    prefix = made.hydrate()
    site = prefix / "lib" / f"python{SERIES}" / "site-packages"
    changed = site / "shared/both.py"
    changed.unlink()
    changed.write_text("OF = 'middle'\n")
    (finding,) = verify_prefix(made.lock, prefix).findings
    assert (finding.verdict, finding.package.name) == ("changed", "zeta-first")


def test_modules_that_come_as_data_are_the_same_paths(tmp_path: Path) -> None:
    """`lib64` is a link to `lib` in a virtual environment."""
    path = f"zz-1.0.data/data/lib64/python{SERIES}/site-packages/alpha_one/__init__.py"
    made = making(tmp_path, ALPHA, Release("zz", "1.0", files={path: "OF = 'zz'\n"}))
    heard = Heard()
    prefix = made.hydrate(installer=UvInstaller(heard))
    site = prefix / "lib" / f"python{SERIES}" / "site-packages"
    assert (site / "alpha_one/__init__.py").read_text() == "OF = 'zz'\n"
    assert verify_prefix(made.lock, prefix, unexpected=True).findings == ()
    assert any("alpha-one and zz" in line for line in heard.warnings)
    before = making(tmp_path / "before", ALPHA, Release("aa", "1.0", files={path.replace("zz", "aa"): "OF = 'aa'\n"}))
    site = before.hydrate() / "lib" / f"python{SERIES}" / "site-packages"
    assert "PLATFORM" in (site / "alpha_one/__init__.py").read_text()


def test_a_file_of_one_that_is_a_folder_of_another_is_reported_with_both_names(tmp_path: Path) -> None:
    one = Release("one", "1.0", files={"shared/x": "a file\n"})
    two = Release("two", "1.0", files={"shared/x/y.py": ""})
    made = making(tmp_path, one, two)
    with pytest.raises(HydrateError) as refused:
        made.hydrate()
    assert refused.value.code == "file-and-folder"
    assert "`one`" in refused.value.message
    assert "`two`" in refused.value.message
    assert remains(made.environments) == []


def test_over_conda_packages_too_the_last_wheel_of_the_lock_wins(tmp_path: Path) -> None:
    under = data_package("under", "1.0", {"share/note.txt": "under\n"})
    made = CondaMaking(tmp_path, own=(under,), wheels=COLLIDING)
    for _ in range(2):
        prefix = made.hydrate()
        (site,) = prefix.glob("lib/python*/site-packages")
        assert {path: (site / path).read_text() for path in HAS} == HAS
        assert verify_prefix(made.lock, prefix, unexpected=True).findings == ()
        shutil.rmtree(prefix)
    said = "\n".join(made.reporter.warnings)
    assert "conda package under and the wheel of zeta-first both contain" in said
    assert "alpha-one, middle and zeta-first" in said


def test_of_conda_packages_the_same_one_has_the_path_each_time(tmp_path: Path) -> None:
    own = tuple(
        data_package(name, "1.0", {"share/note.txt": f"{name}\n", f"share/{name}.txt": ""})
        for name in ("one", "two", "three", "four")
    )
    made = CondaMaking(tmp_path, own=own)
    seen = set()
    for _ in range(3):
        prefix = made.hydrate()
        seen.add((prefix / "share/note.txt").read_text())
        assert verify_prefix(made.lock, prefix).findings == ()
        shutil.rmtree(prefix)
    assert len(seen) == 1


@pytest.mark.parametrize(
    "path",
    [
        "evil-1.0.data/data/pyvenv.cfg",
        "evil-1.0.data/data/.envlock.json",
        f"evil-1.0.data/scripts/python{SERIES}",
    ],
)
def test_a_wheel_may_not_bring_what_is_the_environments_own(tmp_path: Path, path: str) -> None:
    made = making(tmp_path, Release("evil", "1.0", files={path: "home = /tmp\n"}))
    with pytest.raises(HydrateError) as refused:
        made.hydrate()
    assert (refused.value.code, refused.value.exit_status) == ("reserved-path", 5)
    assert "`evil`" in refused.value.message
    assert remains(made.environments) == []


@pytest.mark.parametrize(
    ("path", "is_its_own"),
    [
        ("PyVenv.cfg", True),
        ("conda-meta/other-1.0-0.json", True),
        ("bin/python", True),
        ("bin/python2.7", True),
        ("bin/python3.13t", True),
        ("bin/Python3", True),
        ("lib", True),
        ("bin/python-config", False),
        ("bin/pythonic", False),
        (f"lib/python{SERIES}/site-packages/pyvenv.cfg", False),
        ("share/conda-meta/other.json", False),
    ],
)
def test_which_paths_are_the_environments_own(path: str, is_its_own: bool) -> None:
    assert is_reserved(path) is is_its_own


def test_a_command_may_not_be_called_as_the_interpreter_is(tmp_path: Path) -> None:
    made = making(tmp_path, Release("evil", "1.0", scripts={"python3": "evil:main"}))
    with pytest.raises(HydrateError) as refused:
        made.hydrate()
    assert refused.value.code == "reserved-path"
    assert "`bin/python3`" in refused.value.message


@pytest.mark.parametrize("path", ["pyvenv.cfg", ".envlock.json"])
def test_a_conda_package_may_not_either(tmp_path: Path, path: str) -> None:
    made = CondaMaking(tmp_path, own=(data_package("evil", "1.0", {path: "home = /tmp\n"}),))
    with pytest.raises(HydrateError) as refused:
        made.hydrate()
    assert refused.value.code == "reserved-path"
    assert "`evil`" in refused.value.message
