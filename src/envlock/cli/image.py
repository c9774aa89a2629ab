"""`envlock image`: push an image with locked environments to a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envlock.cli.command import Argument, CommandLine, Flag, Value, command
from envlock.cli.options import ARCHS, CONFIG, DRY_RUN, ENVS, FLOWS, JSON, open_project
from envlock.errors import one_line
from envlock.words import byte_size, count, did, first_of, listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envlock.workflow.image_memo import ImagePushed

_TARGET = Argument("target", "REGISTRY/NAME[:TAG]", "The image to push. Default tag: latest.")
_STEPS = Argument("steps", "[STEP]...", "The steps whose environments are in it. Default: all.", complete="steps")
_BASE = Value("--base", "REGISTRY/NAME[:TAG|@DIGEST]", "The base image. Best named by digest: a tag may move.")
_PYTHON = Value(
    "--python",
    "kit|base|PATH",
    'For `python-from = "machine"`: `kit` adds a Python build, `base` uses the Python of the base image, and a path '
    "names another Python in it.",
    default="kit",
)
_COMPRESSION = Value(
    "--compression",
    "TYPE",
    "How layers are compressed: `gzip`, or `zstd`, which docker reads from version 23 on.",
    default="gzip",
    choices=("gzip", "zstd"),
)
_INSECURE = Flag("--insecure", "Allow plain HTTP for registries that do not speak TLS.")


@command(
    _TARGET,
    _STEPS,
    FLOWS,
    ENVS,
    ARCHS,
    _BASE,
    _PYTHON,
    _COMPRESSION,
    _INSECURE,
    DRY_RUN,
    JSON,
    CONFIG,
    epilog="Exit status: 0; 1 if a lock is missing or stale; 2 if a registry refuses or the base is unfit; 3 damage.",
)
def image(line: CommandLine) -> int:
    """Push an image with locked environments: the layers of a base image, and one or more for each environment.

    Needs no docker, and runs no code of a package. The image has each Linux architecture that is locked. Layers that
    the registry has are not sent: after an update of one package, only its layer is. The lock and an SBOM are attached
    to the image. The cache remembers the image, so that `image = "auto"` in envlock.toml starts remote steps in it.

    The login of a registry is docker's: `docker login REGISTRY`, or a credential helper.

    For example:

    - `envlock image registry.example/team/train:1 --base registry.example/team/python:3.12 --flow TrainFlow`
    - `envlock image registry.example/team/train:1 train score --base registry.example/team/python:3.12 --arch linux-64`
    - `envlock image registry.example/team/base:1 --env base --base registry.example/team/python:3.12 --dry-run`
    """
    from envlock.cli.console import say, write_err, write_json
    from envlock.cli.errors import BadUsage
    from envlock.cli.options import archs
    from envlock.cli.progress import LiveReporter
    from envlock.config.selection import Selection
    from envlock.image.references import ImageReference
    from envlock.workflow.image_pythons import BASE, KIT
    from envlock.workflow.images import ImageOptions, push_image

    if not line.has(_BASE):
        raise BadUsage("an image needs a base: give `--base REGISTRY/NAME:TAG`", "envlock image")
    python = line.value(_PYTHON)
    if python not in {KIT, BASE} and not python.startswith("/"):
        raise BadUsage(f"`--python {python}` is neither `kit`, `base` nor an absolute path", "envlock image")
    target, base = ImageReference.parse(line.value(_TARGET)), ImageReference.parse(line.value(_BASE))
    if target.digest:
        raise BadUsage(
            "an image is pushed under a tag, and its digest follows: leave `@sha256:...` out", "envlock image"
        )
    chosen = Selection(line.values(FLOWS), line.values(_STEPS), line.values(ENVS), tuple(archs(line)))
    options = ImageOptions(python, line.value(_COMPRESSION), line.has(_INSECURE))
    dry_run = line.has(DRY_RUN)
    project = open_project(line)
    with LiveReporter() as reporter:
        result = push_image(
            project, target, base, selection=chosen, options=options, dry_run=dry_run, reporter=reporter
        )
    if line.has(JSON):
        write_json(as_document(result), dry_run=dry_run)
        return 0
    for text in as_lines(result, dry_run=dry_run):
        say(one_line(text))
    for text in _notes(result, base):
        write_err(one_line(text))
    return 0


def as_lines(result: ImagePushed, *, dry_run: bool = False) -> Iterator[str]:
    """The result, in sentences."""
    if not result.manifests:
        from envlock.cli.lock_text import later

        yield f"nothing to push: {later(result.fetched) if result.fetched else 'no environment is selected'}"
        return
    verb = did("pushed", dry_run=dry_run)
    names = {each.rpartition(" on ")[0] for each in result.environments}  # one is there for each arch
    what = f"{count(len(names), 'environment')}, {', '.join(result.manifests)}"
    yield f"{verb} {result.reference} ({what})"
    sent, there = result.sent, len({each.digest for each in result.layers}) - len(result.sent)
    layers = f"{count(len(sent), 'layer')} ({byte_size(sum(each.size for each in sent))})"
    if not sent:
        yield f"  no layer is new: the registry has all {there}"
    else:
        largest = listed(
            list(dict.fromkeys(_called(each.name) for each in sorted(sent, key=lambda each: -each.size)))[:3]
        )
        yield f"  {layers} {'are' if len(sent) > 1 else 'is'} new, such as {largest}; the registry has {there}"
    yield f"  base  {result.base}"


def _called(layer: str) -> str:
    """A layer by its package, or as the small packages that it has together.

    >>> _called("numpy-2.5.5"), _called("six-1.17, idna-3.11, tzdata-2026a")
    ('numpy-2.5.5', '3 small packages (six-1.17, idna-3.11 and 1 more)')
    """
    names = layer.split(", ")
    return layer if len(names) < 2 else f"{len(names)} small packages ({first_of(names, 2)})"


def _notes(result: ImagePushed, base: object) -> Iterator[str]:
    """Warnings and notes."""
    if result.before:
        yield f"note: the base has changed since the last push of this tag, when it was {result.before}"
    if result.manifests and "@" not in str(base):
        yield f"note: to build on the same base again: --base {result.base}"
    if result.copied:
        yield f"note: {byte_size(result.copied)} of the base were copied from another registry"


def as_document(result: ImagePushed) -> dict[str, object]:
    """The result, for `--json`."""
    return {
        "image": str(result.reference) if result.manifests else None,
        "digest": result.reference.digest or None,
        "base": str(result.base),
        "base_before": result.before or None,
        "manifests": dict(result.manifests),
        "environments": list(result.environments),
        "layers": [each._asdict() for each in result.layers],
        "sent": len(result.sent),
        "sent_bytes": sum(each.size for each in result.sent),
        "base_bytes": result.copied,
        "recorded": result.recorded,
    }
