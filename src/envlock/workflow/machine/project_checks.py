"""What `doctor` looks at in a project: its cache, indexes and channels, credentials, locks, what git does with them."""

from __future__ import annotations

import os
import shlex
from functools import partial
from typing import TYPE_CHECKING

from envlock.config.metaflow_datastore import NoMetaflowDatastore, datastore
from envlock.errors import ConfigError, EnvlockError
from envlock.model.url import strip_channel_credentials, strip_credentials
from envlock.redaction import without_credentials
from envlock.words import count, first_of, listed, short_paths
from envlock.workflow.machine.doctor import ERROR, NOTE, OK, WARNING, Check, Finding, of_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envlock.cache.port import Store
    from envlock.config.project import Project
    from envlock.workflow.machine.doctor import Given

_SECONDS = 8.0
_DENIED, _NOT_FOUND, _BROKEN = (401, 403, 407), 404, 500
_OF_BUCKETS = {
    "s3": (
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ROLE_ARN"),
        *(
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "~/.aws/credentials",
            "~/.aws/config",
        ),
    ),
    "gs": ("GOOGLE_APPLICATION_CREDENTIALS", "~/.config/gcloud/application_default_credentials.json"),
    "az": (
        *("AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN"),
        *("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE", "~/.azure"),
    ),
}
"""Where the libraries of buckets look for credentials: variables and files."""
_SCHEMES = {"gcs": "gs", "abfs": "az", "abfss": "az", "adl": "az", "s3a": "s3"}


def cache(given: Given) -> Iterator[Finding]:
    """Whether the project's cache answers, and with `--write` whether it can be written."""
    if given.project is None:
        return
    from envlock.cache.format import check_format
    from envlock.cache.layout import ENVIRONMENTS
    from envlock.cache.open import open_cache

    store = open_cache(given.project)
    url = without_credentials(store.url)
    try:
        # A folder that was pushed to has no file with its format before an alias is given in it.
        is_used = check_format(store) or next(store.entries(ENVIRONMENTS), None) is not None
    except EnvlockError as error:
        yield of_error("cache", url, error)
        return
    yield Finding("cache", url, "it can be read" if is_used else "it can be read; nothing was pushed yet")
    if given.writes:
        yield _written(store, url)


def _written(store: Store, url: str) -> Finding:
    from envlock.cache.layout import probe_path

    path = probe_path(os.urandom(16).hex())
    try:
        store.create(path, b"envlock doctor")
        store.delete(path)
    except EnvlockError as error:
        return of_error("cache", url, error)
    return Finding("cache", url, "a file can be written and deleted")


def indexes(given: Given) -> Iterator[Finding]:
    """Whether each index and each channel of the project answers, and accepts the credentials."""
    if given.project is None:
        return
    from envlock.addresses import address
    from envlock.uv_command import default_index
    from envlock.workflow.machine.deadlines import all_within

    urls = _urls(given.project)
    if not any(kind == "index" for kind, _ in urls) or not all(
        each.default_index_url for each in given.project.environments()
    ):
        urls.append(("index", given.project.mirrored(default_index())))
    asked = []
    for kind, written in dict.fromkeys(urls):
        try:
            place = address(written)
        except ConfigError as error:
            yield of_error(kind, _shown(written), error)
            continue
        if place.url.startswith(("http://", "https://")):
            asked.append((kind, written, place.asked, place.url))
        else:
            yield Finding(kind, _shown(written), "not on a server")
    calls = [partial(_answer, *each) for each in asked]
    for (kind, written, _, _), answer in zip(asked, all_within(calls, _SECONDS + 1), strict=True):
        if isinstance(answer, Finding):
            yield answer
        elif isinstance(answer, EnvlockError):
            yield of_error(kind, _shown(written), answer)
        else:
            yield _silent(kind, written, f"no answer within {_SECONDS:g} s")._replace(hangs=True)


def _urls(project: Project) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for environment in project.environments():
        found += [("index", url) for url in environment.every_index_url]
        has_conda = environment.requirements.type != "pypi"
        found += [("channel", url) for url in environment.channel_urls if has_conda]
    return list(dict.fromkeys(found))


def _answer(kind: str, written: str, asked: str, url: str) -> Finding:
    """What an index or a channel answers to one request. Raises what credentials raise."""
    import httpx

    from envlock.addresses import written_as_asked
    from envlock.certificates import trusted
    from envlock.credentials import Credentials

    place = asked.rstrip("/") + ("/" if kind == "index" else "/noarch/repodata.json")
    header = Credentials([written_as_asked(written)]).authorization(url)
    headers = {"Authorization": header} if header else {}
    try:
        # Only the status is read: the root page of a large index is tens of megabytes.
        with httpx.stream(
            "GET", place, headers=headers, follow_redirects=True, timeout=_SECONDS, verify=trusted()
        ) as answer:
            status = answer.status_code
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return _silent(kind, written, f"it does not answer ({type(error).__name__})")
    shown = _shown(written)
    if status in _DENIED:
        said = "credentials are missing or wrong" if header is None else "its credentials are not accepted"
        repair = "add it to ~/.netrc, or write the URL with `${VARIABLE}`s"
        return Finding(kind, shown, f"access denied ({status})", ERROR, f"{said}: requests to it fail", repair)
    if status == _NOT_FOUND and kind == "channel":
        return Finding(kind, shown, "there is no channel (404)", ERROR, "locking fails", "fix the URL in envlock.toml")
    if status == _NOT_FOUND:
        said = "some indexes have no page at their root; if locking finds nothing there, the URL is wrong"
        return Finding(kind, shown, "it answers, with no page at its root (404)", NOTE, said)
    if status >= _BROKEN:
        return Finding(kind, shown, f"it answers with status {status}", WARNING, "the server has a fault")
    return Finding(kind, shown, "it answers")


def _silent(kind: str, written: str, found: str) -> Finding:
    said = "locking fails; creating environments works if the cache has their packages"
    return Finding(kind, _shown(written), found, ERROR, said, "check the network, proxies, and the URL")


def _shown(written: str) -> str:
    from envlock.addresses import written_as_asked

    shown = strip_channel_credentials(strip_credentials(str(written))) or "?"
    mirror = written_as_asked(written)
    return shown if mirror == written else f"{shown} from its mirror {strip_credentials(mirror)}"


def credentials(given: Given) -> Iterator[Finding]:
    """Which credentials there are for the hosts of the project, by their names."""
    if given.project is None:
        return
    from envlock.addresses import written_as_asked
    from envlock.credentials import Credentials, has_password

    urls = ((kind, written_as_asked(url)) for kind, url in _urls(given.project))
    for kind, written in dict.fromkeys((kind, url) for kind, url in urls if "://" in url):
        try:
            found = Credentials([written]).sources(written)
        except ConfigError as error:
            yield of_error("credentials", f"for {_shown(written)}", error)
            continue
        where = f"for the {kind} {_shown(written)}"
        if has_password(written):
            said = "everybody who can read envlock.toml, or its history in git, can read the password"
            repair = "write `${VARIABLE}` in its place, or use ~/.netrc"
            yield Finding("credentials", where, "a password is written in envlock.toml", WARNING, said, repair)
        else:
            yield Finding("credentials", where, listed(found) if found else "none")
    yield from _of_bucket(given.project)


def _of_bucket(project: Project) -> Iterator[Finding]:
    try:
        scheme, separator, _ = project.cache_url.partition("://")
    except EnvlockError:  # `cache` tells
        return
    names = _OF_BUCKETS.get(_SCHEMES.get(scheme, scheme), ())
    if separator and names:
        files = {name for name in names if name.startswith("~") and os.path.exists(os.path.expanduser(name))}
        there = [name for name in names if name in files or name in os.environ]
        said = "" if there else "the library then asks the machine for a role, which only machines in the cloud have"
        state = OK if there else NOTE
        yield Finding("credentials", f"for the cache ({scheme})", listed(there) if there else "none", state, said)


def profile(given: Given) -> Iterator[Finding]:
    """Metaflow's settings, and which datastore flows use by them."""
    name = os.environ.get("METAFLOW_PROFILE", "")
    looked_at = f"METAFLOW_PROFILE={name}" if name else "Metaflow's settings, without METAFLOW_PROFILE"
    folder = str(given.project.folder) if given.project is not None else os.getcwd()
    try:
        found = datastore(folder)
    except NoMetaflowDatastore as error:
        yield of_error("metaflow-profile", looked_at, error, WARNING)
        return
    yield Finding("metaflow-profile", looked_at, f"datastore {without_credentials(found.root)} (by {found.said_by})")


def locks(given: Given) -> Iterator[Finding]:
    """Whether the locks are fresh and whole."""
    if given.project is None:
        return
    from envlock.workflow.check import check

    result = check(given.project)
    folder = str(given.project.lock_folder)
    wrong = [each for each in result.findings if each.exit_status]
    if not wrong:
        environments, archs = count(result.environments, "environment"), count(result.archs, "arch", "archs")
        yield Finding("locks", folder, f"fresh: {environments}, {archs}")
        return
    kinds = sorted({str(each.verdict) for each in wrong})
    config = "" if os.getcwd() == str(given.project.folder) else f" --config {shlex.quote(str(given.project.path))}"
    found = f"{count(len(wrong), 'finding')}: {first_of(kinds, 3)}"
    said = "flows do not start, and `run` and `create` fail, where a lock is not fresh"
    yield Finding("locks", folder, found, WARNING if result.exit_status == 1 else ERROR, said, f"envlock check{config}")


def git_attributes(given: Given) -> Iterator[Finding]:
    """Whether git leaves the locks as they are, and a commit has them."""
    if given.project is None or not given.project.lock_folder.is_dir():
        return
    from envlock.files import holds
    from envlock.lockfile.merge_conflicts import ATTRIBUTES, not_added

    path = given.project.lock_folder / ".gitattributes"
    missing = not_added(given.project.lock_folder, given.project.path)
    if missing is None:
        yield Finding("git-attributes", str(given.project.folder), "not a work tree of git", NOTE)
        return
    if holds(path, ATTRIBUTES.encode()):
        yield Finding("git-attributes", str(path), "git leaves locks whole in a merge")
    else:
        found = "other than envlock wrote it" if path.exists() else "there is none"
        said = "git may mix the lines of two locks in a merge"
        yield Finding("git-attributes", str(path), found, NOTE if path.exists() else WARNING, said, "envlock lock")
    if missing:
        said = "a checkout of the commit has no lock, or another one"
        name = given.project.lock_folder.name
        repair = f"git add {name} {given.project.path.name} (if git ignores it, take it out of .gitignore)"
        found = f"not in git's index: {first_of(short_paths(missing), 2)}"
        yield Finding("git-attributes", name, found, NOTE, said, repair)


CHECKS = (
    Check("locks", "the locks of the project", locks),
    Check("git-attributes", "what git does with the locks", git_attributes),
    Check("cache", "the project's cache", cache),
    Check("index", "indexes and channels", indexes),
    Check("credentials", "credentials, by their names", credentials),
    Check("metaflow-profile", "Metaflow's settings", profile),
)
