"""git repositories: which commit a name means, and the files of a commit.

git's own helpers, its settings for hosts, and netrc give the credentials, and git asks no questions. What reaches the
network is one process; checking out is another, without any settings of the user, so that no filter and no hook runs.
Nothing that a repository holds is run.
"""

from __future__ import annotations

import os
import posixpath
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from envlock.addresses import Address, hide, remember
from envlock.build.errors import AmbiguousRef, GitUnreachable, NoGit, NoSuchRef, UnusableRepository
from envlock.config.local_sources import ssh_url
from envlock.credentials import Credentials
from envlock.files import CONFIG_BYTES, read_file
from envlock.model.url import COMMIT, strip_credentials
from envlock.reporter import running
from envlock.revisions import files_below
from envlock.stage import temporary_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_KEPT = (
    *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"),
    *("SSH_AUTH_SOCK", "SSH_AGENT_PID", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_ASKPASS", "GIT_CONFIG_GLOBAL"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_EXEC_PATH"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
)
_GIVEN = re.compile(r"GIT_CONFIG_(?:COUNT|(?:KEY|VALUE)_[0-9]+)")
"""Variables with settings of git, such as a CI has for its credentials."""
_ALWAYS = {
    "GIT_TERMINAL_PROMPT": "0",
    "GCM_INTERACTIVE": "never",
    "GIT_ALLOW_PROTOCOL": "https:http:ssh:git:file",
    "LC_ALL": "C",
}
_SSH = "ssh -oBatchMode=yes -oConnectTimeout=20"
_SETTINGS = (
    *("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.autocrlf=false", "-c", "core.eol=lf"),
    *("-c", "core.symlinks=true", "-c", "protocol.version=2", "-c", "gc.auto=0", "-c", "maintenance.auto=false"),
    *("-c", "http.lowSpeedLimit=1", "-c", "http.lowSpeedTime=60", "-c", "http.followRedirects=initial"),
    *("-c", "fetch.recurseSubmodules=false", "-c", "submodule.recurse=false", "-c", "advice.detachedHead=false"),
)
_LOOKING = 60.0
"""Seconds in which a repository has to say what it has."""
_REFUSES_ONE = re.compile(
    r"not our ref|unadvertised object|shallow|couldn't find remote ref|Server does not allow|did not send all necessary"
    r"|no such remote ref|remote error: upload-pack",
    re.IGNORECASE,
)
_OF_HISTORY = re.compile(
    r"setuptools[-_]scm|hatch[-_]vcs|flit[-_]scm|vcs[-_]versioning|versioningit|versioneer|dunamai|dynamic[-_]versioning"
    r"|setuptools[-_]git[-_]versioning|\bpbr\b|source\s*=\s*[\"']scm[\"']"
)
_DEEPEST = 5
"""Submodules in each other."""
_LINES = 4
_POINTER = b"version https://git-lfs.github.com/spec/"
_LARGEST_POINTER = 1024


def is_commit(ref: str) -> bool:
    """Whether it is a whole commit, which no name can be.

    >>> is_commit("ab" * 20), is_commit("abcdef1"), is_commit("main")
    (True, False, False)
    """
    return re.fullmatch(COMMIT, ref.lower()) is not None


class _Repository(NamedTuple):
    url: str
    """To ask: with credentials, and with variables filled in."""
    said: str
    """In messages: without the former, and with the latter as they are written."""
    source: str
    """What is built from it, for messages."""

    @classmethod
    def of(cls, url: str, kept: str, source: str) -> _Repository:
        remember(Address(url, kept or strip_credentials(url)))
        return cls(url, kept or strip_credentials(url), source)


def commit_of(url: str, ref: str, source: str, *, kept: str = "") -> str:
    """The commit, in lower case, that a branch, a tag, or the repository's HEAD (an empty `ref`) means now.

    `refs/heads/NAME` and `refs/tags/NAME` say which of two of one name. A whole commit means itself, and starts no
    process. Any other costs one question to the repository, and the first digits of a commit a list of all its
    commits. `kept` is the URL for messages, if variables were filled into it. Raises NoGit, GitUnreachable, NoSuchRef,
    AmbiguousRef.
    """
    repository = _Repository.of(url, kept, source)
    if is_commit(ref):
        return ref.lower()
    names = [ref] if ref.startswith("refs/") else [f"refs/tags/{ref}", f"refs/heads/{ref}"] if ref else ["HEAD"]
    asked = [each for name in names for each in (f"{name}^{{}}", name)]
    answer = _ask(repository, ["ls-remote", "--", _place(url), *asked], is_short=True)
    found = {name: commit for commit, _, name in (line.partition("\t") for line in answer.splitlines())}
    commits = [next((found[each] for each in (f"{name}^{{}}", name) if each in found), "") for name in names]
    commit = next(filter(None, commits), "")
    if len({*filter(None, commits)}) > 1:
        raise AmbiguousRef(source, url=repository.said, ref=ref)
    if not commit and _is_short(ref):
        commit = _commit_that_begins(repository, ref)
    if not commit:
        said = f"branch, tag or commit `{ref}`" if ref else "commit yet"
        details = ("no commit on a branch or a tag begins so, or several do",) if _is_short(ref) else ()
        raise NoSuchRef(source, url=repository.said, ref=said, details=details)
    return commit


def _commit_that_begins(repository: _Repository, digits: str) -> str:
    """The only commit on a branch or a tag that begins with these digits; empty if there is none, or several."""
    with temporary_folder() as folder:
        _local(folder, repository, ["init", "--quiet", "--bare", "--template="])
        every = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
        fetch = ["fetch", "--quiet", "--filter=tree:0", "--no-recurse-submodules", "--", _place(repository.url), *every]
        _ask(repository, fetch, folder=folder)
        return _run(["rev-parse", "--verify", "--quiet", f"{digits}^{{commit}}"], folder, _alone()).stdout.strip()


def checkout(url: str, commit: str, into: Path, source: str, *, kept: str = "") -> int:
    """Bring the files of a commit, with those of its submodules, into an empty folder. When it was made, in seconds.

    Only that commit is fetched, where the repository allows it, else all of its branches and tags. Files have the modes
    755 and 644, and the commit's time. `kept` is as for `commit_of`. Raises NoGit, GitUnreachable, NoSuchRef for a
    commit that is not there, UnusableRepository for files of git LFS, and OSError.
    """
    when = _check_out(_Repository.of(url, kept, source), commit, into, 0)
    _set_modes(into, when)
    return when


def _check_out(repository: _Repository, commit: str, into: Path, depth: int) -> int:
    kind = ("--object-format=sha256",) if len(commit) == 64 else ()
    _local(into, repository, ["init", "--quiet", "--template=", *kind])
    _fetch(repository, commit, into)
    _local(into, repository, ["checkout", "--quiet", "--force", "--detach", commit])
    (into / ".git" / "FETCH_HEAD").unlink(missing_ok=True)  # has the URL
    _refuse_pointers(repository, into)
    for path, inner, its_commit in _submodules(repository, commit, into):
        if depth >= _DEEPEST:
            reason = f"it has more than {_DEEPEST} submodules in each other"
            raise UnusableRepository(repository.source, url=repository.said, reason=reason)
        if os.path.realpath(into / path) != f"{os.path.realpath(into)}/{path}":  # a tree may name one path twice
            reason = f"its submodule `{path}` is below a link"
            raise UnusableRepository(repository.source, url=repository.said, reason=reason)
        _check_out(inner, its_commit, into / path, depth + 1)
    return int(_local(into, repository, ["show", "--no-patch", "--format=%ct", commit]).strip() or 0)


def reads_history(project: Path) -> bool:
    """Whether a project takes its version from the tags before a commit, as its own files tell."""
    for name in ("pyproject.toml", "setup.cfg", "setup.py"):
        try:
            text = read_file(project / name, CONFIG_BYTES).decode("utf-8", "replace")
        except OSError:
            continue
        if _OF_HISTORY.search(text):
            return True
    return False


def fetch_history(url: str, commit: str, folder: Path, source: str, *, kept: str = "") -> None:
    """Bring the commits before one that is checked out, and all tags, without the files of older commits if possible.

    Raises NoGit, GitUnreachable.
    """
    options = ["--quiet", "--no-recurse-submodules", "--filter=blob:none"]
    options += ["--unshallow"] if (folder / ".git" / "shallow").exists() else []
    wanted = ["--", _place(url), commit, "+refs/tags/*:refs/tags/*"]
    _ask(_Repository.of(url, kept, source), ["fetch", *options, *wanted], folder=folder)
    (folder / ".git" / "FETCH_HEAD").unlink(missing_ok=True)


def _fetch(repository: _Repository, commit: str, into: Path) -> None:
    fetch, place = ["fetch", "--quiet", "--no-tags", "--no-recurse-submodules"], _place(repository.url)
    try:
        _ask(repository, [*fetch, "--depth=1", "--", place, commit], folder=into)
        return
    except GitUnreachable as error:
        if not any(_REFUSES_ONE.search(line) for line in error.details):
            raise
    every = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"]
    _ask(repository, [*fetch, "--", place, *every], folder=into)
    ran = _run(["cat-file", "-e", f"{commit}^{{commit}}"], into, _alone())
    if ran.returncode != 0:
        raise NoSuchRef(repository.source, url=repository.said, ref=f"commit {commit} on any branch or tag")


def _submodules(repository: _Repository, commit: str, folder: Path) -> Iterator[tuple[str, _Repository, str]]:
    """The path, the repository and the commit of each submodule of a commit."""
    listed = _local(folder, repository, ["ls-tree", "-r", "-z", commit])
    rows = [row for row in listed.split("\0") if row.startswith("160000 ")]
    if not rows:
        return
    listed = _run(
        ["config", "--null", "--blob", f"{commit}:.gitmodules", "--get-regexp", r"^submodule\..*\.(path|url)$"],
        folder,
        _alone(),
    ).stdout
    modules: dict[str, dict[str, str]] = {}
    for entry in filter(None, listed.split("\0")):
        key, _, value = entry.partition("\n")
        name, _, field = key.removeprefix("submodule.").rpartition(".")
        modules.setdefault(name, {})[field] = value
    urls = {each["path"]: each["url"] for each in modules.values() if {"path", "url"} <= each.keys()}
    for row in rows:
        head, _, path = row.partition("\t")
        written = urls.get(path, "")
        if not written:
            reason = f"it names no URL for its submodule `{path}`"
            raise UnusableRepository(repository.source, url=repository.said, reason=reason)
        is_relative = written.startswith(("./", "../"))
        place = _joined(repository.url, written) if is_relative else written
        is_local = urlsplit(repository.url).scheme == "file"  # then its submodules may be, too
        if urlsplit(place).scheme not in {"https", "http", "ssh", *(("file",) if is_local else ())}:
            place = ssh_url(place)
        if not place:
            reason = f"its submodule `{path}` has the URL `{strip_credentials(written)}`, which only one machine has"
            raise UnusableRepository(repository.source, url=repository.said, reason=reason)
        kept = _joined(repository.said, written) if is_relative else ""
        yield path, _Repository.of(place, kept, repository.source), head.split()[2]


def _joined(url: str, relative: str) -> str:
    """The URL of a submodule that is written relative to that of its repository.

    >>> _joined("ssh://git@code.example/team/tool.git", "../lib.git")
    'ssh://git@code.example/team/lib.git'
    """
    parts = urlsplit(url)
    return urlunsplit((*parts[:2], posixpath.normpath(f"{parts.path}/{relative}"), "", ""))


def _refuse_pointers(repository: _Repository, folder: Path) -> None:
    """Raises UnusableRepository where a file is only a pointer to what git LFS has elsewhere."""
    files = [(below, name) for below, names in files_below(folder) if f"{folder}/.git" not in below for name in names]
    attributes = [Path(below, name) for below, name in files if name == ".gitattributes"]
    if not any(b"filter=lfs" in each.read_bytes() for each in attributes if not each.is_symlink()):
        return
    for below, name in files:
        place = Path(below, name)
        if place.is_symlink() or not 0 < place.stat().st_size <= _LARGEST_POINTER:
            continue
        if place.read_bytes().startswith(_POINTER):
            reason = f"`{place.relative_to(folder)}` is kept by git LFS, which is not fetched"
            raise UnusableRepository(repository.source, url=repository.said, reason=reason)


def _set_modes(top: Path, when: int) -> None:
    for below, names in files_below(top):
        for name in names:
            place = Path(below, name)
            if not place.is_symlink():
                place.chmod(0o755 if place.stat().st_mode & 0o100 else 0o644)
                os.utime(place, (when, when))


def _is_short(ref: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{7,39}", ref.lower()) is not None


def _place(url: str) -> str:
    """The URL that git gets on its command line: with a user name only where ssh needs it, never with a password."""
    parts = urlsplit(url)
    if parts.scheme in {"http", "https"}:
        return strip_credentials(url)
    user = parts.username or ""
    return urlunsplit(
        (parts.scheme, f"{user}@{parts.netloc.rpartition('@')[2]}" if user else parts.netloc, parts.path, "", "")
    )


def _ask(
    repository: _Repository, arguments: Sequence[str], *, folder: Path | None = None, is_short: bool = False
) -> str:
    """Run git with the user's settings and credentials, and return its output. Raises NoGit, GitUnreachable."""
    url = repository.url
    variables = {name: value for name, value in os.environ.items() if name in _KEPT or _GIVEN.fullmatch(name)}
    variables = {"GIT_SSH_COMMAND": _SSH, **variables, **_ALWAYS}
    given = int(count) if (count := variables.get("GIT_CONFIG_COUNT", "")).isdecimal() else 0
    header = Credentials([url]).authorization(url) if urlsplit(url).scheme in {"http", "https"} else None
    if header is not None:
        variables |= {
            "GIT_CONFIG_COUNT": str(given + 1),
            f"GIT_CONFIG_KEY_{given}": f"http.{'/'.join(_place(url).split('/', 3)[:3])}/.extraHeader",
            f"GIT_CONFIG_VALUE_{given}": f"Authorization: {header}",
        }
    try:
        ran = _run(arguments, folder, variables, timeout=_LOOKING if is_short else None, source=repository.source)
        status, text = ran.returncode, ran.stderr
    except subprocess.TimeoutExpired:
        status, text = 1, "it did not answer in time"
    if status != 0:
        lines = hide(text, [Address(url, repository.said)]).splitlines()
        told = [re.sub(r"^(fatal|error): ", "", line) for line in lines if line.strip()]
        raise GitUnreachable(repository.source, url=repository.said, details=tuple(told[:_LINES]))
    return ran.stdout


def _local(folder: Path, repository: _Repository, arguments: Sequence[str]) -> str:
    """Run git in a folder without network or settings of the user, and return its output."""
    ran = _run(arguments, folder, _alone(), source=repository.source)
    if ran.returncode != 0:
        reason = " ".join(ran.stderr.split())[-300:]
        raise UnusableRepository(repository.source, url=repository.said, reason=reason)
    return ran.stdout


def _alone() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR", "GIT_EXEC_PATH") if name in os.environ}
    nothing = {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ALLOW_PROTOCOL": "none",
        "HOME": os.devnull,
    }
    return {**kept, **_ALWAYS, **nothing}


def _run(
    arguments: Sequence[str],
    folder: Path | None,
    variables: Mapping[str, str],
    *,
    timeout: float | None = None,
    source: str = "",
) -> subprocess.CompletedProcess[str]:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    place = ("-C", str(folder)) if folder is not None else ()
    try:
        with running(["git", *place, *arguments]) as told:
            ran = subprocess.run(
                ["git", *_SETTINGS, *place, *arguments],
                cwd=folder or "/",
                env=variables,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="surrogateescape",
                timeout=timeout,
                umask=0o022,
                check=False,
            )
            told.ended(f"status {ran.returncode}")
        return ran
    except FileNotFoundError:
        raise NoGit(source) from None
