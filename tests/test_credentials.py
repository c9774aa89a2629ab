from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envlock.addresses import UnsetVariable, address, hide, revealed
from envlock.credentials import BadAuthFile, BadNetrc, Credential, Credentials, credentials_for
from envlock.model.url import host, is_local, strip_credentials
from envlock.redaction import redact


@pytest.fixture
def netrc(isolated: Path) -> Path:
    path = isolated / ".netrc"
    path.write_text("machine index.example login me password from-netrc\ndefault login any password everywhere\n")
    path.chmod(0o600)
    return path


def found(url: str, *index_urls: str, **environment: str) -> tuple[str, str] | None:
    return Credentials(index_urls, {**os.environ, **environment}).for_url(url)


FILE = "https://index.example/files/demo-1.0-py3-none-any.whl"


def test_nobody_knows_us() -> None:
    assert found(FILE) is None
    assert found("", "https://me:pw@index.example/simple/") is None
    assert found("../wheels/a.whl", "https://me:pw@index.example/simple/") is None


def test_the_url_says() -> None:
    assert found(FILE, "https://me:pw@index.example/simple/") == ("me", "pw")
    assert found(FILE, "https://me:p%40s%3As@Index.Example:443/simple/") == ("me", "p@s:s")
    assert found(FILE, "https://t0ken@index.example/simple/") == ("t0ken", "")


@pytest.mark.parametrize(
    "url",
    [
        "https://other.example/files/a.whl",
        "https://sub.index.example/files/a.whl",
        "https://index.example.evil.example/files/a.whl",
        "https://index.example:8443/files/a.whl",
        "http://index.example/files/a.whl",
        "https://evil.example/https://index.example/files/a.whl",
        "https://evil.example/?https://index.example/",
        "https://evil.example#@index.example/",
    ],
)
def test_another_place_gets_no_credentials(url: str) -> None:
    assert found(url, "https://me:pw@index.example/simple/") is None


def test_of_two_indexes_of_one_host_the_nearer_one_counts() -> None:
    indexes = ("https://a:1@index.example/team-a/simple/", "https://b:2@index.example/team-b/simple/")
    assert found("https://index.example/team-b/files/x.whl", *indexes) == ("b", "2")
    assert found("https://index.example/team-a/files/x.whl", *reversed(indexes)) == ("a", "1")


def test_variables_are_filled_in() -> None:
    url = "https://${WHO}:${INDEX_PASSWORD}@index.example/simple/"
    assert found(FILE, url, WHO="me", INDEX_PASSWORD="p@s%40:/#?") == ("me", "p@s%40:/#?")
    assert found(FILE, "https://${BOTH}@index.example/simple/", BOTH="me:pw") == ("me", "pw")


def test_an_unset_variable_is_named_when_it_is_needed() -> None:
    url = "https://me:${INDEX_PASSWORD}@index.example/simple/"
    assert found("https://other.example/x.whl", url) is None
    with pytest.raises(UnsetVariable) as caught:
        found(FILE, url)
    assert "`INDEX_PASSWORD`" in caught.value.message
    assert "https://index.example/simple/" in caught.value.details[0]
    assert caught.value.exit_status == 2


def test_netrc(netrc: Path) -> None:
    assert found(FILE) == ("me", "from-netrc")
    assert found("https://other.example/x.whl") is None, "a default entry is for nobody"
    assert found(FILE, "https://you:from-url@index.example/simple/") == ("you", "from-url")
    assert found(FILE, "https://me@index.example/simple/") == ("me", "from-netrc")
    assert found(FILE, "https://you@index.example/simple/") == ("you", "")
    assert found(FILE, NETRC=str(netrc.with_name("none"))) is None


def test_the_variable_netrc(netrc: Path, tmp_path: Path) -> None:
    other = tmp_path / "netrc"
    other.write_text("machine index.example\nlogin other\npassword secret\n")
    assert found(FILE, NETRC=str(other)) == ("other", "secret")


@pytest.mark.parametrize("content", [b"machine index.example login me passwort s3cret", b"\xff\xfe", b"s3cret\n"])
def test_a_bad_netrc(isolated: Path, content: bytes) -> None:
    path = isolated / ".netrc"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(BadNetrc) as caught:
        found(FILE)
    assert str(path) in caught.value.message
    assert "s3cret" not in caught.value.render()


def test_the_environment(netrc: Path) -> None:
    variables = {"ENVLOCK_INDEX_PKG_2_EXAMPLE_USERNAME": "me", "ENVLOCK_INDEX_PKG_2_EXAMPLE_PASSWORD": "pw"}
    assert found("https://pkg-2.example:8443/simple/", **variables) == ("me", "pw")
    for_index = {"ENVLOCK_INDEX_INDEX_EXAMPLE_USERNAME": "you", "ENVLOCK_INDEX_INDEX_EXAMPLE_PASSWORD": "pw"}
    assert found(FILE, **for_index) == ("me", "from-netrc"), "netrc comes first"


def test_half_of_the_environment() -> None:
    with pytest.raises(UnsetVariable, match="ENVLOCK_INDEX_INDEX_EXAMPLE_PASSWORD"):
        found(FILE, ENVLOCK_INDEX_INDEX_EXAMPLE_USERNAME="me")
    with pytest.raises(UnsetVariable, match="ENVLOCK_INDEX_INDEX_EXAMPLE_USERNAME"):
        found(FILE, ENVLOCK_INDEX_INDEX_EXAMPLE_PASSWORD="pw")


def test_the_environment_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INDEX_PASSWORD", "pw")
    assert credentials_for("https://me:${INDEX_PASSWORD}@index.example/simple/") == ("me", "pw")


def test_a_credential_does_not_show_itself() -> None:
    assert "s3cret" not in repr(Credential("me", "s3cret")) + str(Credential("me", "s3cret"))


def test_uv_errors_lose_their_secrets() -> None:
    text = (
        "error: Failed to fetch: `https://me:s3cret@index.example/simple/demo/`\n"
        "  cause: HTTP status client error (401) for url (https://s3cret@files.example/demo-1.0-py3-none-any.whl?sig=s3cret)\n"
        "  cause: git+https://s3cret:x@code.example/a.git#egg=s3cret, <http://[::1]:8000/x?s3cret>"
    )
    assert redact(text) == (
        "error: Failed to fetch: `https://index.example/simple/demo/`\n"
        "  cause: HTTP status client error (401) for url (https://files.example/demo-1.0-py3-none-any.whl\n"
        "  cause: git+https://code.example/a.git <http://[::1]:8000/x>"
    )


# Text that may stand in a user name or a password, percent-encoded or not, as long as it does not end the authority.
secrets = st.text(st.characters(exclude_characters="@/?#:[]", min_codepoint=33, max_codepoint=126), min_size=3)


@given(secrets, st.sampled_from(["https", "http", "git+ssh"]), st.sampled_from(["", "a/b", "a@b/c", "?q=1", "#f"]))
def test_a_url_loses_its_secrets(secret: str, scheme: str, rest: str) -> None:
    marked = f"s3cret{secret}"
    for userinfo in (marked, f"me:{marked}", f"{marked}:pw", f"{marked}:{marked}", f"me:x@{marked}"):
        url = f"{scheme}://{userinfo}@index.example:8443/{rest}?token={marked}#{marked}"
        stripped = strip_credentials(url)
        assert "s3cret" not in stripped
        assert stripped.startswith(f"{scheme}://index.example:8443/")
        assert host(url) == host(stripped) == "index.example"
        assert strip_credentials(stripped) == stripped
        assert "s3cret" not in redact(f"failed ({scheme}://{userinfo}@index.example:8443/{rest})")


@given(st.text())
def test_any_text_can_be_stripped(text: str) -> None:
    once = strip_credentials(text)
    assert strip_credentials(once) == once
    assert isinstance(is_local(text), bool)
    host(text)
    redact(text)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://index.example/simple/", True),
        ("https://index.example:8443/simple/", True),
        ("http://index.example/simple/", False),
        ("http://index.example:8080/simple/", True),
    ],
)
def test_what_is_kept_by_host_is_not_sent_in_the_clear(url: str, told: bool) -> None:
    """Unless the index is configured so: a lock that names http:// must not draw a password out."""
    variables = {
        "NETRC": "/dev/null",
        "ENVLOCK_INDEX_INDEX_EXAMPLE_USERNAME": "me",
        "ENVLOCK_INDEX_INDEX_EXAMPLE_PASSWORD": "pw",
    }
    credentials = Credentials(["https://index.example/simple/", "http://index.example:8080/simple/"], variables)
    assert (credentials.for_url(url) is not None) is told


TOKEN = "aGk6c2VjcmV0+x=="
INDEX = address("https://index.example/${TOK}/simple/", {"TOK": TOKEN})


@pytest.mark.parametrize(
    ("spelled", "hidden"),
    [
        (f"https://index.example/{TOKEN}/files/x.whl", "https://index.example/${TOK}/files/x.whl"),
        ("https://index.example/aGk6c2VjcmV0%2bx%3D%3D/files/x.whl", "https://index.example/${TOK}/files/x.whl"),
        (f"https://index.example//{TOKEN}//x.whl", "https://index.example//${TOK}//x.whl"),
        (f"https://INDEX.example:443/a/../{TOKEN}/x.whl", "https://INDEX.example:443/a/../${TOK}/x.whl"),
        (f"https://index.example/t-{TOKEN}/%{ord('x'):x}/x.whl", "https://index.example/t-${TOK}/%78/x.whl"),
    ],
)
def test_a_secret_of_a_path_is_hidden_and_found_again_however_it_is_spelled(spelled: str, hidden: str) -> None:
    assert hide(spelled, [INDEX]) == hidden
    assert revealed(hidden, [INDEX]) == hidden.replace("${TOK}", TOKEN)
    assert hide(f"error for url ({spelled}), see <{spelled}>", [INDEX]) == f"error for url ({hidden}), see <{hidden}>"


def test_a_secret_of_a_path_is_hidden_on_every_host_and_sent_to_its_own_alone() -> None:
    hidden = "https://files.example/${TOK}/x.whl"
    assert hide(f"https://files.example/{TOKEN}/x.whl", [INDEX]) == hidden
    assert hide(f"GET /{TOKEN}/x.whl", [INDEX]) == "GET /${TOK}/x.whl"
    for other in (hidden, "http://index.example/${TOK}/x.whl", "https://index.example:8443/${TOK}/x.whl"):
        assert revealed(other, [INDEX]) == other


@pytest.mark.parametrize("word", ["team", "packages"])
def test_an_ordinary_word_is_hidden_at_the_indexs_own_place_alone(word: str) -> None:
    index = address("https://index.example/${TEAM}/simple/", {"TEAM": word})
    assert (
        hide(f"https://index.example//{word}/{word}-1.0.whl", [index])
        == f"https://index.example//${{TEAM}}/{word}-1.0.whl"
    )
    for text in (f"https://files.example/{word}/x.whl", f"because {word} depends on {word}"):
        assert hide(text, [index]) == text


def test_an_index_whose_host_is_not_known_is_no_index_of_another_host() -> None:
    assert found(FILE, "https://t0ken@${NO_HOST}/simple/", "https://me:pw@index.example/simple/") == ("me", "pw")
    assert found(FILE, "https://${NO_HOST}/simple/") is None


def test_an_entry_of_netrc_without_login_and_password_says_nothing(isolated: Path) -> None:
    (isolated / ".netrc").write_text('machine index.example login "" password ""\n')
    (isolated / ".netrc").chmod(0o600)
    assert found(FILE) is None
    variables = {"ENVLOCK_INDEX_INDEX_EXAMPLE_USERNAME": "me", "ENVLOCK_INDEX_INDEX_EXAMPLE_PASSWORD": "pw"}
    assert found(FILE, **variables) == ("me", "pw")


class TestOfCondasTools:
    @pytest.fixture
    def file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        path = tmp_path / "auth.json"
        monkeypatch.setenv("RATTLER_AUTH_FILE", str(path))
        return path

    @pytest.mark.parametrize(
        ("entry", "header"),
        [
            ({"BearerToken": "t0ken"}, "Bearer t0ken"),
            ({"BasicHTTP": {"username": "me", "password": "pw"}}, "Basic bWU6cHc="),
        ],
    )
    def test_they_go_to_their_host_encrypted_or_to_an_index_of_the_project(
        self, file: Path, entry: object, header: str
    ) -> None:
        file.write_text(json.dumps({"index.example": entry}))
        plain = FILE.replace("https:", "http:")
        assert Credentials().authorization(FILE) == header
        assert Credentials().authorization(plain) is None
        assert Credentials(["http://index.example/simple/"]).authorization(plain) == header
        assert Credentials().authorization(FILE.replace("index.example", "other.example")) is None

    @pytest.mark.parametrize("text", [b"[]", b'"t0ken"', b"null", b"{", b"\xff", b"[" * 100_000])
    def test_what_is_no_object_of_hosts_is_an_error_that_does_not_quote_it(self, file: Path, text: bytes) -> None:
        file.write_bytes(text)
        with pytest.raises(BadAuthFile) as caught:
            Credentials().authorization(FILE)
        assert str(file) in caught.value.render()
        assert "t0ken" not in caught.value.render()

    def test_what_cannot_be_read_is_an_error_and_what_is_not_there_is_none(self, file: Path) -> None:
        assert Credentials().authorization(FILE) is None
        file.mkdir()
        with pytest.raises(BadAuthFile, match="directory"):
            Credentials().authorization(FILE)
