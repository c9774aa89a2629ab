"""Environments that are looked up when their task starts: an alias, ids, or the pathspec of a step that ran.

What names mean is envlock's (`envlock.named`), and so are the bytes that a cache keeps of them. A tag that moved is
seen by the next task.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple

from .errors import Damaged, Misconfigured, Missing, NodeError
from .libraries import install
from .machine import node_arch
from .manifest import Manifest, Reference, Target
from .parameters import VARIABLE, values_of
from .plan import LARGEST, folder_of, parse
from .transport import Forbidden, NotThere, Transport

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?(?:/[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?)*\Z")
_TAG = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9_-])?\Z")
_IDS = re.compile(r"([0-9a-f]{40}):([0-9a-f]{40})\Z")
_ID = re.compile(r"[0-9a-f]{40}\Z")
_PATHSPEC = re.compile(
    r"[A-Za-z_]\w*/[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z_]\w*(?:/[A-Za-z0-9][A-Za-z0-9_.-]*)?\Z", re.ASCII
)
_PLAN = re.compile(r"[0-9a-f]{64}\Z")
_MOVING = ("latest", "candidate", "stable")
_MOVE_KEYS = ["format", "name", "tag", "sequence", "req_id", "full_ids"]
_SMALL = 1 << 20  # bytes of a move or a record
_LISTINGS = 4
_PAUSE = 0.02


class Found(NamedTuple):
    """What a reference names."""

    req_id: str
    full_ids: Mapping[str, str]
    """By arch."""


def look_up(
    manifest: Manifest, reference: Reference, step: str, transport: Transport, environ: Mapping[str, str]
) -> Target:
    """The environment that a reference of a step names now, with its newest plan for this node's arch.

    `environ` are the task's variables. Raises Misconfigured for what is no name; Missing if the name, the arch or the
    plan is missing; Damaged; and what the transport raises.
    """
    text = filled_in(reference.text, manifest, step, environ)
    arch = node_arch()
    if reference.kind == "pathspec":
        found = _by_pathspec(text, transport, arch)
    else:
        ids = _IDS.match(text)
        found = Found(ids.group(1), {arch: ids.group(2)}) if ids else _by_alias(text, transport)
    if arch not in found.full_ids:
        raise Missing(
            "`%s` is not there for %s, only for %s: lock it for %s too and give it a new tag, or run %s on another arch"
            % (text, arch, ", ".join(sorted(found.full_ids)), arch, step)
        )
    return newest_plan(text, Target(arch, found.req_id, found.full_ids[arch], ""), transport)


def filled_in(text: str, manifest: Manifest, step: str, environ: Mapping[str, str]) -> str:
    """The text with the value of each `@{VARIABLE}` in its place. Raises Misconfigured for one that has none."""
    wanted = set(VARIABLE.findall(text))
    values = values_of(wanted, manifest, step, environ) if wanted else {}
    for name in sorted(wanted - set(values)):
        raise Misconfigured(
            "`%s` needs the value of `%s`, which this task does not have: set it with @environment, or give the flow "
            "that parameter" % (text, name)
        )
    return VARIABLE.sub(lambda match: values[match.group(1)], text)


def newest_plan(name: str, target: Target, transport: Transport) -> Target:
    """The target with the newest of its plans that this node can read.

    One listing; plans are read only where there are several. Raises Missing, or what is wrong with the newest.
    """
    folder = folder_of(*target[:3]) + "/"
    listed = sorted(transport.list(folder[:-1]), key=lambda each: (-each.modified, each.path))
    names = [each.path[len(folder) : -len(".json")] for each in listed if each.path.endswith(".json")]
    targets = [target._replace(plan=each) for each in names if _PLAN.match(each)]
    first: Optional[NodeError] = None
    for each in targets:
        if len(targets) == 1:
            return each
        try:
            parse(transport.read(folder + each.plan + ".json", LARGEST), each)
        except (Misconfigured, Damaged) as error:
            if isinstance(error, Forbidden):
                raise
            first = first or error
        except NotThere:  # a gc deleted it since it was listed
            continue
        else:
            return each
    if first is not None:
        raise first
    raise Missing(
        "the cache %s has no plan of `%s` (%s) for %s: run `envlock push` in the project that has its lock"
        % (transport.url, name, target.full_id[:12], target.arch)
    )


# Aliases.


def _by_alias(text: str, transport: Transport) -> Found:
    """The environment that a tag names now. Its history is a chain of files, written once; the last one counts."""
    name, tag = _alias(text)
    folder = "aliases/%s/@tags/%s" % (name, tag)
    last = _last_move(text, folder, tag, transport)
    path = "%s/%010d.json" % (folder, last)
    try:
        return _move(transport.read(path, _SMALL), (name, tag, last))
    except NotThere:
        raise Damaged("%s/%s was taken away: the alias `%s` cannot be trusted" % (transport.url, path, text)) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Damaged(
            "%s/%s was changed after it was written, so the alias `%s` is not used: look at `envlock alias log %s`"
            % (transport.url, path, text, text)
        ) from None


def _alias(text: str) -> Tuple[str, str]:
    name, colon, tag = text.partition(":")
    tag = tag if colon else "latest"
    if (
        len(name) > 200
        or len(tag) > 128
        or _ID.match(name)
        or ".." in tag
        or not (_NAME.match(name) and _TAG.match(tag))
    ):
        raise Misconfigured("`%s` is not a valid alias: write it like `ml-team/fraud/base:v1`" % text)
    return name, tag


def _last_move(text: str, folder: str, tag: str, transport: Transport) -> int:
    found: List[int] = []
    for number in range(_LISTINGS):
        # A listing that others write into may show the later of two moves, and not the earlier.
        time.sleep(_PAUSE * number)
        found = sorted(filter(None, (_sequence(each.path, folder) for each in transport.list(folder))))
        if not found or found == list(range(1, found[-1] + 1)):
            break
    if not found:
        raise Missing(
            "no environment in the cache %s is called `%s`: `envlock alias %s --env NAME` gives it to one"
            % (transport.url, text, text)
        )
    if found != list(range(1, found[-1] + 1)) or (tag not in _MOVING and found[-1] > 1):
        raise Damaged(
            "the history of the alias `%s` in the cache %s is not whole, so it is not used: look at `envlock alias "
            "log %s`" % (text, transport.url, text)
        )
    return found[-1]


def _sequence(path: str, folder: str) -> int:
    name = path[len(folder) + 1 :]
    return int(name[:-5]) if re.match(r"[0-9]{10}\.json\Z", name) else 0


def _move(data: bytes, place: Tuple[str, str, int]) -> Found:
    """The environment in the canonical bytes of a move. Raises ValueError and its like for any others."""
    fields = json.loads(data.decode("utf-8"))
    if type(fields["format"]) is int and fields["format"] > 1:
        raise Misconfigured(
            "the alias `%s:%s` was given by a newer envlock: deploy the flow again with that" % place[:2]
        )
    digest = fields.pop("sha256")
    if hashlib.sha256(_spelt(fields)).hexdigest() != digest or _spelt(dict(fields, sha256=digest)) != data:
        raise ValueError
    if list(fields)[: len(_MOVE_KEYS)] != _MOVE_KEYS or fields["format"] != 1:
        raise ValueError
    if (fields["name"], fields["tag"], fields["sequence"]) != place:
        raise ValueError
    full_ids: Dict[str, str] = fields["full_ids"]
    if not full_ids or not all(map(_ID.match, (fields["req_id"], *full_ids.values()))):
        raise ValueError
    return Found(fields["req_id"], full_ids)


def _spelt(fields: Dict[str, object]) -> bytes:
    return (json.dumps(fields, indent=1, ensure_ascii=False) + "\n").encode()


# Pathspecs.


def _by_pathspec(text: str, transport: Transport, arch: str) -> Found:
    """What a step or a task ran in: by the run records of the cache, and by Metaflow's metadata.

    A record is of a step, whose tasks may differ: for a task, Metaflow's metadata comes first.
    """
    if not _PATHSPEC.match(text) or ".." in text:
        raise Misconfigured("`%s` is not the pathspec of a step or a task: write it like `TrainFlow/142/train`" % text)
    ways = [lambda: _recorded(text, transport, arch), lambda: _known_to_metaflow(text)]
    for way in reversed(ways) if text.count("/") == 3 else ways:
        found = way()
        if found is not None:
            # What ran on one arch is often locked for others with the same ids: the listing of plans will tell.
            return found if arch in found.full_ids else Found(found.req_id, {arch: next(iter(found.full_ids.values()))})
    raise Missing(
        "neither the cache %s nor Metaflow knows what `%s` ran in: name a step that ran with --environment=envlock"
        % (transport.url, text)
    )


def _recorded(text: str, transport: Transport, arch: str) -> Optional[Found]:
    folder = "pathspecs/" + "/".join(text.split("/")[:3])
    paths = ["%s/%s.json" % (folder, arch)]
    try:
        data = transport.read(paths[0], _SMALL)
    except NotThere:
        paths = sorted(each.path for each in transport.list(folder) if each.path.endswith(".json"))
        if not paths:
            return None
        data = transport.read(paths[0], _SMALL)
    try:
        fields = json.loads(data.decode("utf-8"))
        path = "pathspecs/%(flow)s/%(run)s/%(step)s/%(arch)s.json" % fields
        if path == paths[0] and _ID.match(fields["req_id"]) and _ID.match(fields["full_id"]):
            return Found(fields["req_id"], {fields["arch"]: fields["full_id"]})
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise Damaged(
        "%s/%s is no run record, and was not used: delete it, or name another step" % (transport.url, paths[0])
    )


def _known_to_metaflow(text: str) -> Optional[Found]:
    try:
        install(os.environ)  # its metadata service is asked by requests
        from metaflow.client.core import Step, Task

        known = Task(text, _namespace_check=False) if text.count("/") == 3 else Step(text, _namespace_check=False).task
        identity = json.loads(known.metadata_dict["envlock_env_id"])
        req_id, full_id, arch = identity
        return Found(req_id, {arch: full_id}) if _ID.match(req_id) and _ID.match(full_id) else None
    except Exception:  # noqa: BLE001  whatever Metaflow's metadata provider raises, it does not know the step
        return None
