"""URLs with variables: nothing but our own errors comes of them, and what may be a secret is never kept."""

from __future__ import annotations

from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st

from envlock.addresses import address, hide, revealed
from envlock.credentials import Credentials
from envlock.errors import EnvlockError
from envlock.model.requirement import parse_requirement
from envlock.model.url import is_channel, is_mirror, is_web

PARTS = (
    *("https://", "http://", "ftp://", "file://", "s3://", "git+https://", "${A}", "${B}", "${", "}", "$A", "${A B}"),
    *("@", ":", "/", "?", "#", "[", "]", "::1", "%", "%zz", "index.example", "8443", " ", "\t", "\\", "'", '"', "é"),
    *("\x00", "\x1b", "\u2028", "t/", "&", "sha256=0", ",", "*", ";", "=", "1.0"),
    *("git+ssh://", "git+file://", "folder+sha256:", "file+sha256:", "ab" * 32, "#subdirectory=", "..", "-"),
)
texts = st.lists(st.sampled_from(PARTS), max_size=8).map("".join)
secrets = st.text("abcXYZ0189-_.~", min_size=6, max_size=12).map("s3cr3t{}".format)
passwords = st.text("ab:/@?#%[]$ {}\\é", min_size=1, max_size=6).map("s3cr3t{}".format)


@given(texts, st.fixed_dictionaries({"A": texts, "B": texts}), st.sampled_from([is_web, is_channel, is_mirror]))
def test_any_text_is_a_url_or_one_of_our_errors(text: str, variables: dict[str, str], fits: object) -> None:
    try:
        found = address(text, variables, fits=fits)  # type: ignore[arg-type]
        if "${" in text:
            assert fits(found.url)  # type: ignore[operator]
        hide(f"at {found.url}", [found])
        Credentials([text], {**variables, "NETRC": "/dev/null"}).for_url(found.asked)
    except EnvlockError as error:
        error.render()
    try:
        parse_requirement(f"demo @ {text}")
    except EnvlockError as error:
        error.render()


@given(secrets, secrets, passwords, secrets, st.sampled_from(["", "/simple/", "/a/${TEAM}/b", "/x?sig=${SIG}#y"]))
def test_what_may_be_a_secret_is_used_and_never_kept(
    user: str, team: str, password: str, signature: str, end: str
) -> None:
    variables = {"WHO": user, "PW": password, "HOST": "Index.example:8443", "TEAM": team, "SIG": signature}
    found = address(f"https://${{WHO}}:${{PW}}@${{HOST}}/${{TEAM}}{end}", variables)
    assert found.asked.startswith(f"https://Index.example:8443/{team}")
    assert found.kept.startswith("https://Index.example:8443/${TEAM}")
    assert "s3cr3t" not in found.kept
    said = f"error: {found.asked}/demo.whl is gone"
    assert "s3cr3t" not in hide(said, [found])
    assert revealed(f"{found.kept}/demo.whl", [found]) == f"{found.asked}/demo.whl"
    credential = Credentials([found.url], {"NETRC": "/dev/null"}).for_url(found.asked)
    assert credential == (user, password)
    assert unquote(found.url.partition("://")[2].partition("@")[0]) == f"{user}:{password}"
