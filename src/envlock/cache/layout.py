"""Where things lie in a cache. Pure, and the only place that knows.

```
packages/<sha256[:2]>/<sha256>/<file name>      written once
envs/<arch>/<req_id>/<full_id>.toml             the lock, written after its packages
aliases/<name>/@tags/<tag>/<0000000001>.json    one move of an alias, written once; `@` stands in no part of a name
pathspecs/<Flow>/<run>/<step>/<arch>.json       the environment that a step ran in
resolved/<req_id>/<arch>/<time>-<user>-<full_id>  who resolved it when, written after the environment
kits/objects/<sha256[:2]>/<sha256>/<file name>  a file of a kit, written once
parts/<sha256[:2]>/<sha256>.tar.zst             a part of a pack, written once
plans/<arch>/<req_id>/<full_id>/<sha256>.json   a plan, written after all that it names; its name is its own SHA-256
builds/<key[:2]>/<key>/<arch>-<series>.json     the wheel that was built of a source on a machine of that arch
images/<arch>/<req_id>/<full_id>.json           the last image that was pushed of an environment, by digest
pushes/<nonce>.json                             what a push that is under way is going to need
sweeps/<nonce>.json                             a sweep that is under way
CACHE.json                                      the format of all this; see `format`
probe/<nonce>                                   for a moment, to try whether the store refuses to create it twice
```

Every path of packages and environments is known from a lock alone, so neither push nor hydrate ever lists anything.
Kits, parts and plans have folders of their own, which a gc that does not know them leaves alone. What a path is made of
comes from locks, which come from other people: all of it is checked, and no path leads out of the cache.
"""

from __future__ import annotations

import re

from envlock.cache.errors import UnsafePath
from envlock.errors import ConfigError
from envlock.model.arch import ARCHS, Arch
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envlock.model.lock import Lock
    from envlock.named.alias import Alias

PACKAGES = "packages"
ENVIRONMENTS = "envs"
FORMAT = "CACHE.json"
PROBES = "probe"
ALIASES = "aliases"
PATHSPECS = "pathspecs"
RESOLVED = "resolved"
KITS = "kits/objects"
PARTS = "parts"
PLANS = "plans"
BUILDS = "builds"
IMAGES = "images"
PUSHES = "pushes"
SWEEPS = "sweeps"

# What wheels, conda packages and Python builds are called; nothing that a glob or a store reads as something else.
# 200 letters leave room for what the name of a stage file adds.
_FILENAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+!~@=,%-]{0,199}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_ID = re.compile(r"[0-9a-f]{40}\Z")
_RECORD = re.compile(rf"{ALIASES}/(?P<name>.+)/@tags/(?P<tag>[^/]+)/(?P<sequence>[0-9]{{10}})\.json\Z")
_RESOLVED_AT = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})Z\Z")
_RESOLVED = re.compile(
    rf"{RESOLVED}/(?P<req_id>[0-9a-f]{{40}})/(?P<arch>[^/]+)/"
    r"(?P<time>[0-9]{8}T[0-9]{6}Z)-(?P<user>[^/]*)-(?P<full_id>[0-9a-f]{40})\Z"
)
_USER_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@+-")
_LONGEST_USER = 120
_PATHSPEC_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}\Z")


class EnvironmentPlace(NamedTuple):
    """What the path of an environment in a cache says."""

    arch: Arch
    req_id: str
    full_id: str

    @property
    def identity(self) -> str:
        """`req_id:full_id`."""
        return f"{self.req_id}:{self.full_id}"

    @property
    def path(self) -> str:
        """Its path in a cache."""
        if self.arch not in ARCHS or not _ID.match(self.req_id) or not _ID.match(self.full_id):
            raise UnsafePath(f"{self.arch}/{self.req_id}/{self.full_id}")
        return f"{ENVIRONMENTS}/{self.arch}/{self.req_id}/{self.full_id}.toml"


def package_path(sha256: str, filename: str) -> str:
    """The path of a package. Its own file name comes last, because installers read it.

    >>> package_path("ab" + "0" * 62, "torch-2.1+cu118-1!0-py3-none-any.whl")
    'packages/ab/ab00000000000000000000000000000000000000000000000000000000000000/torch-2.1+cu118-1!0-py3-none-any.whl'

    Raises UnsafePath for a file name such as `../x.whl`, or what is no SHA-256.
    """
    if not _SHA256.match(sha256) or not _FILENAME.match(filename):
        raise UnsafePath(f"{sha256}/{filename}")
    return f"{PACKAGES}/{sha256[:2]}/{sha256}/{filename}"


def package_at(path: str) -> tuple[str, str] | None:
    """The SHA-256 and file name in the path of a package; None for any other path.

    >>> package_at("packages/ab/ab" + "0" * 62 + "/demo-1.0-py3-none-any.whl")[1]
    'demo-1.0-py3-none-any.whl'
    >>> package_at("packages/notes.txt") is None
    True
    """
    parts = path.split("/")
    try:
        (_, _, sha256, filename) = parts
        return (sha256, filename) if package_path(sha256, filename) == path else None
    except (ValueError, UnsafePath):
        return None


def kit_path(sha256: str, filename: str) -> str:
    """The path of a file of a kit: a wheel of uv or py-rattler, a Python build, the node kernel. Raises UnsafePath.

    >>> kit_path("ab" + "0" * 62, "kernel.zip")
    'kits/objects/ab/ab00000000000000000000000000000000000000000000000000000000000000/kernel.zip'
    """
    return f"{KITS}/{package_path(sha256, filename).removeprefix(f'{PACKAGES}/')}"


def kit_at(path: str) -> tuple[str, str] | None:
    """The SHA-256 and file name in the path of a file of a kit; None for any other path.

    >>> kit_at(kit_path("ab" + "0" * 62, "kernel.zip"))[1]
    'kernel.zip'
    """
    return package_at(f"{PACKAGES}{path.removeprefix(KITS)}") if path.startswith(f"{KITS}/") else None


def part_path(sha256: str) -> str:
    """The path of a part of a pack, by the SHA-256 of its compressed bytes. Raises UnsafePath.

    >>> part_path("ab" + "0" * 62)
    'parts/ab/ab00000000000000000000000000000000000000000000000000000000000000.tar.zst'
    """
    if not _SHA256.match(sha256):
        raise UnsafePath(sha256)
    return f"{PARTS}/{sha256[:2]}/{sha256}.tar.zst"


def part_at(path: str) -> str | None:
    """The SHA-256 in the path of a part of a pack; None for any other path.

    >>> part_at(part_path("ab" + "0" * 62))[:4], part_at("parts/notes.txt")
    ('ab00', None)
    """
    sha256 = path.rpartition("/")[2].removesuffix(".tar.zst")
    return sha256 if _SHA256.match(sha256) and part_path(sha256) == path else None


def sha256_at(path: str) -> str:
    """The SHA-256 in the path of a package, a file of a kit or a part; empty for any other path."""
    found = package_at(path) or kit_at(path)
    return found[0] if found else part_at(path) or ""


class PlanPlace(NamedTuple):
    """What the path of a plan says."""

    environment: EnvironmentPlace
    sha256: str
    """Of the plan's bytes."""

    @property
    def path(self) -> str:
        """Its path in a cache. Raises UnsafePath."""
        folder = plan_folder(self.environment)
        if not _SHA256.match(self.sha256):
            raise UnsafePath(f"{folder}/{self.sha256}")
        return f"{folder}/{self.sha256}.json"


def plan_folder(environment: EnvironmentPlace) -> str:
    """The folder of the plans of an environment. Raises UnsafePath."""
    return f"{PLANS}{environment.path.removeprefix(ENVIRONMENTS).removesuffix('.toml')}"


def plan_at(path: str) -> PlanPlace | None:
    """What the path of a plan says; None for any other path.

    >>> plan_at("plans/linux-64/" + "1" * 40 + "/" + "2" * 40 + "/" + "ab" * 32 + ".json").environment.arch
    'linux-64'
    >>> plan_at("plans/README.md") is None
    True
    """
    parts = path.removesuffix(".json").split("/")
    if len(parts) != 5:
        return None
    place = PlanPlace(EnvironmentPlace(Arch(parts[1]), parts[2], parts[3]), parts[4])
    try:
        return place if place.path == path else None
    except UnsafePath:
        return None


def image_path(environment: EnvironmentPlace) -> str:
    """The path of the record of an environment's image. Raises UnsafePath.

    >>> image_path(EnvironmentPlace(Arch("linux-64"), "1" * 40, "2" * 40))[:20]
    'images/linux-64/1111'
    """
    return f"{IMAGES}{environment.path.removeprefix(ENVIRONMENTS).removesuffix('.toml')}.json"


def image_at(path: str) -> EnvironmentPlace | None:
    """The environment whose image is recorded at a path; None for any other path.

    >>> image_at("images/linux-64/" + "1" * 40 + "/" + "2" * 40 + ".json").arch
    'linux-64'
    >>> image_at("images/README.md") is None
    True
    """
    if not (path.startswith(f"{IMAGES}/") and path.endswith(".json")):
        return None
    return environment_at(f"{ENVIRONMENTS}{path.removeprefix(IMAGES).removesuffix('.json')}.toml")


def environment_place(lock: Lock) -> EnvironmentPlace:
    """The place of a lock in a cache."""
    return EnvironmentPlace(lock.arch, lock.req_id, lock.full_id)


def environment_at(path: str) -> EnvironmentPlace | None:
    """What the path of a cached lock says; None for any other path.

    >>> environment_at("envs/osx-arm64/" + "1" * 40 + "/" + "2" * 40 + ".toml").arch
    'osx-arm64'
    >>> environment_at("envs/README.md") is None
    True
    """
    parts = path.removesuffix(".toml").split("/")
    if len(parts) != 4:
        return None
    place = EnvironmentPlace(Arch(parts[1]), parts[2], parts[3])
    try:
        return place if place.path == path else None
    except UnsafePath:
        return None


def probe_path(nonce: str) -> str:
    """Where a store is tested. `nonce` is hex digits that nobody else has."""
    return f"{PROBES}/{nonce}"


def alias_folder(alias: Alias) -> str:
    """The folder of an alias's moves.

    >>> from envlock.named.alias import Alias
    >>> alias_folder(Alias("team/base", "v1.2"))
    'aliases/team/base/@tags/v1.2'

    Raises UnsafePath for what is no alias.
    """
    from envlock.named.alias import parse_alias

    try:
        if parse_alias(str(alias)) == alias:
            return f"{ALIASES}/{alias.name}/@tags/{alias.tag}"
    except ConfigError:
        pass
    raise UnsafePath(str(alias))


def move_path(alias: Alias, sequence: int) -> str:
    """The path of one move of an alias. Sorted paths are moves in order.

    >>> from envlock.named.alias import Alias
    >>> move_path(Alias("team/base"), 3)
    'aliases/team/base/@tags/latest/0000000003.json'
    """
    return f"{alias_folder(alias)}/{sequence:010d}.json"


def move_at(path: str) -> tuple[Alias, int] | None:
    """The alias and the number of the move at a path; None for any other path.

    >>> move_at("aliases/team/base/@tags/latest/0000000003.json")
    (Alias(name='team/base', tag='latest'), 3)
    >>> move_at("aliases/team/base/README.md") is None
    True
    """
    match = _RECORD.match(path)
    if match is None or int(match["sequence"]) == 0:
        return None
    from envlock.named.alias import Alias

    alias = Alias(match["name"], match["tag"])
    try:
        return (alias, int(match["sequence"])) if move_path(alias, int(match["sequence"])) == path else None
    except UnsafePath:
        return None


def step_folder(flow: str, run: str, step: str) -> str:
    """The folder of the run records of a step.

    >>> step_folder("TrainFlow", "142", "train")
    'pathspecs/TrainFlow/142/train'

    Raises UnsafePath.
    """
    if not all(map(_PATHSPEC_PART.match, (flow, run, step))):
        raise UnsafePath(f"{flow}/{run}/{step}")
    return f"{PATHSPECS}/{flow}/{run}/{step}"


class ResolvedPlace(NamedTuple):
    """What the path of a resolution record says: who resolved which environment, and when by their clock."""

    time: str
    """`20261101T093000Z`: sorted as text, records are in order of time."""
    user: str
    """As `user_in_paths` spells it."""
    environment: EnvironmentPlace

    @property
    def path(self) -> str:
        """Where the record lies. Raises UnsafePath."""
        folder = resolved_folder(self.environment.req_id, self.environment.arch)
        path = f"{folder}/{self.time}-{self.user}-{self.environment.full_id}"
        if not _RESOLVED.match(path):
            raise UnsafePath(path)
        return path


def resolved_folder(req_id: str, arch: str) -> str:
    """The folder of the records of who resolved these requirements for an arch. Raises UnsafePath."""
    if arch not in ARCHS or not _ID.match(req_id):
        raise UnsafePath(f"{req_id}/{arch}")
    return f"{RESOLVED}/{req_id}/{arch}"


def resolved_place(lock: Lock) -> ResolvedPlace | None:
    """The place of a lock's resolution record; None for a lock without a time."""
    when = _RESOLVED_AT.match(lock.resolved_at)
    if when is None:
        return None
    time = "{}{}{}T{}{}{}Z".format(*when.groups())
    return ResolvedPlace(time, user_in_paths(lock.resolved_by), environment_place(lock))


def resolved_at(path: str) -> ResolvedPlace | None:
    """What the path of a resolution record says; None for any other path.

    >>> place = resolved_at("resolved/" + "1" * 40 + "/osx-64/20261101T093000Z-mia-" + "2" * 40)
    >>> place.user, place.environment.arch
    ('mia', 'osx-64')
    >>> resolved_at("resolved/README.md") is None
    True
    """
    match = _RESOLVED.match(path)
    if match is None or match["arch"] not in ARCHS:
        return None
    environment = EnvironmentPlace(Arch(match["arch"]), match["req_id"], match["full_id"])
    return ResolvedPlace(match["time"], match["user"], environment)


def user_in_paths(user: str) -> str:
    """A user's name in paths: characters that no path can have are spelt in hex, and long names are cut.

    >>> user_in_paths("mia.k@example"), user_in_paths("../Zoë"), len(user_in_paths("x" * 500))
    ('mia.k@example', '..=2FZo=C3=AB', 120)
    """
    spelt = "".join(
        chr(byte) if chr(byte) in _USER_LETTERS else f"={byte:02X}" for byte in user.encode("utf-8", "surrogateescape")
    )
    return spelt[:_LONGEST_USER]


def build_path(source: str, arch: str, series: str) -> str:
    """Where the wheel of a source is named; `source` is its hash.

    >>> build_path("ab" * 32, "osx-arm64", "3.12")[-24:]
    'abab/osx-arm64-3.12.json'

    Raises UnsafePath.
    """
    if not _SHA256.match(source) or arch not in ARCHS or not re.fullmatch(r"[0-9]+\.[0-9]+", series):
        raise UnsafePath(f"{source}/{arch}-{series}")
    return f"{BUILDS}/{source[:2]}/{source}/{arch}-{series}.json"


def push_path(nonce: str) -> str:
    """Where a push announces what it needs. `nonce` is hex digits that nobody else has."""
    return f"{PUSHES}/{nonce}.json"


def sweep_path(nonce: str) -> str:
    """Where gc announces itself. `nonce` is hex digits that nobody else has."""
    return f"{SWEEPS}/{nonce}.json"


def checked(path: str) -> str:
    """The path, if it stays inside the root of a store. Raises UnsafePath.

    >>> checked("envs/linux-64/1.toml")
    'envs/linux-64/1.toml'
    """
    parts = path.split("/")
    if any(part in {"", ".", ".."} for part in parts) or "\\" in path or not path.isprintable():
        raise UnsafePath(path)
    return path
