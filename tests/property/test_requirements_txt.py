"""The reader of requirements.txt against pip's own: what both read, they read alike."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from pip._internal.exceptions import PipError
from pip._internal.models.format_control import FormatControl
from pip._internal.models.release_control import ReleaseControl
from pip._internal.network.session import PipSession
from pip._internal.req.constructors import parse_req_from_line
from pip._internal.req.req_file import ParsedLine, RequirementsFileParser, get_line_parser

from envlock.config.requirement_files.contents import FileContents, open_file
from envlock.config.requirement_files.errors import BadRequirementsFile
from envlock.config.requirement_files.requirements_txt import read_requirements_txt
from envlock.config.tables import Conflict
from envlock.errors import EnvlockError, Location
from envlock.model.requirement import PypiRequirement


class Meaning(NamedTuple):
    """What a file says, in a form that both readings can be given."""

    requirements: frozenset[tuple[str, ...]]
    """Each with `-c` if it is a constraint, its name, extras, specifier, marker, URL and hashes."""
    default_index: str
    indexes: frozenset[str]
    links: frozenset[str]
    flags: frozenset[str]


class Finder:
    """What pip's parser keeps of the options that take names of packages: those of one line go on from the last."""

    def __init__(self) -> None:
        self.format_control = FormatControl(set(), set())
        self.release_control = ReleaseControl(set(), set())

    def flags(self) -> set[str]:
        chosen = {
            "no-binary": self.format_control.no_binary,
            "all-releases": self.release_control.all_releases,
            "only-final": self.release_control.only_final,
        }
        found = {
            f"{flag}={name}" for flag, names in chosen.items() for name in ({":all:"} if ":all:" in names else names)
        }
        return {"pre" if each == "all-releases=:all:" else each for each in found}


@cache
def session() -> PipSession:
    return PipSession()


def by_pip(path: Path) -> Meaning:
    """Raises PipError, InvalidRequirement, UnicodeDecodeError."""
    finder = Finder()
    parser = RequirementsFileParser(session(), get_line_parser(finder))  # type: ignore[arg-type]
    lines = list(parser.parse(str(path), constraint=False))
    options = [line.opts for line in lines if line.requirement is None]
    return Meaning(
        frozenset(of_pip(line) for line in lines if line.requirement is not None),
        next((each.index_url for each in reversed(options) if each.index_url), ""),
        frozenset(url for each in options for url in each.extra_index_urls or ()),
        frozenset(url for each in options for url in each.find_links or ()),
        frozenset(flag for each in options for flag, given in (("pre", each.pre), ("no-index", each.no_index)) if given)
        | finder.flags(),
    )


def of_pip(line: ParsedLine) -> tuple[str, ...]:
    assert line.requirement is not None
    parts = parse_req_from_line(line.requirement, None)
    found = parts.requirement
    if found is None:
        raise InvalidRequirement(line.requirement)
    found.marker = parts.markers
    if parts.link is not None:
        found = Requirement(f"{found.name} @ {parts.link.url_without_fragment}")
    hashes = (line.opts.hashes or {}).get("sha256", [])
    return row(found, "-c" if line.constraint else "", {digest.lower() for digest in hashes})


def row(found: Requirement, kind: str, hashes: set[str]) -> tuple[str, ...]:
    extras = ",".join(sorted(map(canonicalize_name, found.extras)))
    of_index = (str(found.specifier), str(found.marker or ""), found.url or "")
    return (kind, canonicalize_name(found.name), extras, *of_index, *sorted(hashes))


def by_envlock(path: Path) -> Meaning:
    """Raises EnvlockError, Conflict."""
    found = contents_of(path)
    hashes: dict[tuple[str, int], set[str]] = {}
    for each in found.hashes:
        line = each.key
        hashes.setdefault((line.file, line.line), set()).update(each.sha256)  # type: ignore[attr-defined]

    def of(requirement: PypiRequirement, kind: str, place: tuple[str, int]) -> tuple[str, ...]:
        return row(Requirement(str(requirement)), kind, hashes.get(place, set()))

    return Meaning(
        frozenset(
            [
                *(of(each, "", (line.file, line.line)) for each, _, line in found.pypi),
                *(of(each, "-c", (line.file, line.line)) for each, line in found.constraints),
            ]
        ),
        found.default_index[0] if found.default_index else "",
        frozenset(url for url, _ in found.indexes),
        frozenset(url for url, _ in found.find_links),
        frozenset(found.pip_flags),
    )


def contents_of(path: Path) -> FileContents:
    def locate(_: object) -> Location:
        return Location("envlock.toml")

    return read_requirements_txt(
        open_file(path.name, ("env",), project=path.parent, locate=locate, error=BadRequirementsFile)
    )


space = st.sampled_from([" ", " ", "  "])
tail = st.sampled_from(["", "", " # why", "\t# tab", "  #", " ", "\t"])
url = st.sampled_from(["https://one.example/simple", "http://two.example:8080/a/b/", "https://x.example/#frag"])
name = st.sampled_from(["rich", "Attrs", "zope.interface", "a_b", "C3"])
specifier = st.sampled_from(["", "==1.0", ">=1,<2", " ~= 1.4", "!=1.1", " (>=2)", "==1.*", "<=3 , >2"])
extras = st.sampled_from(["", "", "[x]", "[B_c, a]"])
marker = st.sampled_from(["", "", " ; sys_platform == 'linux'", ";python_version<'3.12'", '; os_name != "nt#"'])
digest = st.sampled_from(["ab" * 32, "CD" * 32, "01" * 32])
hashes = st.lists(digest.map("--hash=sha256:{}".format), max_size=3)
requirement = st.builds(
    lambda name, extras, specifier, marker, hashes: " ".join([f"{name}{extras}{specifier}{marker}", *hashes]),
    name,
    extras,
    specifier,
    marker,
    hashes,
)
at_url = st.builds(
    lambda name, extras, marker: f"{name}{extras} @ https://files.example/x-1.0-py3-none-any.whl{marker}",
    name,
    extras,
    st.sampled_from(["", " ; sys_platform == 'linux'"]),
)
with_value = st.builds(
    lambda option, url: f"{option}{url}",
    st.sampled_from(["--extra-index-url ", "--extra-index-url=", "--extra-index=", "-f ", "-f", "--find-links="]),
    url,
)
default = st.sampled_from(["-i ", "-i", "--index-url=", "--index-url ", "--pypi-url "]).map(
    "{}https://default.example/simple".format
)
flag = st.sampled_from(
    [
        *("--pre", "--no-index", "--prefer-binary", "--only-binary :all:", "--only-binary=a,b", "--no-binary b,A_b"),
        *(
            "--no-binary=:none:",
            "--no-binary b,:none:,c",
            "--all-releases rich --only-final attrs",
            "--only-final=Rich",
        ),
        *("--only-final :all:", "--all-releases :all:", "--all-releases :all:,rich", "--use-feature=fast-deps"),
    ]
)
nothing = st.sampled_from(["", "# a comment", "   ", "\t# \\", "\x0c"])
line = st.one_of(requirement, requirement, at_url, with_value, default, flag, nothing)
lines = st.lists(st.tuples(line, tail).map("".join), max_size=6)
cuts = st.lists(st.integers(0, 400), max_size=3)
ending = st.sampled_from(["\n", "\r\n", "\r"])
encoding = st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32"])


def continued(text: str, cuts: Sequence[int]) -> str:
    """The text with a line that continues at some of its spaces."""
    for cut in cuts:
        at = text.find(" ", cut % (len(text) + 1))
        if at >= 0 and "#" not in text[text.rfind("\n", 0, at) + 1 : at]:
            text = f"{text[:at]} \\\n {text[at + 1 :]}"
    return text


@given(main=lines, more=lines, limits=st.lists(requirement, max_size=3), cuts=cuts, ending=ending, encoding=encoding)
@example(["rich==1.0 \\", "    --hash=sha256:" + "ab" * 32], [], [], [], "\n", "utf-8")
def test_what_people_write_means_what_it_means_to_pip(
    main: list[str], more: list[str], limits: list[str], cuts: list[int], ending: str, encoding: str
) -> None:
    limits = [each.replace("[x]", "").replace("[B_c, a]", "") for each in limits]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "requirements.txt")
        Path(folder, "more.txt").write_text("\n".join(more))
        Path(folder, "limits.txt").write_text("\n".join(limits))
        text = continued("\n".join([*main, "-r more.txt", "--constraint=limits.txt"]), cuts)
        path.write_bytes(text.replace("\n", ending).encode(encoding))
        assert by_envlock(path) == by_pip(path)


@given(
    text=st.one_of(lines.map("\n".join), st.text("rich=1.0 -\\#;\"'\n\t@[],irfcep:/", max_size=30)),
    at=st.integers(0, 400),
    letter=st.sampled_from(["", " ", "\\", "#", "'", '"', "-", "=", "\t", "\n", ";", "[", "--", "\\\n", "@", "-e "]),
)
@example("rich \\\n# none\n==1.0", 0, "")
@example("rich\\\\\n\\", 0, "")
@example("rich @ https://files.example/;x-1.0-py3-none-any.whl", 0, "")
@example("https://files.example/rich-1.0-py3-none-any.whl;x ; os_name=='nt'", 0, "")
@example("rich --pre", 0, "")
@example("--extra-index-url https://one.example --pre --extra-index-url https://two.example --pre", 0, "")
@example("-i https://one.example --pre", 0, "")
@example('-i "https://one.example"', 0, "")
@example("rich\t--hash=sha256:00", 0, "")
@example("--pre#x", 0, "")
def test_what_envlock_reads_pip_reads_alike(text: str, at: int, letter: str) -> None:
    at %= len(text) + 1
    text = text[:at] + letter + text[at:]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "requirements.txt")
        path.write_text(text, newline="")
        try:
            found = by_envlock(path)
        except (EnvlockError, Conflict):
            return
        assert found == by_pip(path)


FORMS = (
    "rich==1 --hash=sha256:{0} --hash=sha256:{1}",
    "rich==1 \\\n --hash sha256:{0} \\\n  --hash=sha384:{0}{1}",
    "rich   ;   python_version < '3.12' and ( os_name == 'posix' )",
    "rich;python_version in '3.10 3.11'",
    "rich@ https://files.example/rich-1.0-py3-none-any.whl",
    "rich @https://files.example/rich-1.0-py3-none-any.whl ; os_name == 'nt'",
    "rich[a]@https://files.example/rich-1.0-py3-none-any.whl",
    "# comment \\\nrich",
    "rich # comment \\\nattrs",
    "rich \\\n# comment \\\nattrs",
    "rich [a , b]>=1",
    "rich\t>=1\t# a tab",
    "rich===1.0",
    "rich==1+local",
    "-rdeep/more.txt",
    "-e git+https://code.example/t@main#egg=t",
    "--only-binary=:all: --no-binary=rich",
)
REFUSED = (
    "-i https://a.example -i https://b.example",
    "-e ./x ; os_name == 'posix'",
    "-c https://files.example/c.txt",
    "rich --config-settings a=b",
    "rich @ file:///srv/rich-1.0-py3-none-any.whl",
)


@pytest.mark.parametrize("form", FORMS)
def test_a_rarer_form_means_what_it_means_to_pip(form: str, tmp_path: Path) -> None:
    deep = tmp_path / "deep" / "deeper"
    deep.mkdir(parents=True)
    (deep.parent / "more.txt").write_text("attrs\n-r deeper/last.txt\n")
    (deep / "last.txt").write_text("-c ../limits.txt\nsix\n")
    (deep.parent / "limits.txt").write_text("six<2\n")
    path = tmp_path / "requirements.txt"
    path.write_text(form.format("ab" * 32, "cd" * 32))
    assert by_envlock(path) == by_pip(path)


@pytest.mark.parametrize("form", REFUSED)
def test_what_pip_reads_and_no_lock_can_hold_is_refused_with_what_to_write(form: str, tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text(form)
    with pytest.raises(EnvlockError) as caught:
        by_envlock(path)
    assert caught.value.hint
    assert caught.value.locations[0][:2] == ("requirements.txt", 1)


@pytest.mark.parametrize("text", ["rich==", "--nope", "-r", "rich --hash=md5:00", "'", "-r gone.txt"])
def test_what_pip_refuses_envlock_refuses(text: str, tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text(text)
    with pytest.raises((PipError, InvalidRequirement)):
        by_pip(path)
    with pytest.raises(EnvlockError):
        by_envlock(path)
