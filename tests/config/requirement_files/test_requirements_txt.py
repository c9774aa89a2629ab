"""Requirements files, and the gate that they share with whatever else asks for packages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from envlock.config.edit.add_remove import add_packages
from envlock.config.errors import UnsafeFile
from envlock.config.read import load_project
from envlock.config.validate import explain
from envlock.errors import ConfigError, EnvlockError, Location, ManyErrors
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import requirements_from

CONFIG = '[env.base]\nrequirements = "r.txt"\n'
AT = Location("envlock.toml", 2, "env.base.requirements")
SECRET = "s3cr3t-t0ken"


def refused(folder: Path, text: str | bytes) -> ConfigError:
    """What is said of a project whose requirements file, r.txt, has this text."""
    (folder / "envlock.toml").write_text(CONFIG)
    (folder / "r.txt").write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigError) as caught:
        load_project(folder / "envlock.toml")
    return caught.value


def whole(error: EnvlockError) -> str:
    return error.render() + repr(error.as_dict())


# One gate, whichever door.


def _of_config(folder: Path, requirement: str) -> None:
    name, _, url = requirement.partition(" @ ")
    (folder / "envlock.toml").write_text(f"[env.base.pypi.packages]\n'{name}@{url}' = ''\n")
    load_project(folder / "envlock.toml")


def _of_file(folder: Path, requirement: str) -> None:
    raise refused(folder, f"# ours\n{requirement}\n")


def _of_add(folder: Path, requirement: str) -> None:
    add_packages("[env.base]\npypi = {}\n", ("env", "base"), [requirement])


def _of_lock(folder: Path, requirement: str) -> None:
    parse_requirement(requirement)


DOORS: list[Callable[[Path, str], None]] = [_of_config, _of_file, _of_add, _of_lock]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("url", "code"),
    [
        (f"https://user:{SECRET}@files.example/acme_core-1.0-py3-none-any.whl", "credentials-in-direct-url"),
        (f"https://{SECRET}@files.example/acme_core-1.0-py3-none-any.whl", "credentials-in-direct-url"),
        ("https://${USER}:${TOKEN}@files.example/acme_core-1.0-py3-none-any.whl", "credentials-in-direct-url"),
        (f"https://files.example/acme_core-1.0-py3-none-any.whl?sig={SECRET}", "credentials-in-direct-url"),
        (f"https://files.example/acme_core-1.0-py3-none-any.whl#token={SECRET}", "credentials-in-direct-url"),
        (f"git+https://user:{SECRET}@code.example/acme/core", "credentials-in-direct-url"),
        (f"git+https://{SECRET}@code.example/acme/core@main", "credentials-in-direct-url"),
        (f"git+ssh://git:{SECRET}@code.example/acme/core", "credentials-in-direct-url"),
        (f"git+https://code.example/acme/core@main#token={SECRET}", "credentials-in-direct-url"),
        (f"git+https://code.example/acme/core?token={SECRET}", "credentials-in-direct-url"),
        ("git+https://code.example/acme/core@--upload-pack=x", "direct-url-not-web"),
        ("git+https://code.example/acme/core#subdirectory=../x", "direct-url-not-web"),
        ("git+file:///srv/acme/core", "direct-url-not-web"),
        ("git+https://code.example", "direct-url-not-web"),
        ("folder+sha256:ab", "direct-url-not-web"),
        (f"file+sha256:{'ab' * 32}", "direct-url-not-web"),
        (f"file+sha256:{'ab' * 32}/../x.whl", "direct-url-not-web"),
        ("file:///srv/acme_core-1.0-py3-none-any.whl", "direct-url-not-web"),
        ("../acme_core-1.0-py3-none-any.whl", "direct-url-not-web"),
        ("ftp://${HOST}/acme_core-1.0-py3-none-any.whl", "direct-url-not-web"),
        ("https://files.example:port/acme_core-1.0-py3-none-any.whl", "direct-url-not-web"),
        ("https:///acme_core-1.0-py3-none-any.whl", "direct-url-not-web"),
    ],
)
def test_a_direct_url_that_no_lock_may_hold_is_refused_wherever_it_is_written(
    door: Callable[[Path, str], None], url: str, code: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        door(tmp_path, f"acme-core @ {url}")
    assert caught.value.code == code
    assert SECRET not in whole(caught.value)


def test_python_is_no_package_wherever_it_is_required(tmp_path: Path) -> None:
    error = refused(tmp_path, "# ours\npython>=3.9\n")
    assert (error.code, error.locations) == ("python-is-no-package", (Location("r.txt", 2), AT))
    assert 'pypi.python = ">=3.9"' in (error.hint or "")
    with pytest.raises(ConfigError) as caught:
        explain("[env.base.pypi.packages]\nPython = '>=3.9'\n", tmp_path / "envlock.toml")
    assert caught.value.code == "python-is-no-package"
    assert caught.value.locations[0].line == 2
    assert 'pypi.python = ">=3.9"' in (caught.value.hint or "")


# Options.


@pytest.mark.parametrize(
    "value",
    [
        "../wheels",
        "nonsense",
        "file:///srv/index",
        "ftp://${HOST}/simple",
        "https://",
        "${A B}",
        "https://$HOST/simple",
    ],
)
def test_an_index_that_is_none_is_refused_with_its_line(value: str, tmp_path: Path) -> None:
    for separator in (" ", "="):
        error = refused(tmp_path, f"rich\n--extra-index-url{separator}{value}\n")
        assert (error.code, error.locations) == ("bad-index-url", (Location("r.txt", 2), AT))
    config = f'[envlock]\nextra-indices = ["{value}"]\n'
    (tmp_path / "envlock.toml").write_text(config)
    with pytest.raises(ConfigError) as caught:
        load_project(tmp_path / "envlock.toml")
    assert caught.value.code == "bad-index-url"


@pytest.mark.parametrize("line", ["--extra-index-url", "--pre yes", "--pre=1", "-i https://index.example/simple", "-"])
def test_an_option_that_means_nothing_here_is_refused(line: str, tmp_path: Path) -> None:
    error = refused(tmp_path, f"rich\n{line}\n")
    assert (error.code, error.locations) == ("bad-requirements-file", (Location("r.txt", 2), AT))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("rich==13.0 --hash=sha256:0", "with an option"),
        ("rich \\", "continues with"),
        ("https://files.example/rich-13.0-py3-none-any.whl", "`name @ URL`"),
        ("./rich", "a path"),
        ("/srv/rich-13.0-py3-none-any.whl", "a path"),
    ],
)
def test_what_pip_takes_beside_requirements_is_reported_by_its_name(line: str, said: str, tmp_path: Path) -> None:
    error = refused(tmp_path, f"{line}\n")
    assert (error.code, error.locations) == ("bad-requirements-file", (Location("r.txt", 1), AT))
    assert said in error.message


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("itsdangerous==2.2.0 \\\n    --hash=sha256:00\n", "`pip-compile` without `--generate-hashes`"),
        ("rich==13.0 --hash=sha256:00\n", "the lock has hashes"),
        ("--hash=sha256:00\n", "the lock has hashes"),
        ("-r base.txt\n", "the requirements of that file"),
        ("--requirement=base.txt\n", "the requirements of that file"),
        ("-c constraints.txt\n", "the versions of that file"),
        ("-i https://index.example/simple\n", "`index-url`"),
        ("--find-links wheels\n", "as a requirement"),
    ],
)
def test_what_to_write_instead_is_said(text: str, advice: str, tmp_path: Path) -> None:
    error = refused(tmp_path, text)
    assert (error.code, error.locations) == ("bad-requirements-file", (Location("r.txt", 1), AT))
    assert advice in (error.hint or "")


def test_an_index_keeps_its_credentials_out_of_what_is_hashed(tmp_path: Path) -> None:
    (tmp_path / "envlock.toml").write_text(CONFIG)
    (tmp_path / "r.txt").write_text(f"--extra-index-url https://me:{SECRET}@index.example/simple\nrich\t# pretty\n")
    (environment,) = load_project(tmp_path / "envlock.toml").environments()
    assert environment.requirements.indexes == ("https://index.example/simple",)
    assert [str(each) for each in environment.requirements.pypi] == ["rich"]


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    (tmp_path / "envlock.toml").write_text(CONFIG)
    (tmp_path / "r.txt").write_bytes(b"\xef\xbb\xbfrich\r\nattrs\r\n")
    (environment,) = load_project(tmp_path / "envlock.toml").environments()
    assert [each.name for each in environment.requirements.pypi] == ["attrs", "rich"]


# Places.


def test_the_origin_of_a_requirement_in_a_file_is_that_line_of_it(tmp_path: Path) -> None:
    (tmp_path / "envlock.toml").write_text(CONFIG)
    (tmp_path / "r.txt").write_text("# ours\nrich\n--extra-index-url https://index.example/simple\n")
    project = load_project(tmp_path / "envlock.toml")
    (environment,) = project.environments()
    for thing, line in (("rich", 2), ("https://index.example/simple", 3)):
        key = environment.origin(thing)
        assert key is not None
        assert project.locate(key) == Location("r.txt", line, "env.base.requirements")


def test_two_lines_that_disagree_are_both_shown(tmp_path: Path) -> None:
    error = refused(tmp_path, "rich==13.0\nattrs\nrich==14.0\n")
    assert [(at.path, at.line) for at in error.locations] == [("r.txt", 1), ("r.txt", 3)]


# What is never repeated.


def test_a_line_of_a_file_that_is_not_of_the_project_is_never_shown(tmp_path: Path) -> None:
    outside = tmp_path / "shadow.txt"
    project = tmp_path / "project"
    project.mkdir()
    lines = [
        f"root:{SECRET}:19000",
        f"--extra-index-url {SECRET}",
        f"--{SECRET}",
        f"rich =={SECRET}",
        f"rich ; {SECRET}",
    ]
    for line in lines:
        outside.write_text(f"rich\n{line}\n")
        (project / "envlock.toml").write_text(f'[env.base]\nrequirements = "{outside}"\n')
        with pytest.raises(EnvlockError) as caught:
            load_project(project / "envlock.toml")
        assert not isinstance(caught.value, ManyErrors)
        assert caught.value.locations[0] == Location(str(outside), 2)
        assert SECRET not in whole(caught.value), line
        inside = refused(project, f"rich\n{line}\n")
        assert SECRET in whole(inside), line
        (project / "r.txt").unlink()
        (project / "r.txt").symlink_to(outside)
        with pytest.raises(UnsafeFile) as linked:
            load_project(project / "envlock.toml")
        assert SECRET not in whole(linked.value)
        (project / "r.txt").unlink()


def test_a_credential_in_a_line_of_the_project_is_never_shown(tmp_path: Path) -> None:
    lines = (
        f"acme core @ https://me:{SECRET}@files.example/x.whl",
        f"-i https://me:{SECRET}@index.example/simple",
        f"--extra-index-url ftp://me:{SECRET}@index.example/simple",
        f"https://me:{SECRET}@files.example/x.whl",
    )
    for line in lines:
        assert SECRET not in whole(refused(tmp_path, f"{line}\n")), line


@pytest.mark.parametrize("name", ["token", "token.key", ".netrc"])
def test_a_file_of_a_secret_is_none_of_requirements(name: str, tmp_path: Path) -> None:
    """A token can be read as the name of a package, would be asked of an index and stand in a lock."""
    (tmp_path / name).write_text(SECRET)
    (tmp_path / "requirements.txt").write_text("rich")
    config = tmp_path / "project" / "envlock.toml"
    config.parent.mkdir()
    for path in (f"../{name}", str(tmp_path / name)):
        config.write_text(f'[env.base]\nrequirements = "{path}"\n')
        with pytest.raises(EnvlockError) as caught:
            load_project(config)
        assert (caught.value.code, caught.value.exit_status) == ("unsafe-file", 3)
        assert caught.value.locations[0].line == 2
        assert SECRET not in whole(caught.value)
    config.write_text('[env.base]\nrequirements = "../requirements.txt"\n')
    assert [each.name for each in load_project(config).named[0].requirements.pypi] == ["rich"]


def test_no_other_file_that_is_not_of_the_project_is_shown_either(tmp_path: Path) -> None:
    outside = tmp_path / "shadow"
    outside.write_text(f"root:{SECRET}:19000\nx y {SECRET}\n")
    project = tmp_path / "project"
    project.mkdir()
    config = project / "envlock.toml"
    config.write_text(f'[flow.Train]\nfile = "{outside}"\n')
    with pytest.raises(EnvlockError) as caught:
        load_project(config)
    assert (caught.value.code, caught.value.locations[0].line) == ("flow-file-syntax", 1)
    assert SECRET not in whole(caught.value)
    config.unlink()
    config.symlink_to(outside)
    with pytest.raises(EnvlockError) as caught:
        load_project(config)
    assert caught.value.code == "unreadable-config"
    assert SECRET not in whole(caught.value)
    config.unlink()
    (tmp_path / "envlock.toml").write_text(outside.read_text())
    config.symlink_to(tmp_path / "envlock.toml")  # as some build tools lay out a project
    with pytest.raises(EnvlockError) as caught:
        load_project(config)
    assert (caught.value.code, caught.value.locations[0].line) == ("not-toml", 1)
    assert SECRET not in whole(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pypi", [f"demo @ https://me:{SECRET}@files.example/demo-1.0-py3-none-any.whl"]),
        ("indexes", [f"https://me:{SECRET}@index.example/simple"]),
        ("indexes", ["../wheels"]),
        ("default-index", f"https://index.example/simple?token={SECRET}"),
        ("default-index", "ftp://${HOST}/simple"),
        ("channels", [f"https://conda.example/t/{SECRET}/team"]),
        ("channels", ["../channel"]),
    ],
)
def test_the_requirements_in_a_lock_or_a_pin_pass_the_same_gate(key: str, value: str | list[str]) -> None:
    table = {"python-from": "machine", "indexes": ["https://${HOST}/simple"], "channels": ["conda-forge", "${TEAM}"]}
    assert requirements_from(table).channels == ("conda-forge", "${TEAM}")
    with pytest.raises((ValueError, ConfigError)) as caught:
        requirements_from({**table, key: value})
    assert SECRET not in str(caught.value)
