"""`image`: environments as layers on a base image, pushed to a registry, and recorded in the cache.

Nothing of it needs docker, root, or a machine of the image's arch. The base's layers stay where they are: a registry
is asked to have those of one of its repositories in another, and only layers of another registry are copied.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from os import cpu_count
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from envlock.cache.format import check_format
from envlock.cache.images import ImageRecord, Images
from envlock.cache.layout import environment_place
from envlock.cache.open import open_cache
from envlock.cache.parallel import all_in_parallel
from envlock.config.selection import Selection
from envlock.hydration.errors import storage_error
from envlock.hydration.prefix import name_of
from envlock.hydration.pythons import LockedPythons
from envlock.image import image as documents
from envlock.image.docker_login import DockerLogin
from envlock.image.errors import BaseUnfit, NoSuchImage, NotForImage, UnsupportedImage
from envlock.image.layers import GZIP, MOST_LAYERS, Layer, PackedLayer, package_layers, refuse_whiteouts, write_layer
from envlock.image.manifests import OCI_CONFIG, Blob, Manifest
from envlock.image.prefix import folder_of, own_layer
from envlock.image.references import is_digest
from envlock.image.registry import Registry
from envlock.interchange.exported import Given, export
from envlock.lockfile.document import render
from envlock.lockfile.rows import rows_in
from envlock.pack.tree import tree_of
from envlock.places import home
from envlock.remote.kit import REMOTE_ARCHS
from envlock.reporter import Reporter
from envlock.stage import temporary_folder
from envlock.words import count
from envlock.workflow.artifacts import artifact_source
from envlock.workflow.export import licenses_of
from envlock.workflow.image_memo import ImageMemo, ImagePushed, LayerPushed
from envlock.workflow.image_pythons import KIT, ImagePythons
from envlock.workflow.packs import called, kept_bytecode
from envlock.workflow.push import chosen_locks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from envlock.cache.port import Store
    from envlock.config.project import Project
    from envlock.image.references import ImageReference
    from envlock.model.arch import Arch
    from envlock.model.lock import Lock

SBOM_TYPE = "application/vnd.cyclonedx+json"
LOCK_TYPE = "application/toml"
_PACKING = "packing layers"
_TITLE = "org.opencontainers.image.title"


class ImageOptions(NamedTuple):
    """How an image is made."""

    python: str = KIT
    """`kit`: the Python build of the plan, or of the lock. `base`: the base's own, in `/usr/local/bin`. Else an
    absolute path in the base. Counts for `python-from = "machine"`; other locks bring their Python."""
    compression: str = GZIP
    is_insecure: bool = False
    """Whether registries of other machines may be spoken to by plain HTTP."""


def push_image(
    project: Project,
    target: ImageReference,
    base: ImageReference,
    *,
    selection: Selection | None = None,
    options: ImageOptions | None = None,
    dry_run: bool = False,
    reporter: Reporter | None = None,
) -> ImagePushed:
    """Push an image with the chosen environments, for each Linux arch that is chosen, and record it in the cache.

    The same locks, base, Python builds and options give the same digest. `dry_run` makes the layers, to know their
    digests, and pushes nothing. Costs the tree of each environment (see `envlock.pack.tree`) and compressing it, in a
    temporary folder with room for both. Raises StaleError, DamageError or ConfigError for locks that are not fresh and
    whole, BaseUnfit, NotForImage, CannotPack, RegistryError, CacheUnusable, and what `tree_of` raises.
    """
    selection, options, reporter = selection or Selection(), options or ImageOptions(), reporter or Reporter()
    if not selection.archs:
        linux = tuple(arch for arch in project.settings.archs if arch in REMOTE_ARCHS)
        selection = selection._replace(archs=linux or project.settings.archs)
    locks = sorted(chosen_locks(project, selection), key=lambda lock: (lock.arch, lock.asked_by, lock.identity))
    fetched = sum(each.is_fetched for each in selection.choose(project))
    for lock in locks:
        _refuse_unfit(project, lock)
    store = open_cache(project)
    check_format(store)
    login, is_insecure = DockerLogin(), options.is_insecure
    with (
        Registry(target, login, reporter, is_insecure=is_insecure) as registry,
        Registry(base, login, reporter, is_insecure=is_insecure) as base_registry,
        temporary_folder("envlock-image-") as scratch,  # not below ENVLOCK_HOME, which may be small
    ):
        work = _Pushing(project, store, registry, base_registry, options, reporter, scratch, is_dry=dry_run)
        try:
            return replace(work.run(locks), fetched=fetched) if locks else ImagePushed(target, base, fetched=fetched)
        except OSError as error:  # of this disk: registries and caches have errors of their own
            raise storage_error(error, scratch) from error


def _refuse_unfit(project: Project, lock: Lock) -> None:
    """Raise NotForImage for what no image of these layers can have."""
    name = called(lock)
    if lock.arch not in REMOTE_ARCHS:
        raise NotForImage(name, "images are for Linux", "choose Linux: `--arch linux-64`")
    allowed = sorted(each.name for each in lock.conda_packages if each.name in project.settings.link_scripts)
    if allowed:
        reason = f"the link script of {', '.join(allowed)} would have to run, and no code of a package is"
        raise NotForImage(name, reason, "let docker build it: `envlock export --format dockerfile`")


@dataclass
class _ForArch:
    """The image for one arch, while it is made."""

    base: documents.Base
    locks: Sequence[Lock]
    layers: list[PackedLayer] = field(default_factory=list)
    pythons: dict[str, str] = field(default_factory=dict)
    """The version of each Python build in it, by the SHA-256 of its archive."""
    compilers: set[str] = field(default_factory=set)


def _refuse_crowd(image: _ForArch, base: str) -> None:
    """Raise BaseUnfit if containers could not stack the layers of so many environments on the base."""
    if image.base.most_layers(len(image.locks)) < 1:
        there, more = count(len(image.base.layers), "layer"), count(len(image.locks), "environment")
        reason = f"it has {there}, and with those of {more} an image would have more than {documents.MOST_IN_ALL}"
        raise BaseUnfit(base, reason, "name fewer steps for one image, or use a base with fewer layers")


@dataclass
class _Pushing:
    """One push of one image."""

    project: Project
    store: Store
    registry: Registry
    base_registry: Registry
    options: ImageOptions
    reporter: Reporter
    scratch: Path
    is_dry: bool
    new: set[str] = field(default_factory=set)
    """The digests of layers that the registry lacked."""
    copied: int = 0
    """Bytes of layers of the base that were sent."""

    def __post_init__(self) -> None:
        self.source = artifact_source(self.project, self.reporter)
        mirror = self.project
        self.interpreters = LockedPythons(self.source, home(), self.reporter, mirror=lambda: mirror.python_mirror)
        self.pythons = ImagePythons(
            self.project,
            self.store,
            self.source,
            self.interpreters,
            self.scratch,
            self.reporter,
            self.options.python,
        )

    def run(self, locks: Sequence[Lock]) -> ImagePushed:
        """Make and push everything: the tag last, and then the records."""
        shown = str(self.base_registry.reference)
        top = self.base_registry.manifest(self.base_registry.reference.what)
        pinned = self.base_registry.reference.with_digest(top.descriptor.digest)
        named = {documents.BASE_NAME: self.base_registry.reference.name, documents.BASE_DIGEST: pinned.digest}
        if self.base_registry.reference.tag:
            named[documents.BASE_NAME] += f":{self.base_registry.reference.tag}"
        archs = tuple(dict.fromkeys(lock.arch for lock in locks))
        images = {
            arch: _ForArch(self.base_for(top, arch, shown), [lock for lock in locks if lock.arch == arch])
            for arch in archs
        }
        for image in images.values():
            _refuse_crowd(image, shown)
        before = self.moved_from(named)
        memo = ImageMemo(self.registry, self.key(locks, named))
        known = memo.found()
        if known is not None:
            target = self.registry.reference.with_digest(known.reference.digest)
            recorded = self.record(locks, target, pinned)
            return replace(known, base=pinned, before=before, environments=tuple(map(called, locks)), recorded=recorded)
        made: list[tuple[documents.Base, Manifest]] = []
        for image in images.values():
            self.pack(image)
            config = documents.config_of(image.base, image.layers)
            manifest = documents.manifest_of(image.base, config, image.layers, {**named, **_described(image)})
            self.push(image, config, manifest)
            made.append((image.base, manifest))
        index = documents.index_of(made, {**named, documents.ENVIRONMENTS: _names(locks)})
        target = self.registry.reference.with_digest(index.descriptor.digest)
        if not self.is_dry:
            self.registry.push_manifest(index, self.registry.reference.tag)
        pushed = ImagePushed(
            target,
            pinned,
            before,
            {arch: manifest.descriptor.digest for arch, (_, manifest) in zip(archs, made, strict=True)},
            tuple(map(called, locks)),
            tuple(
                LayerPushed(
                    arch,
                    each.name,
                    each.descriptor.digest,
                    each.descriptor.size,
                    each.raw_size,
                    each.descriptor.digest in self.new,
                )
                for arch, image in images.items()
                for each in image.layers
            ),
            max(len(image.base.layers) for image in images.values()),
            self.copied,
            self.record(locks, target, pinned),
        )
        if not self.is_dry:
            memo.note(pushed)
        return pushed

    def key(self, locks: Sequence[Lock], named: Mapping[str, str]) -> list[object]:
        """All that decides the bytes of the image, in this release of envlock."""
        options = self.options.python, self.options.compression
        return [named, options, [[_anonymous(lock), *self.pythons.key(lock)] for lock in locks]]

    def base_for(self, top: Manifest, arch: Arch, shown: str) -> documents.Base:
        """The base for an arch. Raises BaseUnfit."""
        entry = documents.entry_for(top, arch, shown) if top.is_index else None
        manifest = top if entry is None else self.base_registry.manifest(entry.digest)
        if manifest.is_index:
            reason = f"its index lists another index for {arch}, and no image"
            advice = f"use that index: `--base {self.base_registry.reference.name}@{manifest.descriptor.digest}`"
            raise BaseUnfit(shown, reason, advice)
        return documents.base_of(manifest, self.base_registry.read_blob(manifest.config), arch, shown, entry)

    def moved_from(self, named: Mapping[str, str]) -> str:
        """The digest of the same base when this tag was pushed last, if it is another one now; else empty."""
        with suppress(NoSuchImage, UnsupportedImage):
            found = self.registry.manifest(self.registry.reference.what).document.get("annotations")
            if isinstance(found, dict) and found.get(documents.BASE_NAME) == named[documents.BASE_NAME]:
                before = str(found.get(documents.BASE_DIGEST))
                return before if is_digest(before) and before != named[documents.BASE_DIGEST] else ""
        return ""

    def pack(self, image: _ForArch) -> None:
        """Make the layers of an arch: of Python builds, then of each environment's packages, then of its own files."""
        most = min(image.base.most_layers(len(image.locks)), MOST_LAYERS)
        last: list[PackedLayer] = []
        builds: dict[str, PackedLayer] = {}
        for number, lock in enumerate(image.locks, 1):
            folder = folder_of(number)
            with tree_of(
                lock,
                self.source,
                self.scratch,
                self.reporter,
                interpreters=self.interpreters,
                compiler=self.pythons.compiler(lock),
                bytecode=self.pythons.bytecode,
                kept=kept_bytecode(),
            ) as tree:
                refuse_whiteouts(called(lock), tree.files)
                python = self.pythons.of(lock, tree, folder, image.base)
                layers = package_layers(tree.files, folder, tree.placeholder, most=most)
                is_new = python.build is not None and python.sha256 not in builds
                if python.build is not None and is_new:
                    image.pythons[python.sha256] = python.version
                    layers.insert(0, python.build)
                packed = self.compressed([*layers, own_layer(lock, tree, python.interpreter, folder)])
            image.compilers.add(tree.compiler)
            if is_new:
                builds[python.sha256] = packed.pop(0)
            last.append(packed.pop())
            image.layers += packed
        image.layers = [*builds.values(), *image.layers, *last]

    def compressed(self, layers: Sequence[Layer]) -> list[PackedLayer]:
        """The layers as blobs, in their order; on all processors."""
        self.reporter.began(_PACKING, sum(layer.bytes for layer in layers), "bytes")
        folder = Path(mkdtemp(dir=self.scratch))
        done: dict[int, PackedLayer] = {}

        def packed(number: int) -> PackedLayer:
            self.reporter.doing(_PACKING, layers[number].name)
            return write_layer(layers[number], folder, self.options.compression)

        largest_first = sorted(range(len(layers)), key=lambda number: -layers[number].bytes)
        for number, blob in all_in_parallel(packed, largest_first, workers=cpu_count() or 1):
            done[number] = blob
            self.reporter.advanced(_PACKING, blob.name, layers[number].bytes)
        self.reporter.ended(_PACKING)
        return [done[number] for number in range(len(layers))]

    def push(self, image: _ForArch, config: bytes, manifest: Manifest) -> None:
        """Push the image for an arch, without a tag, and attach the lock and the SBOM of each of its environments."""
        if self.is_dry:
            descriptors = {each.descriptor.digest: each.descriptor for each in image.layers}
            there = all_in_parallel(self.registry.has_blob, descriptors.values())
            self.new |= {each.digest for each, is_there in there if not is_there}
            return
        blobs = [self.base_registry.blob(each) for each in image.base.layers]
        blobs += [Blob(each.descriptor, partial(_opened, each.file)) for each in image.layers]
        pushed = self.registry.push([*blobs, Blob.of_bytes(config, OCI_CONFIG)], manifest)
        of_base = {each.digest for each in image.base.layers}
        self.copied += sum(each.size for each in pushed.sent if each.digest in of_base)
        self.new |= {each.digest for each in pushed.sent} - of_base
        for lock in image.locks:
            for media_type, text, title in self.about(lock):
                blob = Blob.of_bytes(text.encode(), media_type)
                titled = blob.descriptor._replace(annotations={_TITLE: title})
                self.registry.attach(manifest.descriptor, media_type, [blob._replace(descriptor=titled)])

    def about(self, lock: Lock) -> Iterator[tuple[str, str, str]]:
        """The media type, the text and the name of what is attached to an image with an environment."""
        text = _anonymous(lock)
        given = Given("cyclonedx", name_of(lock), (rows_in(text.encode()),))
        bom = export(given._replace(licenses=licenses_of(self.project, given, None))).text
        yield LOCK_TYPE, text, f"pylock.{lock.full_id}.toml"
        yield SBOM_TYPE, bom, f"{lock.full_id}.cdx.json"

    def record(self, locks: Sequence[Lock], target: ImageReference, base: ImageReference) -> int:
        """Record the image of each environment in the cache. Returns how many records changed. Raises CacheUnusable."""
        if self.is_dry:
            return 0
        record = ImageRecord(target.name, target.tag, target.digest, str(base))
        return sum(Images(self.store).write(environment_place(lock), record) for lock in locks)


def _anonymous(lock: Lock) -> str:
    """The text of a lock, without who locked it and when."""
    return render(replace(lock, asked_by=(), resolved_by="", resolved_at="", exclude_newer=""))


def _opened(file: Path) -> BinaryIO:
    return file.open("rb")


def _described(image: _ForArch) -> dict[str, str]:
    """The annotations of the image for one arch."""
    pythons = " ".join(f"{version}@sha256:{sha256}" for sha256, version in sorted(image.pythons.items()))
    found = {
        documents.ENVIRONMENTS: _names(image.locks),
        documents.PYTHONS: pythons,
        documents.COMPILERS: " ".join(sorted(filter(None, image.compilers))),
    }
    return {name: text for name, text in found.items() if text}


def _names(locks: Sequence[Lock]) -> str:
    return " ".join(sorted({lock.prefix_name for lock in locks}))
