"""How requirements differ, one by one."""

from __future__ import annotations

from envlock.lockfile.required_changes import RequirementChange, requirement_changes
from envlock.model.arch import LINUX_64, OSX_ARM64
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from tests.support import conda_requirements


class TestRequirements:
    def told(self, before: Requirements, after: Requirements) -> list[str]:
        return [str(each) for each in requirement_changes(before.document(), after.document())]

    def test_a_lock_that_leaves_out_a_python_without_limits_requires_the_same(self) -> None:
        document = Requirements(pypi=(parse_requirement("rich"),)).document()
        without = {key: value for key, value in document.items() if key != "python"}
        assert requirement_changes(without, document) == ()
        limited = {**document, "python": ">=3.12"}
        assert [str(each) for each in requirement_changes(without, limited)] == ["python any version -> >=3.12"]

    def test_of_packages(self) -> None:
        before = Requirements(
            pypi=tuple(map(parse_requirement, ("pandas>=2", "rich", "six[all]"))),
            conda=conda_requirements("numpy >=1.26", "conda-forge::zlib"),
        )
        after = Requirements(
            python=">=3.12",
            pypi=tuple(map(parse_requirement, ("pandas>=2.2", "idna<4"))),
            conda=conda_requirements("numpy >=1.27", "conda-forge::zlib"),
            constraints=(parse_requirement("six<2"),),
            overrides=(parse_requirement("rich ; python_version < '0'"),),
        )
        assert self.told(before, after) == [
            "python any version -> >=3.12",
            "pandas >=2 -> >=2.2",
            "-rich",
            "-six [all]",
            "numpy (conda) >=1.26 -> >=1.27",
            "+idna <4",
            "+constraint six <2",
            "+override rich ; python_version < '0'",
        ]

    def test_of_one_package_under_several_conditions(self) -> None:
        before = Requirements(pypi=(parse_requirement("rich<14"),))
        after = Requirements(
            pypi=(
                parse_requirement("rich<14 ; python_version < '3.12'"),
                parse_requirement("rich>=14 ; python_version >= '3.12'"),
            )
        )
        (change,) = requirement_changes(before.document(), after.document())
        assert (change.name, change.before, change.thing) == ("rich", "<14", "rich")
        assert "<14 ; " in change.after
        assert " and >=14 ; " in change.after

    def test_of_settings(self) -> None:
        channels = ("https://c.example/a", "https://c.example/b")
        before = Requirements(channels=channels, system=((LINUX_64, "__glibc", "2.17"),))
        after = Requirements(
            channels=channels[::-1],
            system=((LINUX_64, "__glibc", "2.28"), (OSX_ARM64, "__osx", "12.0")),
            exclude_newer="2026-01-01T00:00:00Z",
        )
        assert self.told(before, after) == [
            "__glibc 2.17 -> 2.28",
            f"channels {', '.join(channels)} -> {', '.join(channels[::-1])}",
            "+__osx 12.0",
            "+exclude-newer 2026-01-01T00:00:00Z",
        ]

    def test_no_value_of_a_variable_is_told(self) -> None:
        before = Requirements(variables=(("KEY", "secret-1"), ("OLD", "x")))
        after = Requirements(variables=(("KEY", "secret-2"), ("NEW", "y")))
        assert self.told(before, after) == [
            "variable KEY set -> another value",
            "+variable NEW set",
            "-variable OLD set",
        ]

    def test_a_folder_is_told_by_its_path_and_its_content(self) -> None:
        urls = [f"folder+sha256:{each * 64}" for each in "ab"]
        before, after = ({"pypi": [f"tool @ {url}"]} for url in urls)
        assert requirement_changes(before, after, dict.fromkeys(urls, "libs/tool")) == (
            RequirementChange("tool", f"@ libs/tool ({'a' * 12})", f"@ libs/tool ({'b' * 12})", "tool"),
        )
