"""URLs: whether they can name an index, a channel, a host; and what they name, without credentials. Text in and out.

`${VARIABLE}` in a URL names an environment variable. Nothing here looks one up: a text with variables is
judged as one that they can make right. What it is once they are filled in is judged by `envlock.addresses`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from envlock.values import NamedTuple

# Patterns are compiled where they are used, and kept by re: most projects have no need of them.
VARIABLE = r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}"
"""How a variable is written; nothing else that begins with `${` is one."""
_PLACE = r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{0,9}))?"
_LARGEST_PORT = 65535
_FRAGMENT = r"(?:(?:(?:sha[0-9]{1,3}|md5)=[0-9A-Fa-f]+|(?:egg|subdirectory)=[\w./-]+)(?:&|\Z))*"
_REF = r"[A-Za-z0-9_.][A-Za-z0-9_./+-]*"
"""A commit, a tag or a branch: none that git would take for an option."""
COMMIT = r"[0-9a-f]{40}(?:[0-9a-f]{24})?"
"""A whole commit of git, by SHA-1 or SHA-256."""
SDISTS = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
"""How the names of sdists end, old ones too."""
_GIT = rf"git\+(?P<place>(?:https?://|ssh://(?:[\w.-]+@)?)[^\s/@?#\\]+/[^\s@?#\\]+)(?:@(?P<ref>{_REF}))?"
_HERE = r"(?P<kind>folder|file)\+sha256:(?P<sha256>[0-9a-f]{64})(?:/(?P<filename>\w[\w.+!~@=,%-]*))?"


def strip_credentials(url: str) -> str:
    """The URL without user name, password, query and fragment; any other text comes back as it is.

    A query may carry a token and a fragment a hash, so neither is part of where a thing lies.

    >>> strip_credentials("https://${USER}:p%40ss@index.example:8443/simple/?token=x#sha256=0")
    'https://index.example:8443/simple/'
    >>> strip_credentials("git+ssh://git@code.example/team/tool@v1")
    'git+ssh://code.example/team/tool@v1'
    >>> strip_credentials("conda-forge")
    'conda-forge'

    A password that should have been percent-encoded does not slip through:

    >>> strip_credentials("https://user:pa/ss#wo?rd@index.example/simple/")
    'https://index.example/simple/'
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    if "@" in rest:
        authority = _authority(rest)
        if "@" in authority:
            rest = authority.rpartition("@")[2] + rest[len(authority) :]
        elif _has_bad_port(authority):
            rest = rest.rpartition("@")[2]
    return f"{scheme}://{_before(rest, '?#')}"


def strip_channel_credentials(channel: str) -> str:
    """The conda channel without user name, password, token, query, and the slash at its end; a name stays as it is.

    A token is a part of the path, `/t/TOKEN/`, mostly right after the host.

    >>> strip_channel_credentials("https://me:pw@Conda.example/t/${TOKEN}/team/main/")
    'https://conda.example/team/main'
    >>> strip_channel_credentials("https://conda.example/t/secret"), strip_channel_credentials("file:///t/x/channel")
    ('https://conda.example', 'file:///t/x/channel')
    >>> strip_channel_credentials("conda-forge")
    'conda-forge'
    """
    scheme, separator, rest = strip_credentials(channel).partition("://")
    if not separator:
        return channel
    place, slash, path = rest.partition("/")
    scheme = scheme.lower()
    if scheme in {"http", "https"}:
        path = f"/{path}"
        while "/t/" in path:
            before, _, after = path.partition("/t/")
            path = f"{before}/{after.partition('/')[2]}"
        path = path[1:]
    if "${" not in place:
        place = place.lower()
    return f"{scheme}://{place}{slash}{path.rstrip('/')}".rstrip("/" if place else "")


def is_channel(text: str) -> bool:
    """Whether it names a conda channel: a name, with labels or folders below it, or a URL that has channels.

    >>> is_channel("conda-forge/label/rc"), is_channel("https://${USER}:${TOKEN}@conda.example/team")
    (True, True)
    >>> is_channel("s3://bucket/channel"), is_channel("file:///srv/channel"), is_channel("${CHANNEL}")
    (True, True, True)
    >>> is_channel("s3://${BUCKET}/channel"), is_channel("file://${ROOT}/channel")
    (True, True)
    >>> is_channel("./channel"), is_channel("ftp://conda.example/team"), is_channel("${CHAN NEL}"), is_channel("")
    (False, False, False, False)
    """
    return any(map(_is_channel, _stood_in(text)))


def _is_channel(text: str) -> bool:
    scheme, separator, rest = text.partition("://")
    if not separator:
        parts = text.split("/")
        return text.isascii() and all(
            part.replace("-", "").replace(".", "").replace("_", "").isalnum() and part[0].isalnum() for part in parts
        )
    if not text.isprintable() or " " in text:
        return False
    if scheme.lower() == "file":
        return rest.startswith("/") and len(rest) > 1
    if scheme.lower() == "s3":
        return host(text) != ""
    return _is_web(text)


def host(url: str) -> str:
    """The host that a URL names, in lower case, without port; empty where it names none.

    >>> host("https://user:pw@Index.Example:8443/simple/"), host("file:///srv/wheels"), host("./wheels")
    ('index.example', '', '')
    >>> host("http://[::1]:8000/")
    '[::1]'
    """
    rest = url.partition("://")[2]
    authority = _authority(rest)
    if "@" in rest:
        authority = _authority(strip_credentials(url).partition("://")[2])
    if authority.startswith("["):
        return authority[: authority.find("]") + 1].lower()
    return authority.partition(":")[0].lower()


def is_local(url: str) -> bool:
    """Whether it names a place of this machine: a plain path, or a `file:` URL.

    >>> is_local("file:///srv/wheels"), is_local("../wheels"), is_local("https://index.example/simple/")
    (True, True, False)
    """
    scheme, separator, _ = url.partition("://")
    return not separator or scheme.rpartition("+")[2].lower() == "file"


def is_links_of_folder(url: str) -> bool:
    """Whether it names the wheels of a folder, by their content: what `--find-links` with a path means.

    >>> is_links_of_folder(f"wheels+sha256:{'ab' * 32}"), is_links_of_folder("wheels")
    (True, False)
    """
    return re.fullmatch("wheels\\+sha256:[0-9a-f]{64}", url) is not None


def is_web(url: str) -> bool:
    """Whether it is the URL of a web server, or is one as soon as its variables are filled in with what fits.

    >>> is_web("https://index.example/simple/"), is_web("pypi"), is_web("https://"), is_web("file:///srv/index")
    (True, False, False, False)
    >>> is_web("https://${HOST}:${PORT}/simple/"), is_web("${INDEX}"), is_web("${BASE}/simple/")
    (True, True, True)
    >>> is_web("ftp://${HOST}/simple/"), is_web("https://${HO ST}/"), is_web("https://index.example:port/")
    (False, False, False)
    """
    return any(map(_is_web, _stood_in(url)))


def _is_web(url: str) -> bool:
    scheme, separator, rest = strip_credentials(url).partition("://")
    if not separator or scheme.lower() not in {"http", "https"} or not url.isprintable() or " " in url or "\\" in url:
        return False
    place = re.fullmatch(_PLACE, _authority(rest))
    return place is not None and int(place["port"] or 0) <= _LARGEST_PORT


def variable_fault(text: str) -> str:
    """What in it begins like a variable and is not one, and why; empty where all are. Shows a name, never a default.

    >>> variable_fault("https://${USER}:${TOKEN:-s3cret}@index.example/simple/")
    '`${TOKEN:...}` is not a variable: write `${NAME}`, without a default'
    >>> variable_fault("https://${USER}:${TOKEN@index.example/simple/")
    'a `${` has no `}` after it: write a variable as `${NAME}`'
    >>> variable_fault("https://${HO ST}/"), variable_fault("https://${HOST}/"), variable_fault("$${A}{B}")
    ('`${...}` is not a variable: write `${NAME}`', '', '')
    """
    if "${" not in text:
        return ""
    found = re.search(
        r"\$\{(?![A-Za-z_][A-Za-z0-9_]*\})(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<then>[:=?+%#^,-]))?", text
    )
    if found is None:
        return ""
    if "}" not in text[found.end() :]:
        return "a `${` has no `}` after it: write a variable as `${NAME}`"
    shown = f"${{{found['name'] or ''}{found['then'] or ''}...}}"
    return f"`{shown}` is not a variable: write `${{NAME}}`" + (", without a default" if found["name"] else "")


def is_mirror(url: str) -> bool:
    """Whether it can be the mirror of a channel or of Python builds.

    >>> is_mirror("https://mirror.example/conda-forge"), is_mirror("file:///srv/main"), is_mirror("main")
    (True, True, False)
    """
    return any("://" in each and _is_channel(each) for each in _stood_in(url))


def is_endpoint(url: str) -> bool:
    """Whether it is the URL of a service, without a secret.

    >>> is_endpoint("https://objects.example:9000"), is_endpoint("objects.example"), is_endpoint("http://me:pw@x")
    (True, False, False)
    """
    return is_web(url) and strip_credentials(url) == url


def _stood_in(text: str) -> tuple[str, ...]:
    """The text with something in the place of each variable that is right wherever one may stand; none where it is not.

    A variable at the beginning may hold the whole URL, its beginning, its scheme, or a name.
    """
    if "${" not in text:
        return (text,)
    first = re.match(VARIABLE, text)
    rest = re.sub(VARIABLE, "1", text[first.end() if first is not None else 0 :])
    if "${" in rest:
        return ()
    if first is not None:
        return f"https://1{rest}", f"https{rest}", f"1{rest}"
    # The place that a file: URL begins with is a path, with its slash.
    return (rest, f"file:///{rest[7:]}") if text[:9].lower() == "file://${" else (rest,)


class DirectUrl(NamedTuple):
    """What a package's own URL names."""

    kind: str
    """`web` (a wheel or an sdist on a web server), `git`, or, by their content, `folder` and `file`."""
    place: str = ""
    """Of `web` the URL, of `git` that of the repository: without `git+`, reference and fragment."""
    ref: str = ""
    """Of `git`: a commit, a tag or a branch; empty for the default branch."""
    subdirectory: str = ""
    """The folder in it that is the project; empty for its top."""
    sha256: str = ""
    """Of `folder` the content hash, of `file` the SHA-256."""
    filename: str = ""
    """Of `file` and `web`."""

    @property
    def is_here(self) -> bool:
        """Whether it is of this machine, and known by its content alone."""
        return self.kind in {"folder", "file"}

    @property
    def is_wheel(self) -> bool:
        """Whether there is nothing to build."""
        return self.filename.lower().endswith(".whl")


def direct_url(url: str) -> DirectUrl | None:
    """The parts of a package's own URL; None if it is none.

    >>> direct_url("git+https://code.example/team/tool@v1.2#subdirectory=libs/a")[:4]
    ('git', 'https://code.example/team/tool', 'v1.2', 'libs/a')
    >>> direct_url("https://files.example/demo-1.0.tar.gz#sha256=00").filename
    'demo-1.0.tar.gz'
    >>> direct_url(f"file+sha256:{'ab' * 32}/demo-1.0-py3-none-any.whl").filename
    'demo-1.0-py3-none-any.whl'
    >>> direct_url(f"folder+sha256:{'ab' * 32}").is_here, direct_url("git+file:///srv/tool"), direct_url("../tool")
    (True, None, None)
    """
    body, _, fragment = url.partition("#")
    subdirectory = next((part[13:] for part in fragment.split("&") if part.startswith("subdirectory=")), "")
    climbs = subdirectory.startswith("/") or ".." in subdirectory.split("/")
    if body.startswith("git+"):
        found = re.fullmatch(_GIT, body, re.ASCII)
        if found is None or climbs:
            return None
        return DirectUrl("git", found["place"], found["ref"] or "", subdirectory)
    here = re.fullmatch(_HERE, body, re.ASCII)
    if here is not None:
        if climbs or (here["kind"] == "file") != bool(here["filename"]):
            return None
        return DirectUrl(
            here["kind"], subdirectory=subdirectory, sha256=here["sha256"], filename=here["filename"] or ""
        )
    if not is_web(url):
        return None
    filename = body.rpartition("/")[2]
    if "%" in filename:
        from urllib.parse import unquote

        filename = unquote(filename)
    of_web = DirectUrl("web", body, subdirectory=subdirectory, filename=filename)
    return None if climbs and not of_web.is_wheel else of_web


def is_git_ref(text: str) -> bool:
    """Whether it can be a commit, a tag or a branch of git, and no option of it."""
    return re.fullmatch(_REF, text, re.ASCII) is not None


def direct_url_fault(url: str) -> str:
    """Why no lock can hold a package's own URL: `local`, `secret`, or nothing where one can.

    Its fragment may be what pip knows of them: a hash, a name, a folder. Any other may be a token. The user name of
    `ssh` is none, since a server takes it for nothing without a key.

    >>> direct_url_fault("https://files.example/demo-1.0-py3-none-any.whl#sha256=0")
    ''
    >>> direct_url_fault("https://files.example/demo-1.0-py3-none-any.whl#token=0")
    'secret'
    >>> direct_url_fault("git+https://code.example/demo@main"), direct_url_fault("git+ssh://git@code.example/demo")
    ('', '')
    >>> direct_url_fault("git+https://me:pw@code.example/demo"), direct_url_fault("https://me:pw@files.example/demo.whl")
    ('secret', 'secret')
    >>> direct_url_fault("git+file:///srv/demo"), direct_url_fault("../demo"), direct_url_fault("git+https://x/y@-z")
    ('local', 'local', 'local')
    """
    place, _, fragment = url.partition("#")
    if not re.fullmatch(_FRAGMENT, fragment, re.ASCII) and (url.startswith("git+") or is_web(url)):
        return "secret"
    if url.startswith("git+"):
        web = place[4:]
        scheme, _, rest = web.partition("://")
        authority = _authority(rest)
        user = authority.rpartition("@")[0]
        if (user and (scheme != "ssh" or ":" in user)) or "?" in rest:
            return "secret"
        return "local" if direct_url(url) is None else ""
    if direct_url(url) is None or (not is_web(url) and not re.fullmatch(r"(?:subdirectory=.+)?", fragment)):
        return "local"
    if not is_web(url):
        return ""
    return "secret" if strip_credentials(url) != place else ""


def is_host_pattern(text: str) -> bool:
    """Whether it is a host as an allow-list names it: no scheme, no path; `*.` before it means its subdomains.

    >>> is_host_pattern("*.index.example"), is_host_pattern("index.example:8443"), is_host_pattern("https://x")
    (True, True, False)
    """
    name, separator, port = text.removeprefix("*.").partition(":")
    labels = name.split(".")
    named = all(label.replace("-", "").isalnum() and label.isascii() for label in labels)
    return named and (port.isdigit() if separator else True)


def _authority(rest: str) -> str:
    return _before(rest, "/?#")


def _before(text: str, ends: str) -> str:
    for end in ends:
        text = text.partition(end)[0]
    return text


def _has_bad_port(authority: str) -> bool:
    """Whether what looks like a port cannot be one: then it is the beginning of a password."""
    if authority.startswith("["):
        authority = authority[authority.find("]") + 1 :]
    port = authority.partition(":")[2]
    return bool(port) and not port.isdigit()


def strange_hosts(urls: Iterable[str], allowed: Sequence[str]) -> tuple[str, ...]:
    """The hosts that URLs name and a list does not, sorted; of a URL without a host, the URL. An empty list allows all.

    A host that is a variable of envlock.toml is none that a lock names: its packages have what the variable held.

    >>> strange_hosts(["https://index.example/a", "https://index.example/b", "file:///srv"], ["files.example"])
    ('file:///srv', 'index.example')
    >>> strange_hosts(["https://${HOST}/simple", "https://index.example/${TEAM}"], ["files.example"])
    ('index.example',)
    """
    if not allowed:
        return ()
    one_each = {"/".join(url.split("/", 3)[:3]): url for url in urls}
    one_each = {place: url for place, url in one_each.items() if "${" not in place}
    return tuple(sorted({host(url) or url for url in one_each.values() if not _is_allowed(url, allowed)}))


def _is_allowed(url: str, allowed: Sequence[str]) -> bool:
    """Whether a URL's host is in the allow-list, and its port where the list names one.

    >>> _is_allowed("https://a.index.example/x", ("*.index.example",))
    True
    >>> _is_allowed("https://index.example/x", ("*.index.example",))
    False
    >>> _is_allowed("https://index.example:8443/x", ("index.example:8443",))
    True
    >>> _is_allowed("https://index.example:444/x", ("index.example:8443",))
    False
    """
    name = host(url)
    authority = url.partition("://")[2].partition("/")[0].lower()
    for pattern in map(str.lower, allowed):
        found = authority if ":" in pattern else name
        if found.endswith(pattern[1:]) if pattern.startswith("*.") else found == pattern:
            return True
    return False
