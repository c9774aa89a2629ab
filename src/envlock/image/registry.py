"""One repository of a registry, by the OCI distribution API: what it has, and what is pushed to it.

What is received is proved by its digest before it is used. Source: OCI distribution specification 1.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from http import HTTPStatus
from io import BytesIO
from tempfile import TemporaryFile
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import urlencode

from envlock.image.connection import PATIENCE, Connection
from envlock.image.errors import (
    ImageDamaged,
    NoSuchImage,
    RegistryDenied,
    RegistryRefused,
    UnsupportedImage,
)
from envlock.image.manifests import (
    INDEXES,
    MANIFEST_BYTES,
    MANIFESTS,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_MANIFEST,
    Blob,
    Descriptor,
    Manifest,
    NotAManifest,
    digest_like,
)
from envlock.image.messages import Request
from envlock.image.references import ImageReference, is_digest
from envlock.image.referrers import fallback_tag, listed
from envlock.image.transfers import Pushed, download, upload
from envlock.reporter import Reporter

if TYPE_CHECKING:
    from types import TracebackType

    from envlock.image.docker_login import DockerLogin

PUSHING, FETCHING = "pushing layers", "downloading layers"
_WORKERS = 4
_ABSENT = frozenset({404, 405})
_REFUSALS = frozenset({400, 403, 404, 409, 412})
"""How a manifest may be refused although pushing is allowed: a blob is missing, or the tag never moves."""


class Registry:
    """The repository of a reference. Any thread may ask. Close it, or use `with`.

    Every method raises the errors of `envlock.image.errors` that it may meet: RegistryDenied, RegistryUnreachable,
    RegistryRefused, InsecureRegistry; and what docker's configuration raises where a login is asked for.
    """

    def __init__(
        self,
        reference: ImageReference,
        login: DockerLogin,
        reporter: Reporter | None = None,
        *,
        is_insecure: bool = False,
        pause: float = 0.5,
        patience: float = PATIENCE,
    ) -> None:
        """`is_insecure` allows plain HTTP, which this machine's own registries may speak anyway."""
        self.reference = reference
        self._reporter = reporter or Reporter()
        self._connection = Connection(reference, login, is_insecure=is_insecure, pause=pause, patience=patience)
        self._lock = Lock()
        self._there: set[str] = set()  # digests of blobs that the repository had, or was sent
        self._has_lists = True  # of referrers, unless it turned out otherwise
        self._downloads = 0
        self._repository = f"/v2/{reference.repository}"
        self._pull = (f"repository:{reference.repository}:pull",)
        self._push = (f"repository:{reference.repository}:pull,push",)

    def __enter__(self) -> Registry:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End what is running (it raises CancelledError), and close the connections."""
        self._connection.close()

    def manifest(self, what: str = "") -> Manifest:
        """The manifest or index that a tag or a digest names, or the reference itself.

        Its bytes are those of the digest that was asked for, or that the registry names. Raises NoSuchImage,
        UnsupportedImage, ImageDamaged.
        """
        what = what or self.reference.what
        found = self._manifest(what)
        if found is None:
            raise NoSuchImage(f"read {self._shown(what)}", "the registry does not have it", registry=self.registry)
        return found

    def digest_of(self, tag: str) -> str:
        """The digest of what a tag names; empty if there is nothing."""
        asked = self._asking("HEAD", f"manifests/{tag}", tag)
        answer = self._connection.ask(asked, {HTTPStatus.OK, *_ABSENT})
        digest: str = answer.headers.get("docker-content-digest", "")
        if answer.status == HTTPStatus.OK and is_digest(digest):
            return digest
        found = None if answer.status == HTTPStatus.NOT_FOUND else self._manifest(tag)
        return "" if found is None else found.descriptor.digest

    def has_blob(self, descriptor: Descriptor) -> bool:
        """Whether the registry says that it has a blob, of that size."""
        asked = self._asking("HEAD", f"blobs/{descriptor.digest}")._replace(follows=False)
        answer = self._connection.ask(asked, {HTTPStatus.OK, *_ABSENT, 301, 302, 303, 307, 308})
        if answer.status != HTTPStatus.OK:
            return answer.status not in _ABSENT  # who leads to storage has it there
        length = answer.headers.get("content-length", "")
        return not length.isdigit() or int(length) == descriptor.size

    def read_blob(self, descriptor: Descriptor, limit: int = MANIFEST_BYTES) -> bytes:
        """The bytes of a small blob, such as the configuration of an image. Raises ImageDamaged, UnsupportedImage."""
        if descriptor.size > limit:
            reason = f"{_short(descriptor)} has {descriptor.size} bytes, and {limit >> 20} MiB at most are read of it"
            raise UnsupportedImage(f"read {self.reference}", reason, registry=self.registry)
        file = BytesIO()
        self.download_blob(descriptor, file)
        return file.getvalue()

    def download_blob(
        self, descriptor: Descriptor, file: BinaryIO, on_bytes: Callable[[int], None] = lambda _: None
    ) -> None:
        """Write a blob into a file that is empty. A broken transfer continues where it stopped, if the registry allows.

        Raises ImageDamaged, after which the file is of no use, and NoSuchImage.
        """
        download(self._connection, self._asking("GET", f"blobs/{descriptor.digest}"), file, descriptor, on_bytes)

    def blob(self, descriptor: Descriptor) -> Blob:
        """A blob of this repository, to push to another one: mounted, or else downloaded and sent."""

        def fetched() -> BinaryIO:
            file = TemporaryFile()  # noqa: SIM115  the caller closes it
            try:
                self._download(descriptor, cast("BinaryIO", file))
                file.seek(0)
            except BaseException:
                file.close()
                raise
            return cast("BinaryIO", file)

        return Blob(descriptor, fetched, self.reference)

    def push(self, blobs: Iterable[Blob], manifest: Manifest, tag: str = "") -> Pushed:
        """Push blobs, a few at a time, and then the manifest that names them, under a tag or only its digest.

        Blobs that the registry has are not sent. If it then lacks one that it said it had, that one is sent once more.
        When it raises, what it had begun ends, and nothing more can be asked.
        """
        wanted = list({blob.descriptor.digest: blob for blob in blobs}.values())
        wanted.sort(key=lambda blob: -blob.descriptor.size)
        self._reporter.began(PUSHING, sum(blob.descriptor.size for blob in wanted), "bytes")
        try:
            done = self._push_blobs(wanted, self._doing_push(tag), is_sure=False)
            missing = self._put_manifest(manifest, tag)
            if missing is not None:
                named = {digest for digest in missing if digest in done} or set(done)
                again = [blob for blob in wanted if blob.descriptor.digest in named]
                done |= self._push_blobs(again, self._doing_push(tag), is_sure=True)
                if self._put_manifest(manifest, tag) is not None:
                    reason = f"the registry says that it lacks {', '.join(sorted(missing)) or 'a blob'}"
                    raise RegistryRefused(self._doing_push(tag), reason, registry=self.registry)
        finally:
            self._reporter.ended(PUSHING)
        parts = {
            how: tuple(b.descriptor for b in wanted if done[b.descriptor.digest] == how)
            for how in ("sent", "mounted", "present")
        }
        return Pushed(manifest.descriptor.digest, **parts)

    def push_manifest(self, manifest: Manifest, tag: str = "") -> None:
        """Push a manifest whose blobs are there, under a tag or only its digest.

        Where it has a subject, and the registry has no list of referrers, it is added to the tag that stands for it.
        """
        missing = self._put_manifest(manifest, tag)
        if missing is not None:
            reason = f"the registry says that it lacks {', '.join(sorted(missing)) or 'a blob'}"
            raise RegistryRefused(self._doing_push(tag), reason, registry=self.registry)

    def attach(
        self,
        subject: Descriptor,
        artifact_type: str,
        blobs: Sequence[Blob],
        annotations: dict[str, str] | None = None,
    ) -> Descriptor:
        """Push something about an image, such as an SBOM, so that `referrers` of the image lists it."""
        empty = Blob.of_bytes(b"{}", OCI_EMPTY)
        document: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": artifact_type,
            "config": empty.descriptor.document(),
            "layers": [blob.descriptor.document() for blob in blobs],
            "subject": Descriptor(subject.media_type, subject.digest, subject.size).document(),
            **({"annotations": annotations} if annotations else {}),
        }
        manifest = Manifest.of(document)
        self.push([empty, *blobs], manifest)
        return manifest.descriptor

    @property
    def registry(self) -> str:
        """Its host and port."""
        return self.reference.registry

    def referrers(self, digest: str, artifact_type: str = "") -> tuple[Descriptor, ...]:
        """What was pushed about the image with a digest: all, or only of a type."""
        found = self._listed(digest)
        if found is None:
            index = self._manifest(fallback_tag(digest))
            found = index.manifests if index is not None and index.is_index else ()
        return tuple(each for each in found if artifact_type in {"", each.artifact_type})

    def _download(self, descriptor: Descriptor, file: BinaryIO) -> None:
        """Download a blob, and show it; several threads may."""
        with self._lock:
            self._downloads += 1
            if self._downloads == 1:
                self._reporter.began(FETCHING, descriptor.size, "bytes")
            else:
                self._reporter.grew(FETCHING, descriptor.size)
        try:
            self.download_blob(
                descriptor, file, lambda amount: self._reporter.advanced(FETCHING, _short(descriptor), amount)
            )
        finally:
            with self._lock:
                self._downloads -= 1
                if not self._downloads:
                    self._reporter.ended(FETCHING)

    def _asking(self, method: str, path: str, what: str = "") -> Request:
        doing = f"read {self._shown(what)}"
        headers = {"Accept": ", ".join(MANIFESTS)} if path.startswith("manifests/") else {}
        return Request(method, f"{self._repository}/{path}", doing, headers, scopes=self._pull)

    def _shown(self, what: str) -> str:
        if not what:
            return str(self.reference)
        return str(self.reference.with_tag("").with_digest(what) if ":" in what else self.reference.with_tag(what))

    def _doing_push(self, tag: str) -> str:
        return f"push {self._shown(tag)}"

    def _manifest(self, what: str) -> Manifest | None:
        asked = self._asking("GET", f"manifests/{what}", what)
        answer = self._connection.ask(asked, {HTTPStatus.OK, HTTPStatus.NOT_FOUND})
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        expected = what if is_digest(what) else answer.headers.get("docker-content-digest", "")
        if is_digest(expected) and (got := digest_like(expected, answer.data)) != expected:
            raise ImageDamaged(self.registry, self._shown(what), expected=expected, got=got)
        try:
            return Manifest.read(answer.data, answer.headers.get("content-type", ""))
        except NotAManifest as error:
            raise UnsupportedImage(asked.doing, str(error), registry=self.registry) from None

    def _push_blobs(self, blobs: Sequence[Blob], doing: str, *, is_sure: bool) -> dict[str, str]:
        """How each blob came there, by digest. `is_sure` sends them whatever the registry says that it has."""
        pool = ThreadPoolExecutor(_WORKERS)
        try:
            running = {
                each.descriptor.digest: pool.submit(self._push_blob, each, doing, is_sure=is_sure) for each in blobs
            }
            for ended in as_completed(running.values()):
                ended.result()
        except BaseException:
            self.close()
            pool.shutdown(wait=False, cancel_futures=True)  # who still downloads from another registry ends with that
            raise
        pool.shutdown()
        return {digest: each.result() for digest, each in running.items()}

    def _push_blob(self, blob: Blob, doing: str, is_sure: bool) -> str:
        descriptor = blob.descriptor
        name = _short(descriptor)
        self._reporter.doing(PUSHING, name)

        def advance(amount: int) -> None:
            self._reporter.advanced(PUSHING, name, amount)

        if not is_sure and (descriptor.digest in self._there or self.has_blob(descriptor)):
            self._there.add(descriptor.digest)
            advance(descriptor.size)
            return "present"
        if not is_sure and self._is_mounted(blob, doing):
            self._there.add(descriptor.digest)
            advance(descriptor.size)
            return "mounted"
        if is_sure:
            advance(-descriptor.size)
        with blob.open() as file:
            begin = Request("POST", f"{self._repository}/blobs/uploads/", doing, scopes=self._push)
            upload(self._connection, begin, file, descriptor, advance)
        self._there.add(descriptor.digest)
        return "sent"

    def _is_mounted(self, blob: Blob, doing: str) -> bool:
        """Whether another repository of the same registry gave the blob. That it may not is no failure."""
        source = blob.source
        if source is None or source.registry != self.registry or source.repository == self.reference.repository:
            return False
        query = urlencode({"mount": blob.descriptor.digest, "from": source.repository})
        scopes = (*self._push, f"repository:{source.repository}:pull")
        asked = Request("POST", f"{self._repository}/blobs/uploads/?{query}", doing, scopes=scopes)
        try:
            return self._connection.ask(asked, {HTTPStatus.CREATED, HTTPStatus.ACCEPTED}).status == HTTPStatus.CREATED
        except (RegistryDenied, RegistryRefused):
            return False

    def _put_manifest(self, manifest: Manifest, tag: str) -> set[str] | None:
        """None once it is there; else the digests that the registry names because it lacks them."""
        own = manifest.descriptor
        what = tag or own.digest
        asked = Request(
            "PUT",
            f"{self._repository}/manifests/{what}",
            f"push {self._shown(what)}",
            {"Content-Type": own.media_type},
            scopes=self._push,
        )
        answer = self._connection.ask(asked._replace(content=manifest.data), {201, 200, 202, *_REFUSALS})
        if answer.status in _REFUSALS:
            if set(answer.codes()) & {"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"}:
                return set(re.findall(r"sha256:[0-9a-f]{64}", answer.data.decode(errors="replace")))
            if tag and self.digest_of(tag) == own.digest:  # which a registry may not let be pushed again
                return None
            raise self._connection.refusal(asked.doing, answer)
        # Some servers answer everything with 200.
        if answer.status != HTTPStatus.CREATED and self.digest_of(what) != own.digest:
            reason = f"the registry answered {answer.status}, and does not have it afterwards"
            raise RegistryRefused(asked.doing, reason, registry=self.registry)
        stored = answer.headers.get("docker-content-digest", "")
        if is_digest(stored) and stored != digest_like(stored, manifest.data):
            raise ImageDamaged(self.registry, self._shown(what), expected=own.digest, got=stored)
        subject = manifest.subject
        if subject is not None and answer.headers.get("oci-subject", "") != subject.digest:
            self._add_to_fallback(subject, manifest)
        return None

    def _listed(self, digest: str) -> tuple[Descriptor, ...] | None:
        """The registry's own list of referrers; None if it keeps none."""
        if not self._has_lists:
            return None
        found = listed(self._connection, self._asking("GET", f"referrers/{digest}", digest))
        self._has_lists = found is not None
        return found

    def _add_to_fallback(self, subject: Descriptor, manifest: Manifest) -> None:
        """List a manifest under the tag that stands for the referrers of its subject.

        Of two who do so at once, one may be lost: registries have no way to tell.
        """
        if self._listed(subject.digest) is not None:
            return
        tag = fallback_tag(subject.digest)
        index = self._manifest(tag)
        before = index.manifests if index is not None and index.descriptor.media_type in INDEXES else ()
        if any(each.digest == manifest.descriptor.digest for each in before):
            return
        annotations = manifest.document.get("annotations")
        entry = manifest.descriptor._replace(
            artifact_type=manifest.artifact_type, annotations=annotations if isinstance(annotations, dict) else {}
        )
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [each.document() for each in (*before, entry)],
        }
        self.push_manifest(Manifest.of(document), tag)


def _short(descriptor: Descriptor) -> str:
    return descriptor.digest.partition(":")[2][:12]
