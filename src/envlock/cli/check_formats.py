"""What `check` finds, and errors that end it, in the formats of code hosts: `--format github|gitlab|sarif|junit`.

Each takes the same `Notice`s. Paths are relative to the checkout, which is what code hosts show lines of. No name or
value of a file can end a line of these formats, or begin a command of a log.

Sources: GitHub's workflow commands; GitLab's Code Quality reports; SARIF 2.1.0 (OASIS), as GitHub code scanning takes
it; the JUnit XML that Jenkins and GitLab read.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from envlock.errors import EnvlockError, Location, ManyErrors, one_line, printable
from envlock.workflow.check_rules import Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from envlock.workflow.check import CheckResult
    from envlock.workflow.check_rules import Finding

HELP = {
    Verdict.MISSING: "Run `envlock lock`, and commit the new locks.",
    Verdict.ARCH_MISSING: "Run `envlock lock`, and commit the new locks; or remove the arch from `archs`.",
    Verdict.STALE: "Run `envlock lock`, and commit the locks that it writes and deletes; or undo the change.",
    Verdict.RESTAMP: "Run `envlock lock`: it keeps the packages, and writes the new requirements into the lock.",
    Verdict.TWO_LOCKS: "Two branches locked the environment. Run `envlock lock`, which makes one lock of them.",
    Verdict.ORPHAN: "Run `envlock lock`, which deletes the file.",
    Verdict.NOT_ADDED: "Run the `git add` that the message names, and commit again.",
    Verdict.BASE_LACKS_ARCH: "Lock the named environment for the arch too, or remove the arch from `archs`.",
    Verdict.ALIAS_MOVED: "Run `envlock lock --upgrade-alias NAME` to take the environment that it names now.",
    Verdict.YANKED: "Run `envlock lock --upgrade-package NAME` to lock another release.",
    Verdict.UNKNOWN_NAME: "Correct the name, or give it to an environment: `envlock alias`.",
    Verdict.STEPS_UNKNOWN: "Write the steps of the flow into envlock.toml: `steps = [...]`.",
    Verdict.UNREADABLE: "Upgrade envlock.",
    Verdict.DAMAGED: "Restore the file from git; or delete it, run `envlock lock`, and review the new one.",
    Verdict.PIN_DISAGREES: "Find out who changed the pin or the cache. envlock repairs neither.",
    Verdict.BUILD_NOT_ALLOWED: "Run `envlock lock`; or add the package to `build` if you trust its source.",
    Verdict.HOST_NOT_ALLOWED: "Restore the lock from git; or add the host to `hosts` if you trust it.",
}
"""What to do about each verdict."""

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_SEVERITIES = {1: "major", 2: "critical", 3: "blocker"}
"""GitLab's words for how grave a finding is, by exit status."""


class Notice(NamedTuple):
    """A finding, with all archs that it concerns, or an error."""

    rule: str
    """The verdict, or the code of the error."""
    title: str
    environment: str
    archs: tuple[str, ...]
    lines: tuple[str, ...]
    """The reasons, and what repairs it."""
    at: Location | None
    exit_status: int
    meaning: tuple[str, str] = ("", "")
    """Of an error: what is true of all with this code, and what helps."""

    @property
    def where(self) -> str:
        """The environment, and the archs."""
        return " on ".join(filter(None, (self.environment, ", ".join(self.archs))))

    @property
    def message(self) -> str:
        """All that it says, but its place, in one line."""
        return one_line(": ".join(filter(None, (self.where, self.title, "; ".join(self.lines)))))

    @property
    def identity(self) -> tuple[str, ...]:
        """What stays the same while lines move, versions change, and archs come and go."""
        path, key = (self.at.path, self.at.key) if self.at is not None else ("", None)
        what = (path, key or self.title) if self.meaning[0] else (path,) if not self.environment else ()
        return (self.rule, self.environment, *what)


def folded(findings: Sequence[Finding]) -> list[tuple[Finding, ...]]:
    """The findings, those together that differ only in their arch."""
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for finding in findings:
        path = finding.location.path if finding.verdict.is_of_file and finding.location else ""
        key = (finding.environment, finding.verdict, finding.reasons, finding.repair, path)
        groups.setdefault(key, []).append(finding)
    return [tuple(group) for group in groups.values()]


def write_result(style: str, result: CheckResult, folder: Path) -> str:
    """What `check` found in the project of a folder, for `--format style`."""
    if style == "junit":
        return _as_junit(result, folder)
    notices = [notice_of(group) for group in folded(result.findings)]
    if style == "github":  # which shows ten of a step: one for each arch would soon be too many
        return "".join(as_github(notice, folder) for notice in notices)
    return _as_sarif(notices, folder, result.exit_status) if style == "sarif" else _as_gitlab(notices, folder)


def notice_of(group: Sequence[Finding]) -> Notice:
    """The notice of findings that differ only in their arch."""
    first = group[0]
    return Notice(
        first.verdict.value,
        first.verdict.words,
        first.environment,
        tuple(each.arch for each in group if each.arch),
        (*first.reasons, f"repair: {first.repair}"),
        first.location,
        first.exit_status,
    )


def write_error(style: str, error: EnvlockError, arguments: Sequence[str]) -> str:
    """An error that ends a command, for `--format style`: each one at its line of the checkout.

    Places in errors are relative to the folder of envlock.toml, which `arguments` may name.
    """
    folder = _folder_of(arguments)
    notices = [_notice_of_error(each) for each in (error.errors if isinstance(error, ManyErrors) else (error,))]
    if style == "github":
        return "".join(_annotation(each.rule, each.lines, each.at, folder) for each in notices)
    if style == "junit":
        return _junit([_case("envlock check", f"{each.rule} at {each.at}", [each], folder) for each in notices])
    return _as_sarif(notices, folder, error.exit_status) if style == "sarif" else _as_gitlab(notices, folder)


def _notice_of_error(error: EnvlockError) -> Notice:
    lines = (error.message, *error.details, *([f"hint: {error.hint}"] if error.hint else []))
    at = error.locations[0] if error.locations else None
    meaning = ((type(error).__doc__ or error.code).partition("\n")[0], error.hint or "Read the message.")
    return Notice(error.code, "", "", (), lines, at, error.exit_status, meaning)


def _folder_of(arguments: Sequence[str]) -> Path:
    """The folder of the envlock.toml that a command line is about."""
    from itertools import pairwise

    from envlock.config.read import find_config

    given = [each.removeprefix("--config=") for each in arguments if each.startswith("--config=")]
    given += [value for option, value in pairwise(arguments) if option == "--config"]
    try:
        return Path(given[-1]).parent if given else find_config(Path.cwd()).parent
    except EnvlockError:
        return Path.cwd()


def _checkout(folder: Path) -> str:
    """The top of the checkout: as CI says, else of the git work tree, else the working folder."""
    said = os.environ.get("GITHUB_WORKSPACE") or os.environ.get("CI_PROJECT_DIR")
    if said:
        return said
    whole = folder.absolute()
    found = next((each for each in (whole, *whole.parents) if (each / ".git").exists()), None)
    return str(found) if found is not None else os.getcwd()  # noqa: PTH109


def _path_of(at: Location | None, folder: Path) -> str | None:
    """The path of a place in the checkout; None if it is not the place of a file."""
    if at is None or "\0" in at.path or not os.path.lexists(folder / at.path):
        return None
    return os.path.relpath((folder / at.path).absolute(), _checkout(folder))


def _path_or_config(at: Location | None, folder: Path) -> str:
    """The same, and the path of envlock.toml for what has no place: code hosts refuse a report with such an entry."""
    from envlock.config.project import CONFIG_NAME

    return _path_of(at, folder) or os.path.relpath((folder / CONFIG_NAME).absolute(), _checkout(folder))


def _region(at: Location, folder: Path) -> dict[str, object]:
    """The line of a place, and of its key the first and the last column, counted from 1, if the line has it."""
    from envlock.files import LOCK_BYTES, read_file

    region: dict[str, object] = {"startLine": at.line}
    try:
        lines = read_file(folder / at.path, LOCK_BYTES).decode(errors="replace").split("\n")  # as TOML counts lines
        line = lines[(at.line or 0) - 1]
    except (OSError, IndexError):
        return region
    name = (at.key or "").rpartition(".")[2].strip('"')
    found = line.find(name)
    first = found if name and found >= 0 else len(line) - len(line.lstrip())
    if line.strip():
        region |= {"startColumn": first + 1, "endColumn": len(line.rstrip()) + 1}
    return region


def _fingerprints(notices: Sequence[Notice], folder: Path) -> Iterator[str]:
    """What identifies each notice in the project: it has no line, so it stays when lines move."""
    import hashlib
    from collections import Counter

    before: Counter[tuple[str, ...]] = Counter()
    project = os.path.relpath(folder.absolute(), _checkout(folder))
    for notice in notices:
        before[notice.identity] += 1
        whole = (project, *notice.identity, str(before[notice.identity]))
        yield hashlib.sha256("\0".join(whole).encode(errors="surrogatepass")).hexdigest()


def as_github(notice: Notice, folder: Path) -> str:
    """A finding as a GitHub workflow command, which is shown beside its line of the checkout."""
    text = ": ".join(filter(None, (notice.where, "; ".join(notice.lines))))
    return _annotation(notice.title, [text], notice.at, folder)


def _annotation(title: str, lines: Sequence[str], at: Location | None, folder: Path) -> str:
    """One workflow command. No name or value in it can end the line or start another command."""
    properties = []
    path = _path_of(at, folder)
    if path is not None and at is not None:
        properties.append(f"file={_of_property(path)}")
        properties += [f"line={at.line}"] if at.line is not None else []
    properties.append(f"title={_of_property(f'envlock: {title}')}")
    text = "%0A".join(_of_message(line) for each in lines for line in each.splitlines() or [""])
    return f"::error {','.join(properties)}::{text}\n"


def _of_message(text: str) -> str:
    return one_line(text).replace("%", "%25")


def _of_property(text: str) -> str:
    return _of_message(text).replace(":", "%3A").replace(",", "%2C")


# GitLab: a Code Quality report.


def _as_gitlab(notices: Sequence[Notice], folder: Path) -> str:
    return _json(
        [
            {
                "description": notice.message,
                "check_name": f"envlock/{notice.rule}",
                "fingerprint": fingerprint,
                "severity": _SEVERITIES.get(notice.exit_status, "blocker"),
                "location": {
                    "path": one_line(_path_or_config(notice.at, folder)),
                    "lines": {"begin": notice.at.line if notice.at and notice.at.line else 1},
                },
            }
            for notice, fingerprint in zip(notices, _fingerprints(notices, folder), strict=True)
        ]
    )


def _json(document: object) -> str:
    import json

    from envlock.errors import without_commands

    return f"{without_commands(json.dumps(document, indent=2))}\n"


# SARIF 2.1.0.


def _as_sarif(notices: Sequence[Notice], folder: Path, exit_status: int) -> str:
    from envlock import __version__

    rules = [_rule(each.value, f"{each.words}: {each.rule}", HELP[each]) for each in Verdict]
    names = [each.value for each in Verdict]
    for notice in notices:
        if notice.rule not in names:
            names.append(notice.rule)
            rules.append(_rule(notice.rule, *notice.meaning))
    is_error = any(notice.meaning[0] for notice in notices)
    run = {
        "tool": {"driver": {"name": "envlock", "version": __version__, "rules": rules}},
        "invocations": [{"executionSuccessful": not is_error, "exitCode": exit_status}],
        "columnKind": "unicodeCodePoints",
        "results": [
            {
                "ruleId": notice.rule,
                "ruleIndex": names.index(notice.rule),
                "level": "error",
                "message": {"text": notice.message},
                "locations": [{"physicalLocation": _physical(notice.at, folder)}],
                "partialFingerprints": {"envlock/v1": fingerprint},
                "properties": {
                    "environment": one_line(notice.environment),
                    "archs": [*notice.archs],
                    "exitStatus": notice.exit_status,
                },
            }
            for notice, fingerprint in zip(notices, _fingerprints(notices, folder), strict=True)
        ],
    }
    return _json({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]})


def _rule(name: str, text: str, help_text: str) -> dict[str, object]:
    plain = text[:1].upper() + text[1:].rstrip(".") + "."
    return {
        "id": name,
        "shortDescription": {"text": plain.replace("`", "")},
        "fullDescription": {"text": plain.replace("`", "")},
        "help": {"text": help_text.replace("`", ""), "markdown": help_text},
        "defaultConfiguration": {"level": "error"},
    }


def _physical(at: Location | None, folder: Path) -> dict[str, object]:
    from urllib.parse import quote

    path = _path_or_config(at, folder)
    if path.partition("/")[0] == "..":  # not of the checkout
        artifact = {"uri": (folder / (at.path if at else "")).resolve().as_uri()}
    else:
        artifact = {"uri": quote(os.fsencode(path)), "uriBaseId": "%SRCROOT%"}
    place: dict[str, object] = {"artifactLocation": artifact}
    if at is not None and at.line and _path_of(at, folder):
        place["region"] = _region(at, folder)
    return place


# JUnit XML.


def _as_junit(result: CheckResult, folder: Path) -> str:
    """A test case for each environment and arch, and for each file that is of none."""
    found: dict[tuple[str, str], list[Finding]] = {
        (environment, arch): [] for environment in result.environment_names for arch in result.arch_names
    }
    for finding in result.findings:
        path = finding.location.path if finding.location else ""
        key = (finding.environment or path, finding.arch or finding.verdict.value)
        found.setdefault(key, []).append(finding)
    cases = []
    for (environment, arch), findings in found.items():
        gravest = sorted(findings, key=lambda each: -each.exit_status)
        cases.append(_case(environment, arch, [notice_of([each]) for each in gravest], folder))
    skipped = [f"{_opening(name, 'fetched')}><skipped/></testcase>" for name in result.fetched_names]
    return _junit([*cases, *skipped])


def _case(environment: str, name: str, notices: Sequence[Notice], folder: Path) -> str:
    """A test case: it failed if there are notices, and was no test at all if they are errors."""
    if not notices:
        return f"{_opening(environment, name)}/>"
    first = notices[0]
    kind = "error" if first.meaning[0] else "failure"
    paragraphs = [
        "\n".join(filter(None, (each.title, _shown(each.at, folder), *map(one_line, each.lines)))) for each in notices
    ]
    text = _escaped("\n\n".join(paragraphs))
    path = _path_of(first.at, folder)
    file = f' file="{_attribute(path)}"' if path is not None else ""
    inside = (
        f'<{kind} message="{_attribute(first.title or first.lines[0])}" type="{_attribute(first.rule)}">{text}</{kind}>'
    )
    return f"{_opening(environment, name)}{file}>\n      {inside}\n    </testcase>"


def _opening(environment: str, name: str) -> str:
    return f'    <testcase classname="{_attribute(environment)}" name="{_attribute(name)}"'


def _shown(at: Location | None, folder: Path) -> str:
    path = _path_of(at, folder)
    return f"at {one_line(str(at._replace(path=path)))}" if at is not None and path is not None else ""


def _junit(cases: Sequence[str]) -> str:
    kinds = {"failures": "<failure ", "errors": "<error ", "skipped": "<skipped/>"}
    counts = {name: sum(mark in case for case in cases) for name, mark in kinds.items()}
    total = "".join(f' {name}="{number}"' for name, number in {"tests": len(cases), **counts}.items())
    whole = total.replace(f' skipped="{counts["skipped"]}"', "")  # an attribute of suites alone
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuites name="envlock check"{whole}>',
        f'  <testsuite name="envlock check"{total}>',
        *cases,
        "  </testsuite>",
        "</testsuites>",
    ]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """The text as XML of ASCII alone, so that it means the same in whatever encoding it is written."""
    for each, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(each, name)
    whole = printable(text).encode("utf-8", "replace").decode()  # a surrogate is a path that is not UTF-8
    return whole.encode("ascii", "xmlcharrefreplace").decode()


def _attribute(text: str) -> str:
    return _escaped(one_line(text)).replace("\t", " ")
