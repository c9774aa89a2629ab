"""Software bills of materials, as the libraries of CycloneDX and SPDX read and judge them."""

from __future__ import annotations

import json
import warnings
from functools import cache
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from packageurl import PackageURL

from envlock.interchange.exported import Given, export
from envlock.lockfile.document import render
from envlock.lockfile.rows import LockRows, rows_in
from envlock.model.lock import Lock
from tests.interchange.test_exported import CONDA, EXACT, GOLDEN, MIXED, WHEELS, exported, rows_of
from tests.property.conda_strategies import conda_locks
from tests.property.strategies import locks as wheel_locks

# SPDX's validator takes no top-level domain of more than five letters.
BUILT = rows_in((GOLDEN / "v3" / "pylock.built.toml").read_bytes().replace(b".example/", b".example.org/"))
LOCKS = {"conda": CONDA, "wheels": WHEELS, "exact": EXACT, "built": BUILT, "local": rows_of(MIXED)}


@cache
def validator() -> Any:
    """What holds a document to the schema of CycloneDX 1.6, with every format checked.

    IRIs are held to the stricter rule of URIs: each takes an Earley parser a tenth of a second (see `conftest`).
    """
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator
    from jsonschema import Draft7Validator

    formats = Draft7Validator.FORMAT_CHECKER.checkers
    formats["iri-reference"] = formats["uri-reference"]
    return JsonStrictValidator(SchemaVersion.V1_6)


def cyclonedx_faults(text: str) -> str:
    """What the schema of CycloneDX 1.6 finds wrong."""
    found = validator().validate_str(text)
    return str(found.data) if found is not None else ""


def spdx_faults(text: str) -> list[str]:
    """What SPDX's own library finds wrong."""
    with warnings.catch_warnings():  # of what it contains
        warnings.simplefilter("ignore")
        from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
        from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

        document = JsonLikeDictParser().parse(json.loads(text))
        return [each.validation_message for each in validate_full_spdx_document(document, "SPDX-2.3")]


def components(lock: LockRows, **options: Any) -> dict[str, Any]:
    """The components of a CycloneDX document, by their names."""
    text = export(Given("cyclonedx", "Train/start", (lock,), **options)).text
    return {each["name"]: each for each in json.loads(text)["components"]}


@pytest.mark.parametrize("name", LOCKS)
def test_both_formats_are_valid(name: str) -> None:
    assert cyclonedx_faults(exported("cyclonedx", LOCKS[name]).text) == ""
    assert spdx_faults(exported("spdx", LOCKS[name]).text) == []


@settings(max_examples=12, deadline=None, phases=[Phase.generate])  # who shrinks, validates a thousand times
@given(lock=st.one_of(wheel_locks, conda_locks()))
def test_cyclonedx_is_valid_for_whatever_a_lock_may_hold(lock: Lock) -> None:
    rows = rows_in(render(lock).encode())
    text = export(Given("cyclonedx", "x", (rows,))).text
    assert cyclonedx_faults(text) == ""
    for component in json.loads(text)["components"]:
        assert PackageURL.from_string(component["purl"]).to_string() == component["purl"]


def test_the_library_of_cyclonedx_reads_the_same_packages_and_edges() -> None:
    from cyclonedx.model.bom import Bom

    bom = Bom.from_json(json.loads(exported("cyclonedx", CONDA).text))  # type: ignore[attr-defined]
    assert {(each.name, each.version) for each in bom.components} == {
        (each.name, each.version) for each in CONDA.packages
    }
    refs = {str(each.bom_ref): each.name for each in bom.components}
    edges = {
        refs[str(each.ref)]: {refs[str(needed.ref)] for needed in each.dependencies}
        for each in bom.dependencies
        if str(each.ref) in refs
    }
    assert edges == {each.name: set(each.dependencies) for each in CONDA.packages}


def test_a_conda_package_has_its_own_purl_and_those_of_what_it_contains() -> None:
    numpy = components(CONDA)["numpy"]
    assert PackageURL.from_string(numpy["purl"]) == PackageURL(
        "conda",
        None,
        "numpy",
        "1.26.4",
        {"build": "py313h64a7726_0", "channel": "conda-forge", "subdir": "linux-64", "type": "conda"},
    )
    assert [each["purl"] for each in numpy["components"]] == ["pkg:pypi/numpy@1.26.4"]
    spdx = json.loads(exported("spdx", CONDA).text)
    (package,) = (each for each in spdx["packages"] if each["name"] == "numpy")
    purls = [each["referenceLocator"] for each in package["externalRefs"]]
    assert purls == [numpy["purl"], "pkg:pypi/numpy@1.26.4"]


def test_a_purl_says_where_a_package_is_from_that_is_in_no_default_index() -> None:
    found = components(WHEELS)
    assert PackageURL.from_string(found["demo"]["purl"]).qualifiers == {
        "repository_url": "https://index.example/simple"
    }
    assert "download_url" in PackageURL.from_string(found["torch"]["purl"]).qualifiers
    assert PackageURL.from_string(found["torch"]["purl"]).version == "2.0+cpu"
    built = components(BUILT)
    assert (
        PackageURL.from_string(built["beta"]["purl"]).qualifiers["vcs_url"].startswith("git+https://code.example.org")
    )
    assert built["beta"]["externalReferences"][0]["type"] == "vcs"


def test_a_python_that_is_one_exact_build_is_a_component_and_another_is_not() -> None:
    python = components(EXACT)["cpython"]
    assert python["version"] == EXACT.python.version
    assert python["hashes"] == [{"alg": "SHA-256", "content": EXACT.python.sha256}]
    assert "cpython" not in components(WHEELS)


@pytest.mark.parametrize(
    ("declared", "cyclonedx", "spdx"),
    [
        ("mit", {"expression": "MIT"}, "MIT"),
        ("BSD-3-Clause AND MIT", {"expression": "BSD-3-Clause AND MIT"}, "BSD-3-Clause AND MIT"),
        ("LicenseRef-Own", {"expression": "LicenseRef-Own"}, "LicenseRef-Own"),
        ("BSD 3-clause, see file", {"license": {"name": "BSD 3-clause, see file"}}, None),
        ("", None, "NOASSERTION"),
    ],
)
def test_a_license_is_an_expression_where_spdx_knows_it_and_a_name_elsewhere(
    declared: str, cyclonedx: dict[str, Any] | None, spdx: str | None
) -> None:
    wheel = WHEELS.packages[0]
    licenses = {wheel.sha256: declared}
    found = components(WHEELS, licenses=licenses)[wheel.name].get("licenses")
    if cyclonedx is None:
        assert found is None
    else:
        (entry,) = found
        entry.get("license", entry).pop("acknowledgement")
        assert entry == cyclonedx
    text = export(Given("spdx", "Train/start", (WHEELS,), licenses=licenses)).text
    assert spdx_faults(text) == []
    document = json.loads(text)
    (package,) = (each for each in document["packages"] if each["name"] == wheel.name)
    if spdx is not None:
        assert package["licenseDeclared"] == spdx
    else:
        (known,) = document["hasExtractedLicensingInfos"]
        assert (known["licenseId"], known["extractedText"]) == (package["licenseDeclared"], declared)


def test_licenses_that_are_not_known_are_told() -> None:
    (note,) = exported("cyclonedx", WHEELS).notes
    assert "demo, torch" in note
    assert "--licenses" in note


def test_nothing_of_this_machine_is_in_it_though_a_channel_is() -> None:
    for name in ("cyclonedx", "spdx"):
        text = exported(name, rows_of(MIXED)).text
        assert "/srv/channel" not in text
        assert "file:" not in text


def test_a_document_is_named_by_what_it_says() -> None:
    one, same, other = (
        json.loads(export(Given("cyclonedx", "a", (lock,))).text)["serialNumber"] for lock in (CONDA, CONDA, WHEELS)
    )
    assert one == same != other
