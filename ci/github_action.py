"""What action.yml runs: `envlock check`, and a comment on the pull request with what its locks change.

Standard library only, Python 3.10. Its input is environment variables, as GitHub sets them, and the file of the event;
none of it ever becomes part of a shell script. It ends with the exit status of `envlock check`: whatever
keeps it from the comment is a warning, and the comment's text is in the job summary too.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ATTEMPTS = 3
"""How often a request that only reads is sent if the server fails. A request that writes is sent once."""
DEPTHS = (50, 500)
"""How far back a shallow clone is deepened for a common ancestor, before it is made a whole one."""
MOST_PAGES = 30
"""The most pages of comments that are read, a hundred comments each. A pull request with more gets a new comment."""
MOST_TEXT = 100_000
"""How much the job summary has of one text; GitHub takes a mebibyte in all."""
NO_COMMIT = "0" * 40


class NoDiff(Exception):
    """Why nothing is compared; empty if there is nothing to compare with."""


class NoComment(Exception):
    """Why there is no comment; `is_refused` if the token may not write one."""

    def __init__(self, reason: str, *, is_refused: bool = False) -> None:
        super().__init__(reason)
        self.is_refused = is_refused


class Difference(NamedTuple):
    """What `envlock diff` says."""

    markdown: str
    is_one: bool


def main() -> int:
    """Check, compare, comment; returns the exit status of `envlock check`."""
    folder = Path(_variable("GITHUB_WORKSPACE", "."), _variable("INPUT_FOLDER", "."))
    event = _event()
    envlock = _installed(_variable("INPUT_FROM"))
    checked = _run([envlock, "check", "--format", "github"], folder)
    _log(checked.stdout, checked.stderr)
    if checked.returncode not in {0, 1, 2, 3}:
        _command("error", "envlock check", f"it ended with exit status {checked.returncode}")
    text = _run([envlock, "check"], folder)
    summary = ["### envlock check", "", _fenced(text.stdout + text.stderr), ""]
    outputs = {"status": str(checked.returncode), "changed": "", "comment-url": ""}
    try:
        difference = _difference(envlock, folder, event)
        outputs["changed"] = str(difference.is_one).lower()
        summary.append(difference.markdown)
        if _variable("INPUT_COMMENT", "true") == "true" and "pull_request" in event:
            outputs["comment-url"] = _comment(event, difference, checked.returncode)
    except NoDiff as error:
        if str(error):
            _command("notice", "envlock diff", str(error))
            summary.append(_fenced(f"envlock diff: {error}"))
    except NoComment as error:
        kind = "notice" if error.is_refused else "warning"
        _command(kind, "envlock", f"no comment on the pull request: {error}; the job summary has its text")
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # of another host, which says it otherwise
        _command("warning", "envlock", f"the event or an answer is not as GitHub describes it: {error!r}")
    _append("GITHUB_STEP_SUMMARY", "\n".join(summary) + "\n")
    _append("GITHUB_OUTPUT", "".join(f"{name}={value}\n" for name, value in outputs.items()))
    return checked.returncode


def _variable(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def _event() -> dict[str, Any]:
    """What happened, as GitHub says it; empty where this is not run by it."""
    try:
        found = json.loads(Path(_variable("GITHUB_EVENT_PATH", os.devnull)).read_text(encoding="utf-8") or "{}")
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


# Programs.


def _run(command: Sequence[str], folder: Path, *settings: tuple[str, str]) -> Any:
    """A program with its output; `settings` are more settings of git for it. It does not get the token."""
    variables = {name: value for name, value in os.environ.items() if name != "INPUT_TOKEN"}
    checkout = Path(_variable("GITHUB_WORKSPACE", ".")).resolve()  # another user's, where the job is in a container
    given = variables.get("GIT_CONFIG_COUNT", "")
    first = int(given) if given.isdecimal() else 0
    all_settings = (("safe.directory", str(checkout)), *settings)
    for number, (key, value) in enumerate(all_settings, start=first):
        variables |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return subprocess.run(
        command,
        cwd=folder,
        env={**variables, "GIT_CONFIG_COUNT": str(first + len(all_settings)), "GIT_TERMINAL_PROMPT": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


def _installed(requirement: str) -> str:
    """The `envlock` to run: of a requirement, of the action's own folder, or with `installed`, the one on PATH."""
    if requirement == "installed":
        found = shutil.which("envlock")
        if found is None:
            raise SystemExit(_command("error", "envlock", "`from: installed`, and there is no `envlock` on PATH"))
        return found
    place = Path(_variable("RUNNER_TEMP", "/tmp"), f"envlock-{secrets.token_hex(8)}")  # noqa: S108  GitHub sets the first
    python = str(place / "bin" / "python")
    what = requirement or str(Path(__file__).resolve().parent.parent)
    # `-I`: with `-m` alone, modules of the working folder, which is the pull request's, would come first.
    install = [python, "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--", what]
    for command in ([sys.executable, "-I", "-m", "venv", str(place)], install):
        done = _run(command, Path.cwd())
        if done.returncode:
            _log(done.stdout, done.stderr)
            hint = "use actions/setup-python with Python 3.10 or newer before this action"
            raise SystemExit(_command("error", "envlock", f"it could not be installed from {what}: {hint}"))
    return str(place / "bin" / "envlock")


def _git(folder: Path, *arguments: str, settings: tuple[tuple[str, str], ...] = ()) -> Any:
    return _run(["git", "-c", "core.fsmonitor=false", *arguments], folder, *settings)


def _commit_of(folder: Path, name: str) -> str:
    """The commit that a name means; empty if it is not in this clone."""
    found: str = _git(folder, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").stdout
    return found.strip()


# What changed.


def _difference(envlock: str, folder: Path, event: Mapping[str, Any]) -> Difference:
    base = _base(folder, event)
    shown = _git(folder, "rev-parse", "--short=12", base).stdout.strip() or base
    done = _run([envlock, "diff", f"{shown}..HEAD", "--format", "markdown", "--exit-code"], folder)
    if done.returncode not in {0, 1}:
        raise NoDiff((done.stderr or done.stdout).strip() or f"it ended with exit status {done.returncode}")
    return Difference(done.stdout.strip(), done.returncode == 1)


def _base(folder: Path, event: Mapping[str, Any]) -> str:
    """The commit to compare with, which is then in this clone. Raises NoDiff."""
    request = event.get("pull_request")
    if isinstance(request, dict):
        return _base_of_request(folder, str(request["base"]["sha"]), str(request["head"]["sha"]))
    before = str((event.get("merge_group") or {}).get("base_sha") or event.get("before") or NO_COMMIT)
    if before == NO_COMMIT:  # a new branch, a schedule
        raise NoDiff
    _fetch(folder, before)
    return before


def _base_of_request(folder: Path, base: str, head: str) -> str:
    """Where a pull request begins.

    actions/checkout checks out the merge of the request into its base. Its first parent is then all that is needed, and
    its name can be read in a clone of one commit too.
    """
    commit = _git(folder, "cat-file", "commit", "HEAD").stdout.partition("\n\n")[0]
    parents = re.findall(r"^parent ([0-9a-f]+)$", commit, re.MULTILINE)
    if parents[1:] == [head]:
        _fetch(folder, parents[0])
        return str(parents[0])
    _fetch(folder, base)
    for depth in (0, *DEPTHS, None):
        if depth != 0:
            _fetched(folder, "--unshallow" if depth is None else f"--depth={depth}", base, head)
        found = _git(folder, "merge-base", base, "HEAD").stdout.strip()
        if found:
            return str(found)
        if _git(folder, "rev-parse", "--is-shallow-repository").stdout.strip() != "true":
            break
    raise NoDiff(f"HEAD and {base} have no common ancestor in this clone: give actions/checkout `fetch-depth: 0`")


def _fetch(folder: Path, commit: str) -> None:
    """Have a commit in this clone. Raises NoDiff."""
    if not re.fullmatch("[0-9a-f]{40,64}", commit):
        raise NoDiff(f"`{commit}` is no commit")
    if _commit_of(folder, commit):
        return
    said = _fetched(folder, "--depth=1", commit)
    if not _commit_of(folder, commit):
        raise NoDiff(f"{commit} cannot be fetched: give actions/checkout `fetch-depth: 0`. git says: {said}")


def _fetched(folder: Path, *arguments: str) -> str:
    """Fetch; as actions/checkout left it first, then with the token. Returns what git says if it fails."""
    command = ("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", *arguments[:1], "origin", *arguments[1:])
    done = _git(folder, *command)
    token = _variable("INPUT_TOKEN")
    if done.returncode and token:
        login = base64.b64encode(f"x-access-token:{token}".encode()).decode()
        server = _variable("GITHUB_SERVER_URL", "https://github.com")
        setting = (f"http.{server}/.extraheader", f"AUTHORIZATION: basic {login}")
        done = _git(folder, *command, settings=(setting,))
    return str(done.stderr).strip() if done.returncode else ""


# The comment.


def _comment(event: Mapping[str, Any], difference: Difference, status: int) -> str:
    """Write the comment, or update the existing one; returns its URL, empty if there is none. Raises NoComment."""
    request = event["pull_request"]
    path = f"/repos/{_variable('GITHUB_REPOSITORY')}/issues/{int(request['number'])}/comments"
    project = os.path.normpath(_variable("INPUT_FOLDER", "."))
    marker = f"<!-- envlock action {hashlib.sha256(project.encode()).hexdigest()[:16]} -->"
    try:
        old = _own_comment(path, marker)
        if old is None and not difference.is_one:
            return ""
        body = _body(marker, project, difference, status)
        if old is None:
            return _url_of(_ask("POST", path, {"body": body}))
        if old["body"].replace("\r\n", "\n").strip() == body.strip():
            return _url_of(old)
        place = f"/repos/{_variable('GITHUB_REPOSITORY')}/issues/comments/{int(old['id'])}"
        return _url_of(_ask("PATCH", place, {"body": body}))
    except NoComment as error:
        is_fork = (request["head"].get("repo") or {}).get("full_name") != request["base"]["repo"]["full_name"]
        if error.is_refused and is_fork:
            raise NoComment("the token of a fork's workflow may not write", is_refused=True) from None
        raise


def _body(marker: str, project: str, difference: Difference, status: int) -> str:
    lines = [marker]
    if project != ".":
        lines += ["`" + re.sub(r"[`<>&\s]", " ", project) + "`", ""]
    if status:
        lines += [f"`envlock check` fails with exit status {status}: see the annotations of the job.", ""]
    return "\n".join([*lines, difference.markdown])


def _own_comment(path: str, marker: str) -> Any:
    """The comment that this action wrote before; None if there is none."""
    try:
        me = _ask("GET", "/user").get("login")
    except NoComment:  # the token of a workflow belongs to an app, which is no user
        me = None
    for page in range(1, MOST_PAGES + 1):
        comments = _ask("GET", f"{path}?per_page=100&page={page}")
        for comment in comments:
            author = comment.get("user") or {}
            is_own = author.get("login") == me if me else author.get("type") == "Bot"
            if is_own and str(comment.get("body")).startswith(marker):
                return comment
        if len(comments) < 100:
            return None
    return None


def _url_of(comment: Mapping[str, Any]) -> str:
    url = str(comment.get("html_url", ""))
    return url if re.fullmatch(r"https?://[\x21-\x7e]+", url) else ""


class _SameServer(urllib.request.HTTPRedirectHandler):
    """Goes where a server sends it, if that is the same server: others must not get the token."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urllib.request.Request(newurl).host != req.host or not newurl.startswith(f"{req.type}:"):  # noqa: S310
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _ask(method: str, path: str, document: object = None) -> Any:
    """What GitHub's API answers. Raises NoComment."""
    request = urllib.request.Request(  # noqa: S310  GitHub gives the URL
        _variable("GITHUB_API_URL", "https://api.github.com") + path,
        method=method,
        data=None if document is None else json.dumps(document).encode(),
        headers={
            "Accept": "application/vnd.github+json",
            "Content-Type": "application/json",
            "User-Agent": "envlock",
            "X-GitHub-Api-Version": "2022-11-28",
        },
    )
    request.add_unredirected_header("Authorization", f"Bearer {_variable('INPUT_TOKEN')}")
    opener = urllib.request.build_opener(_SameServer)
    for attempt in range(ATTEMPTS if method == "GET" else 1):
        time.sleep(attempt / 4)
        try:
            with opener.open(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                is_limit = error.headers.get("x-ratelimit-remaining") == "0" or "retry-after" in error.headers
                is_refused = error.code in {401, 403, 404} and not is_limit
                failure = NoComment(f"{method} {path.partition('?')[0]}: {error.code}", is_refused=is_refused)
                if error.code < 500:
                    break
        except (OSError, ValueError) as error:
            failure = NoComment(f"{method} {path.partition('?')[0]}: {getattr(error, 'reason', error)}")
    raise failure


# The log, the summary and the outputs.


def _log(*texts: str) -> None:
    """Write what programs said; envlock's own workflow commands are the only ones that are left."""
    for line in "".join(text if not text or text.endswith("\n") else f"{text}\n" for text in texts).splitlines():
        is_own = line.startswith("::error ") and "title=envlock%3A " in line
        sys.stdout.write(f"{line if is_own else _harmless(line)}\n")
    sys.stdout.flush()


def _harmless(line: str) -> str:
    return re.sub(r"^(\s*)::", r"\1| ::", line).replace("##[", "# [")


def _command(kind: str, title: str, message: str) -> int:
    """Write a workflow command; returns 2, the exit status of what cannot go on."""
    text = message.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    sys.stdout.write(f"::{kind} title={title}::{text}\n")
    sys.stdout.flush()
    return 2


def _fenced(text: str) -> str:
    """The text, its beginning if it is long, as a code block whose fence is longer than any in it."""
    text = text if len(text) < MOST_TEXT else f"{text[:MOST_TEXT]}…"
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}\n{text.strip()}\n{fence}"


def _append(variable: str, text: str) -> None:
    path = _variable(variable)
    if path:
        with open(path, "a", encoding="utf-8") as file:  # noqa: PTH123
            file.write(text)


if __name__ == "__main__":
    if sys.version_info < (3, 10):  # noqa: UP036  whatever Python the runner has
        sys.exit(_command("error", "envlock", f"it needs Python 3.10 or newer, and {sys.executable} is older"))
    sys.exit(main())
