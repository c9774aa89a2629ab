"""Convert locked packages to py-rattler's records and back, without loss for installing and solving.

What a record has beyond that (purls, run exports, the tar.bz2 that it replaced) is not kept. Of the times, the lock's
`upload_time` is conda's `timestamp`: when the package was built, or when it was indexed where the channel says that.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from envlock.conda.channels import without_secrets
from envlock.model.lock import CondaFacts, LockedPackage

if TYPE_CHECKING:
    from rattler import RepoDataRecord


def record_of(package: LockedPackage, url: str = "") -> RepoDataRecord:
    """The record of a locked package, with `url` as its place, or the channel's URL."""
    from rattler import PackageRecord, RepoDataRecord
    from rattler.package.build_string import BuildString

    facts = package.conda
    assert facts is not None, f"{package.name} is no conda package"
    record = PackageRecord(
        name=package.name,
        version=package.version,
        build=BuildString.new_unchecked(package.build),
        build_number=facts.build_number,
        subdir=facts.subdir,
        noarch=facts.noarch or None,  # type: ignore[arg-type]  # one of its literals, or the record would not be there
        depends=list(facts.depends),
        constrains=list(facts.constrains),
        sha256=bytes.fromhex(package.sha256) if package.sha256 else None,
        md5=bytes.fromhex(facts.md5) if facts.md5 else None,
        size=package.size,
        license=facts.license or None,
        python_site_packages_path=facts.site_packages or None,
    )
    if package.upload_time:
        record.timestamp = datetime.fromisoformat(package.upload_time.replace("Z", "+00:00"))
    return RepoDataRecord(record, package.filename, url or package.url, facts.channel)


def package_of(record: RepoDataRecord, channel: str, dependencies: tuple[str, ...], *, url: str = "") -> LockedPackage:
    """The locked package of a record; `channel` is its canonical URL.

    `url` is where upstream keeps it, if the record names another place. `dependencies` are the names of the locked
    packages that it needs. A record without SHA-256 cannot be locked: its caller has refused it.
    """
    noarch = "python" if record.noarch.python else "generic" if record.noarch.generic else ""
    return LockedPackage(
        kind="conda",
        name=record.name.normalized,
        version=str(record.version),
        build=str(record.build),
        filename=record.file_name,
        url=without_secrets(url or record.url),
        sha256=record.sha256.hex() if record.sha256 else "",
        size=record.size,
        upload_time=instant(record.indexed_timestamp or record.timestamp),
        dependencies=dependencies,
        conda=CondaFacts(
            channel=channel,
            subdir=record.subdir,
            build_number=record.build_number,
            depends=tuple(record.depends),
            constrains=tuple(record.constrains),
            noarch=noarch,
            md5=record.md5.hex() if record.md5 else "",
            license=" ".join((record.license or "").split()),  # some hold the whole text
            site_packages=record.python_site_packages_path or "",
        ),
    )


def instant(moment: datetime | int | None) -> str:
    """RFC 3339 in UTC, to the millisecond where there is one. py-rattler has the number 0 for the beginning of 1970.

    >>> instant(0), instant(None)
    ('1970-01-01T00:00:00Z', '')
    """
    if moment is None:
        return ""
    if isinstance(moment, int):
        moment = datetime.fromtimestamp(moment / 1000, timezone.utc)
    text = moment.astimezone(timezone.utc).replace(tzinfo=None).isoformat(timespec="milliseconds")
    return text.removesuffix(".000") + "Z"
