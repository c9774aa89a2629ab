"""The logins of docker, or of podman: a configuration file, and the credential helpers that the file names.

Read when a registry asks who we are, stored nowhere. What the file holds and what a helper prints is never shown.
Sources: docker's reference of config.json, the protocol of docker-credential-helpers, containers-auth.json(5).
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from base64 import b64decode
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from envlock.files import CONFIG_BYTES, json_of, read_file
from envlock.image.errors import BadDockerConfig, CredentialHelperFailed
from envlock.reporter import running

if TYPE_CHECKING:
    from collections.abc import Mapping

HELPER_SECONDS = 30.0
"""How long a credential helper may take. Some ask a cloud, none should ask a person."""
_IDENTITY = "<token>"
"""The user name with which a helper says that the secret is an identity token."""
_UNSENDABLE = "has a character that cannot be sent"


class Login(NamedTuple):
    """Who we are to a registry: a user name and a password, or one of docker's tokens."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    """Exchanged for a bearer token where a registry names a place to."""
    registry_token: str = ""
    """A bearer token itself."""

    @property
    def can_be_sent(self) -> bool:
        r"""Whether a request can have it. What fails to send a header may show it.

        >>> Login("mia", "s3cr3t").can_be_sent, Login(registry_token="s3cr3t\n").can_be_sent
        (True, False)
        """
        is_text = not any("\ud800" <= each <= "\udfff" for text in self for each in text)
        return is_text and bool(re.fullmatch(r"[\x21-\x7e]*", self.registry_token))

    def __repr__(self) -> str:
        """Names no secret, so that none can reach a log or a traceback."""
        return "Login(...)"


class DockerLogin:
    """The logins in docker's configuration: `config.json` in the folder that DOCKER_CONFIG names, else in `~/.docker`.

    If docker has no configuration, podman's counts, which has the same form: the file that REGISTRY_AUTH_FILE names,
    else `containers/auth.json` in the folder that XDG_RUNTIME_DIR names. Any thread may ask.
    """

    def __init__(self, environment: Mapping[str, str] | None = None, *, seconds: float = HELPER_SECONDS) -> None:
        self._environment = os.environ if environment is None else environment
        self._seconds = seconds
        self._found: dict[str, Login | None] = {}
        self._lock = threading.Lock()

    @property
    def path(self) -> Path:
        """The configuration file: docker's, or else podman's if that is there."""
        variables = self._environment
        home = variables.get("HOME") or os.path.expanduser("~")  # noqa: PTH111  never raises
        docker = f"{variables.get('DOCKER_CONFIG') or f'{home}/.docker'}/config.json"
        podman = [variables.get("REGISTRY_AUTH_FILE", "")]
        if "XDG_RUNTIME_DIR" in variables:
            podman.append(f"{variables['XDG_RUNTIME_DIR']}/containers/auth.json")
        return Path(next(filter(os.path.exists, (docker, *podman)), docker))

    def for_registry(self, registry: str) -> Login | None:
        """The login for a registry (`registry.example:5000`), or None: from its helper, the store, or the file.

        A helper runs once for each registry, HELPER_SECONDS long at most. Raises BadDockerConfig and
        CredentialHelperFailed.
        """
        with self._lock:
            if registry not in self._found:
                self._found[registry] = self._look_up(registry)
            return self._found[registry]

    def _look_up(self, registry: str) -> Login | None:
        config = self._config(registry)
        helpers = config.get("credHelpers")
        own = helpers.get(registry) if isinstance(helpers, dict) else None
        helper = config.get("credsStore") if own is None else own
        if isinstance(helper, str) and helper:
            found = self._from_helper(helper, registry)
            if found is not None:
                return found
        auths = config.get("auths")
        entries = auths if isinstance(auths, dict) else {}
        entry = entries.get(registry)
        if entry is None:  # older releases of docker wrote a URL
            entry = next((entries[key] for key in entries if _host(key) == registry), None)
        return self._from_entry(entry, registry) if isinstance(entry, dict) else None

    def _config(self, registry: str) -> dict[str, object]:
        try:
            found = json_of(read_file(self.path, CONFIG_BYTES))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise BadDockerConfig(str(self.path), error.strerror or str(error), registry) from None
        except ValueError:
            raise BadDockerConfig(str(self.path), "it is not JSON", registry) from None
        if not isinstance(found, dict):
            raise BadDockerConfig(str(self.path), "it is no JSON object", registry)
        return found

    def _from_entry(self, entry: dict[str, object], registry: str) -> Login | None:
        """The login of an entry of `auths`; None for one that is empty, as docker writes where a helper has it."""
        texts = {key: value for key, value in entry.items() if isinstance(value, str)}
        username, password = texts.get("username", ""), texts.get("password", "")
        if auth := texts.get("auth", ""):
            try:
                username, colon, password = b64decode(auth, validate=True).decode().partition(":")
            except ValueError:
                colon = ""
            if not colon:
                reason = f"`auth` of {registry} is not base64 of a user name and a password"
                raise BadDockerConfig(str(self.path), reason, registry)
        password = password.rstrip("\0")
        made = Login(username, password, texts.get("identitytoken", ""), texts.get("registrytoken", ""))
        if not made.can_be_sent:
            raise BadDockerConfig(str(self.path), f"the login of {registry} {_UNSENDABLE}", registry)
        return made if any(made) else None

    def _from_helper(self, name: str, registry: str) -> Login | None:
        """What `docker-credential-NAME get` says; None if it says that it has nothing."""
        program = f"docker-credential-{name}"

        def fail(reason: str) -> CredentialHelperFailed:
            return CredentialHelperFailed(program, registry, reason, str(self.path))

        if not re.fullmatch(r"[\w.+-]{1,100}", name, re.ASCII):
            raise BadDockerConfig(str(self.path), "the name of a credential helper is no name of a program", registry)
        found = shutil.which(program, path=self._environment.get("PATH", os.defpath))
        if found is None:
            raise fail("there is no such program on PATH")
        try:
            status, said = _output(found, registry, dict(self._environment), self._seconds)
        except OSError as error:
            raise fail(error.strerror or type(error).__name__) from None
        except subprocess.TimeoutExpired:
            raise fail(f"it took more than {self._seconds:g} seconds") from None
        if status != 0:
            if b"credentials not found" in said:
                return None
            raise fail(f"it ended with status {status}")
        try:
            return _printed(said)
        except ValueError as error:
            raise fail(f"what it printed {error}") from None


def _printed(said: bytes) -> Login | None:
    """The login that a helper printed; None if it has no secret. Raises ValueError with what is wrong with it."""
    try:
        told = json_of(said)
    except ValueError:
        raise ValueError("is not JSON") from None
    if not isinstance(told, dict):
        raise ValueError("is no JSON object")
    username, secret = told.get("Username"), told.get("Secret")
    if not isinstance(username, str) or not isinstance(secret, str):
        raise ValueError("has no user name and no secret")
    login = Login(identity_token=secret) if username == _IDENTITY else Login(username, secret)
    if not login.can_be_sent:
        raise ValueError(_UNSENDABLE)
    return login if secret else None


def _output(program: str, registry: str, environment: dict[str, str], seconds: float) -> tuple[int, bytes]:
    """The exit status and the output of a helper. It and what it started is killed when its time is over."""
    process = subprocess.Popen(
        [program, "get"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with process, running([program, "get"]) as told:
        try:
            said, _ = process.communicate(registry.encode(), timeout=seconds)
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
        told.ended(f"status {process.returncode}")
    return process.returncode, said


def _host(key: str) -> str:
    """The registry of a key of `auths`, which may be a URL.

    >>> _host("https://registry.example:5000/v1/")
    'registry.example:5000'
    """
    return key.partition("://")[2].partition("/")[0] if "://" in key else key.partition("/")[0]
