"""The light reader of envlock.toml and the full one agree on every file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envlock.config.contradictions import from_conflict
from envlock.config.read import load_project
from envlock.config.validate import explain
from envlock.errors import EnvlockError, ManyErrors

FLOW = """
from metaflow import FlowSpec, step

class Train(FlowSpec):
    @step
    def start(self): self.next(self.end)
    @step
    def end(self): pass
"""

specifiers = st.sampled_from(
    [
        "",
        "*",
        "1.2.3",
        ">=1,<2",
        "==1.*",
        "~=1.4",
        "~=1",
        ">=1.*",
        "latest",
        ">",
        "1.2.3 ; sys_platform == 'linux'",
        "; python_version < '3.12'",
        ">=1 ; colour == 'red'",
        ">=1 ;",
        "=1.2",
        "==1.0+cpu",
        ">=1.0+cpu",
        "1,2",
        "!=1",
    ]
)
names = st.sampled_from(
    [
        "rich",
        "Rich_Text",
        "a.b",
        "requests[socks]",
        "requests[]",
        "-bad",
        "bad name",
        "é",
        "x@https://index.example/x-1-py3-none-any.whl",
        "x@file:///tmp/x-1-py3-none-any.whl",
        "x@nothing",
        "a[b",
        "",
    ]
)
pythons = st.sampled_from(["3.12", "3.11.4", ">=3.10,<3.13", "", "three", ">=3.10,", "==3.*", "3.12.*", "~=3.11"])
urls = st.sampled_from(
    [
        "https://index.example/simple/",
        "http://127.0.0.1:8080/simple",
        "https://${U}:${P}@index.example/simple/",
        "pypi",
        "file:///srv/index",
        "./index",
        "",
        "https://",
        "ftp://index.example/",
    ]
)
instants = st.sampled_from(
    ["2026-11-01", "2026-11-01T00:00:00Z", "7d", "2 weeks", "P3D", "soon", "", "2026-13-01", "7 parsecs"]
)
conda_names = st.sampled_from(
    [
        "numpy",
        "NumPy",
        "_libgcc_mutex",
        "conda-forge::numpy",
        "https://me:pw@conda.example/t/token/team::numpy",
        "./channel::numpy",
        "a::b::numpy",
        "::numpy",
        "python",
        "conda-forge::python",
        "bad name",
        "é",
        "",
    ]
)
constraints = st.sampled_from(
    [
        "",
        "*",
        "1.26.4",
        "=1.26",
        ">=1,<2",
        "1.4=py310*",
        "3.11 *_cpython",
        "3.11",
        "==3.11.4",
        "3.10|3.11",
        ">=3.*",
        "~=3",
        "a b c",
        "latest",
        "=",
        "; python_version < '3.12'",
    ]
)
conda_pythons = st.one_of(pythons, st.sampled_from(["=3.11", "=3.11.4", "=", "3.10|3.11", "=three"]))
channels = st.sampled_from(
    [
        "conda-forge",
        "conda-forge/label/rc",
        "https://${U}:${P}@conda.example/team",
        "https://conda.example/t/token/team/",
        "s3://bucket/channel",
        "file:///srv/channel",
        "./channel",
        "file://host",
        "ftp://conda.example",
        "https://",
        "${CHANNEL}",
        "a b",
        "",
    ]
)
system = st.dictionaries(
    st.sampled_from(["__cuda", "__glibc", "__linux", "__osx", "__archspec", "__win", "cuda"]),
    st.sampled_from(["12.4", "12", "=2.28", "==2.28", "4.18.0", "1.2.3.4", "x86_64_v3", "X86", "", "2.", "==", "٢.٣"]),
    max_size=2,
)
texts = st.sampled_from(["", "x", "a/b:v1"])
indexes = st.sampled_from(["cu121", "nowhere", "a b", "ftp://index.example", "https://${U}:pw@index.example/cu121", ""])
booleans = st.booleans()
wrong = st.sampled_from([1, 1.5, [], {}, [1], {"x": 1}, "text", True])


def lists(of: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(of, max_size=2)


def table(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Some of the fields, now and then one of a wrong type, or one more that nobody knows."""
    keys = {key.replace("_dash_", "-"): value for key, value in fields.items()}
    right = st.fixed_dictionaries({}, optional=keys)
    odd = st.one_of(
        st.just({}),
        st.just({}),
        st.just({}),
        st.tuples(st.sampled_from([*keys, "unknown"]), wrong).map(lambda pair: {pair[0]: pair[1]}),
    )
    return st.tuples(right, odd).map(lambda both: {**both[0], **both[1]})


markers = st.sampled_from(["", " ", "sys_platform == 'linux'", "colour == 'red'", "; python_version < '3'"])
extras = lists(st.sampled_from(["socks", "Full_Set", "a b", ""]))
package_tables = table(version=specifiers, extras=extras, marker=markers, index=indexes)
packages = st.one_of(
    specifiers, package_tables, st.lists(st.one_of(specifiers, package_tables), max_size=2), st.just([[">=1"]])
)
levels = {
    "pypi": table(
        packages=st.dictionaries(names, st.one_of(specifiers, packages), max_size=2),
        extra_indices=lists(urls),
        extras=lists(st.sampled_from(["pre", "pre", "pre", "--pre", "socks"])),
        python=pythons,
        conda_only=st.dictionaries(conda_names, constraints, max_size=1),
        disabled=booleans,
    ),
    "conda": table(
        libraries=st.dictionaries(conda_names, constraints, max_size=2),
        channels=lists(channels),
        python=conda_pythons,
        disabled=booleans,
    ),
    "named_env": table(name=texts, fetch_at_exec=booleans),
    "sys_packages": table(packages=system, disabled=booleans),
    "disabled": booleans,
}
documents = table(
    envlock=table(
        archs=lists(st.sampled_from(["linux-64", "osx-arm64", "win-64"])),
        cache=texts,
        exclude_dash_newer=instants,
        python_dash_from=st.sampled_from(["machine", "uv", "conda", "snake"]),
        index_dash_url=urls,
        extra_dash_indices=lists(urls),
        indexes=st.dictionaries(st.sampled_from(["cu121", "cu121", "a b", "https://x", ""]), urls, max_size=1),
        hosts=lists(st.sampled_from(["index.example", "*.index.example", "https://x"])),
        datastore=st.sampled_from(["s3", "local", "floppy", ["s3", "gs"], ["floppy"]]),
        metaflow_dash_requirements=booleans,
        system_dash_requirements=st.dictionaries(st.sampled_from(["linux-64", "osx-64", "win-64"]), system, max_size=1),
        channels=lists(channels),
        channel_dash_priority=st.sampled_from(["strict", "disabled", "flexible"]),
        channel_dash_mirrors=st.dictionaries(channels, channels, max_size=1),
        link_dash_scripts=lists(st.sampled_from(["font", "Font", "font >=1", "a::font", ""])),
        compile_dash_bytecode=booleans,
        resolver=table(
            conda=st.sampled_from(["rattler", "conda-lock", "mamba"]), pypi=st.sampled_from(["uv", "pip-tools", "pip"])
        ),
        use_dash_remote_dash_latest=st.sampled_from([":none:", ":any:", "mia", [], ["mia", "joe"], [":any:"], [" "]]),
    ),
    flow=st.fixed_dictionaries(
        {},
        optional={
            "Train": table(
                file=st.just("flow.py"), step=st.fixed_dictionaries({}, optional={"start": table(**levels)}), **levels
            )
        },
    ),
    env=st.dictionaries(
        st.just("base"), table(aliases=lists(texts), **{name: levels[name] for name in ("pypi", "conda")}), max_size=1
    ),
)

# Rules about several places at once: the light reader alone knows them.
MERGING = {
    "disagreeing-values", "name-and-pathspec", "disabled-with-requirements", "fetch-at-exec-without-name",
    "fetch-at-exec-with-requirements", "named-env-with-requirements-at-flow-level", "named-env-disabled",
    "flow-without-file", "unknown-flow", "unknown-step", "unknown-index", "python-too-old",
    "named-like-a-step", "empty-named-env",
}  # fmt: skip


def verdict(read: Any, *arguments: Any) -> set[str]:
    try:
        read(*arguments)
    except ManyErrors as many:
        return {error.code for error in many.errors}
    except EnvlockError as error:
        return {error.code}
    return set()


one_entry = st.one_of(
    st.tuples(conda_names, constraints).map(lambda entry: {"env": {"base": {"conda": {"libraries": dict([entry])}}}}),
    st.tuples(conda_names, constraints).map(lambda entry: {"env": {"base": {"pypi": {"conda_only": dict([entry])}}}}),
    st.tuples(names, packages).map(lambda entry: {"env": {"base": {"pypi": {"packages": dict([entry])}}}}),
    system.map(lambda asked: {"env": {"base": {"sys_packages": {"packages": asked}}}}),
    st.tuples(st.sampled_from(["linux-aarch64", "osx-arm64"]), system).map(
        lambda entry: {"envlock": {"system-requirements": dict([entry])}}
    ),
    channels.map(lambda channel: {"env": {"base": {"conda": {"channels": [channel]}}}}),
    channels.map(lambda channel: {"envlock": {"channels": [channel]}}),
    st.tuples(channels, channels).map(lambda entry: {"envlock": {"channel-mirrors": dict([entry])}}),
    conda_pythons.map(lambda python: {"env": {"base": {"conda": {"python": python}}}}),
)


def agreed(document: dict[str, Any], folder: Path) -> set[str]:
    """What both readers find wrong, after the light one's verdict."""
    path = folder / "envlock.toml"
    (folder / "flow.py").write_text(FLOW)
    path.write_text(tomli_w.dumps(document), encoding="utf-8")
    full = verdict(explain, path.read_bytes(), path)
    light = verdict(load_project, path)
    assert "unexplained" not in light
    told = f"light {light}, full {full}\n{path.read_text()}"
    assert light or not full, told
    assert full or not light - MERGING - {"flow-file-missing"}, told
    return light


@settings(suppress_health_check=list(HealthCheck))
@given(document=documents)
def test_both_readers_give_one_verdict(document: dict[str, Any], tmp_path: Path) -> None:
    agreed(document, tmp_path)


@settings(suppress_health_check=list(HealthCheck))
@given(document=one_entry)
def test_both_readers_give_one_verdict_on_one_entry(document: dict[str, Any], tmp_path: Path) -> None:
    """A file with many entries mostly has a wrong one, which hides what the readers make of the others."""
    agreed(document, tmp_path)


@settings(suppress_health_check=list(HealthCheck))
@given(document=st.one_of(documents, one_entry))
def test_no_secret_is_in_requirements_or_messages(document: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "envlock.toml"
    (tmp_path / "flow.py").write_text(FLOW)
    path.write_text(tomli_w.dumps(document), encoding="utf-8")
    try:
        project = load_project(path)
    except EnvlockError as error:
        told = error.render()
    else:
        asked = [environment.requirements.document() for environment in project.environments()]
        told = f"{asked} {[environment.requirements for environment in project.environments()]}"
        told += " ".join(
            str(project.locate(key)) + thing for each in project.environments() for thing, key in each.origins
        )
    assert "pw@" not in told
    assert "token" not in told


@pytest.mark.parametrize("rule", sorted(MERGING))
def test_every_merging_rule_has_an_error(rule: str) -> None:
    from envlock.errors import Location

    at = (Location("envlock.toml", 1, "flow.Train.pypi"), Location("envlock.toml", 2, "flow.Train.conda"))
    assert from_conflict(rule, ("a", "b"), at).code == rule
