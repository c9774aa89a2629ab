"""Software bills of materials: CycloneDX 1.6 and SPDX 2.3, as JSON.

Both are plain documents, written without the libraries for them: importing one takes longer than the whole export may.
The tests give every document to those libraries, which hold it to the schemas and rules.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache

from envlock import __version__
from envlock.conda.match_specs import name_in
from envlock.interchange.exported import Export, Given, channels_of
from envlock.model.identity import sha256
from envlock.model.url import is_local
from envlock.values import NamedTuple
from envlock.words import first_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from envlock.lockfile.rows import LockRows, PackageRow
    from envlock.model.identity import Plain

_NAME = r"[A-Za-z0-9._-]+"
_ROOT = "environment"
_UNRESERVED = re.compile(r"[A-Za-z0-9._-]*")
_REFERENCE = r"LicenseRef-[A-Za-z0-9.-]+"
_FIELD = r"(?m)^(License-Expression|License|Classifier):(.*)$"
_LONGEST_LICENSE = 100
"""Characters; a longer one is the text of a license, and not its name."""
_BREAK, _NEXT = ', "\\u0000", ', ",\n    "
_NO_TIME = "1970-01-01T00:00:00Z"
"""SPDX demands an instant, and a lock that was made without a clock has none."""


class _Part(NamedTuple):
    """A package as both formats describe it."""

    ref: str
    """Its id in the document: unique, and the same for the same package of another environment."""
    name: str
    version: str
    purls: tuple[str, ...]
    """Its own first, then those of what is in it."""
    provides: tuple[tuple[str, str], ...]
    filename: str
    sha256: str
    place: str
    """Where it can be fetched: a URL; empty if nowhere."""
    license: str
    needs: tuple[str, ...]
    """The ids of what it needs."""


class _License(NamedTuple):
    """A license as it is declared: an SPDX expression, or else a name."""

    expression: str = ""
    name: str = ""


def write(given: Given) -> Export:
    """The packages of one arch with purls, hashes, licenses and who needs whom."""
    (lock,) = given.locks
    parts = [*_parts(given, lock), *_python(lock)]
    document = (_cyclonedx if given.format == "cyclonedx" else _spdx)(given, lock, parts)
    unread = [each.name for each in given.packages(lock) if not each.conda and each.sha256 not in given.licenses]
    note = f"no license is known of {first_of(unread, 6)}: `--licenses` fetches their wheels and reads it there"
    return Export(_lines(document), (note,) if unread else ())


def _lines(document: Mapping[str, Plain]) -> str:
    """A document as JSON, with a line for each package and each edge.

    >>> print(_lines({"version": 1, "components": [{"name": "a"}, {"name": "b"}]}), end="")
    {
      "version": 1,
      "components": [
        {"name": "a"},
        {"name": "b"}
      ]
    }
    """
    spelt = json.JSONEncoder(ensure_ascii=False).encode
    fields = []
    for key, value in document.items():
        if isinstance(value, list) and value:
            # Spelt together, in half the time of one by one: between them is a text that no lock holds.
            rows = spelt([part for each in value for part in (each, "\0")]).removesuffix(', "\\u0000"]')
            fields.append(f'  "{key}": [\n    {rows[1:].replace(_BREAK, _NEXT)}\n  ]')
        else:
            fields.append(f'  "{key}": {spelt(value)}')
    return "{\n" + ",\n".join(fields) + "\n}\n"


def _parts(given: Given, lock: LockRows) -> Iterator[_Part]:
    packages = given.packages(lock)
    refs = {(each.kind, each.name): f"{each.kind}:{each.name}@{each.version}" for each in packages}
    channels = channels_of(given)
    extra = {*lock.requirements.get("indexes", ()), *(url for _, url in lock.requirements.get("package-indexes", ()))}
    extra = {url.rstrip("/") for url in extra}
    for each in packages:
        if each.conda is not None:
            own = conda_purl(each, channels[each.conda.channel])
            declared = each.conda.license
        else:
            own = pypi_purl(each, extra)
            declared = given.licenses.get(each.sha256, "")
        provides = tuple(dict.fromkeys(each.conda.provides)) if each.conda else ()
        yield _Part(
            ref=refs[each.kind, each.name],
            name=each.name,
            version=each.version,
            purls=(own, *(_purl("pypi", name, version) for name, version in provides)),
            provides=provides,
            filename=each.filename,
            sha256=each.sha256,
            place=_place(each),
            license=declared,
            needs=tuple(sorted(refs[each.kind, name] for name in each.dependencies if (each.kind, name) in refs)),
        )


def _python(lock: LockRows) -> Iterator[_Part]:
    """The Python of an environment, where it is one exact build."""
    python = lock.python
    if python.url:
        purl = _purl("generic", "cpython", python.version, checksum=f"sha256:{python.sha256}", download_url=python.url)
        ref, where = f"python:cpython@{python.version}", (python.filename, python.sha256, python.url)
        yield _Part(ref, "cpython", python.version, (purl,), (), *where, "PSF-2.0", ())


def _place(package: PackageRow) -> str:
    """Where what is installed, or what it was built from, can be fetched; empty if that is this machine alone."""
    source = package.source
    url = package.url if source is None else f"git+{source.url}@{source.commit}" if source.commit else source.url
    # A URL has no braces, as the `${VARIABLES}` of envlock.toml do.
    return url.replace("{", "%7B").replace("}", "%7D") if url and not is_local(url) else ""


def conda_purl(package: PackageRow, channel: str) -> str:
    """The purl of a conda package: with the channel as envlock.toml names it, the subdir and the build.

    >>> from envlock.lockfile.rows import CondaRow, PackageRow
    >>> facts = CondaRow("https://conda.example/main", "linux-64")
    >>> conda_purl(PackageRow("x264", "1!164", "x264-1!164-h1_0.conda", "", "", build="h1_0", conda=facts), "main")
    'pkg:conda/x264@1%21164?build=h1_0&channel=main&subdir=linux-64&type=conda'
    """
    assert package.conda is not None
    kind = "tar.bz2" if package.filename.endswith(".tar.bz2") else "conda"
    facts = {"build": package.build, "subdir": package.conda.subdir, "type": kind}
    if not is_local(package.conda.channel):
        facts["channel"] = channel
    return _purl("conda", package.name, package.version, **facts)


def pypi_purl(package: PackageRow, extra_indexes: set[str]) -> str:
    """The purl of a PyPI package, and where it is from if that is not the default index."""
    source = package.source
    if source is not None and not package.from_index:
        key = {"git": "vcs_url"}.get(source.kind, "download_url")
        place = _place(package)
        return _purl("pypi", package.name, package.version, **({key: place} if place else {}))
    if not package.from_index:
        return _purl("pypi", package.name, package.version, download_url=package.url)
    index = package.from_index.rstrip("/")
    return _purl("pypi", package.name, package.version, **({"repository_url": index} if index in extra_indexes else {}))


def _purl(kind: str, name: str, version: str, **qualifiers: str) -> str:
    said = "&".join(f"{key}={_quoted(value, safe=':/')}" for key, value in sorted(qualifiers.items()))
    return f"pkg:{kind}/{_quoted(name)}@{_quoted(version)}" + (f"?{said}" if said else "")


def _quoted(text: str, safe: str = ":") -> str:
    if _UNRESERVED.fullmatch(text):
        return text
    from urllib.parse import quote

    return quote(text, safe=safe)


@lru_cache(maxsize=1024)
def _license_of(text: str) -> _License:
    """A declared license: normalised if it is an SPDX expression, else as it is.

    >>> _license_of("mit or apache-2.0"), _license_of("BSD 3-clause")
    (_License(expression='MIT OR Apache-2.0', name=''), _License(expression='', name='BSD 3-clause'))
    """
    if not text:
        return _License()
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    try:
        return _License(expression=canonicalize_license_expression(text))
    except InvalidLicenseExpression:
        return _License(name=" ".join(text.split()))


def _roots(lock: LockRows, parts: Sequence[_Part]) -> list[str]:
    """The ids of what is required, and of what nothing else needs."""
    texts = [*lock.requirements.get("pypi", ()), *lock.requirements.get("metaflow", ())]
    named = {("pypi", match[0].lower()) for text in texts if (match := re.match(_NAME, text))}
    named |= {("conda", name_in(text)) for key in ("conda", "conda-only") for text in lock.requirements.get(key, ())}
    needed = {ref for part in parts for ref in part.needs if ref != part.ref}
    return sorted(
        part.ref for part in parts if part.ref not in needed or (part.ref.partition(":")[0], part.name) in named
    )


def _facts(given: Given, lock: LockRows) -> dict[str, str]:
    """What the document says of the environment itself."""
    return {
        "arch": lock.arch,
        "req-id": lock.req_id,
        "full-id": lock.full_id,
        "python": f"CPython {lock.python.series}"
        if lock.python.source == "machine"
        else f"CPython {lock.python.version}",
        **({"only": given.only} if given.only else {}),
    }


def _uuid(given: Given, lock: LockRows) -> str:
    """A UUID of version 8: the hash of all that a document is made of."""
    of_lock = (lock.arch, lock.identity, lock.resolved_at, sorted(given.licenses.items()))
    made_of = (__version__, given.format, given.environment, given.only, *of_lock)
    digest = sha256(repr(made_of).encode())
    return f"{digest[:8]}-{digest[8:12]}-8{digest[13:16]}-a{digest[17:20]}-{digest[20:32]}"


def _cyclonedx(given: Given, lock: LockRows, parts: Sequence[_Part]) -> dict[str, Plain]:
    needs: list[Plain] = [{"ref": _ROOT, "dependsOn": _roots(lock, parts)}]
    needs += [{"ref": part.ref, "dependsOn": list(part.needs)} for part in parts]
    tool: Plain = {"type": "application", "name": "envlock", "version": __version__}
    body: dict[str, Plain] = {
        "version": 1,
        "metadata": {
            **({"timestamp": lock.resolved_at} if lock.resolved_at else {}),
            "tools": {"components": [tool]},
            "component": {
                "type": "application",
                "bom-ref": _ROOT,
                "name": given.environment,
                "version": lock.full_id,
                "properties": [{"name": f"envlock:{key}", "value": each} for key, each in _facts(given, lock).items()],
            },
        },
        "components": [_component(part) for part in parts],
        "dependencies": needs,
    }
    beginning = {"$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json", "bomFormat": "CycloneDX"}
    return {**beginning, "specVersion": "1.6", "serialNumber": f"urn:uuid:{_uuid(given, lock)}", **body}


def _component(part: _Part) -> dict[str, Plain]:
    found: dict[str, Plain] = {
        "type": "library",
        "bom-ref": part.ref,
        "name": part.name,
        "version": part.version,
        "hashes": [{"alg": "SHA-256", "content": part.sha256}],
    }
    declared = _license_of(part.license)
    if declared.expression:
        found["licenses"] = [{"expression": declared.expression, "acknowledgement": "declared"}]
    elif declared.name:
        found["licenses"] = [{"license": {"name": declared.name, "acknowledgement": "declared"}}]
    found["purl"] = part.purls[0]
    if part.place:
        kind = "vcs" if part.place.startswith("git+") else "distribution"
        found["externalReferences"] = [{"type": kind, "url": part.place}]
    if part.provides:
        found["components"] = [
            {
                "type": "library",
                "bom-ref": f"{part.ref}/{name}@{version}",
                "name": name,
                "version": version,
                "purl": purl,
            }
            for (name, version), purl in zip(part.provides, part.purls[1:], strict=True)
        ]
    return found


def _spdx(given: Given, lock: LockRows, parts: Sequence[_Part]) -> dict[str, Plain]:
    ids = {part.ref: f"SPDXRef-{re.sub(r'[^A-Za-z0-9.-]+', '-', part.ref)}-{part.sha256[:8]}" for part in parts}
    relations: list[Plain] = [_relation("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-environment")]
    relations += [_relation("SPDXRef-environment", "CONTAINS", ids[part.ref]) for part in parts]
    relations += [_relation("SPDXRef-environment", "DEPENDS_ON", ids[ref]) for ref in _roots(lock, parts)]
    relations += [_relation(ids[part.ref], "DEPENDS_ON", ids[ref]) for part in parts for ref in part.needs]
    licenses = {part.ref: _spdx_license(part.license) for part in parts}
    known = {reference: text for _, found in licenses.values() for reference, text in found.items()}
    said = "; ".join(f"{key} {value}" for key, value in _facts(given, lock).items())
    body: dict[str, Plain] = {
        "name": f"{given.name}-{lock.arch}",
        "creationInfo": {"created": lock.resolved_at or _NO_TIME, "creators": [f"Tool: envlock-{__version__}"]},
        "packages": [
            {
                "SPDXID": "SPDXRef-environment",
                "name": given.environment,
                "versionInfo": lock.full_id,
                "downloadLocation": "NOASSERTION",
                "filesAnalyzed": False,
                "comment": said,
            },
            *(_spdx_package(part, ids[part.ref], licenses[part.ref][0]) for part in parts),
        ],
        "relationships": relations,
    }
    if known:
        body["hasExtractedLicensingInfos"] = [
            {"licenseId": reference, "name": known[reference], "extractedText": known[reference]}
            for reference in sorted(known)
        ]
    beginning = {"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT"}
    return {**beginning, "documentNamespace": f"urn:uuid:{_uuid(given, lock)}", **body}


def _spdx_package(part: _Part, spdx_id: str, declared: str) -> dict[str, Plain]:
    return {
        "SPDXID": spdx_id,
        "name": part.name,
        "versionInfo": part.version,
        "packageFileName": part.filename,
        "downloadLocation": part.place if _is_location(part.place) else "NOASSERTION",
        "filesAnalyzed": False,
        "checksums": [{"algorithm": "SHA256", "checksumValue": part.sha256}],
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": declared or "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "externalRefs": [
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}
            for purl in part.purls
        ],
    }


def _is_location(place: str) -> bool:
    """Whether SPDX takes a place for one that can be downloaded from: it has no buckets."""
    return place.removeprefix("git+").startswith(("http://", "https://", "ssh://"))


def _spdx_license(text: str) -> tuple[str, dict[str, str]]:
    """A license as an SPDX expression, and the texts of those in it that are none of SPDX's."""
    declared = _license_of(text)
    if not declared.name:
        return declared.expression, {reference: reference for reference in re.findall(_REFERENCE, declared.expression)}
    reference = f"LicenseRef-{sha256(declared.name.encode())[:16]}"
    return reference, {reference: declared.name}


def _relation(one: str, kind: str, other: str) -> dict[str, Plain]:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}


def license_in(metadata: str) -> str:
    r"""The license that a wheel's METADATA declares: an SPDX expression if it has one, else what it says.

    >>> license_in("Name: a\nLicense: UNKNOWN\nLicense-Expression: MIT\n\nLicense: of the text")
    'MIT'
    >>> license_in("Name: a\nClassifier: License :: OSI Approved :: BSD License\n"), license_in("License: UNKNOWN\n")
    ('BSD License', '')
    """
    head = metadata.replace("\r\n", "\n").partition("\n\n")[0]
    fields: dict[str, list[str]] = {}
    for name, value in re.findall(_FIELD, head):
        fields.setdefault(name, []).append(value.strip())
    for name in ("License-Expression", "License"):
        for value in fields.get(name, ()):
            if value and value != "UNKNOWN" and len(value) <= _LONGEST_LICENSE:
                return value
    said = [value.rpartition(" :: ")[2] for value in fields.get("Classifier", ()) if value.startswith("License ::")]
    return ", ".join(each for each in said if each != "OSI Approved")
