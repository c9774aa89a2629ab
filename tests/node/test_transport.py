"""A node reaches its cache: its requests to each kind of bucket, and what it makes of each failure."""

from __future__ import annotations

import email.utils
import json
import logging
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import metaflow_extensions
from envlock.cache.buckets import store
from envlock.named import history
from metaflow_extensions.envlock.plugins.node import clients, plain_s3, s3_settings, transport
from metaflow_extensions.envlock.plugins.node.errors import Damaged, Misconfigured, NodeError
from metaflow_extensions.envlock.plugins.node.manifest import parse
from metaflow_extensions.envlock.plugins.node.report import Reporter
from metaflow_extensions.envlock.plugins.node.transport import (
    Forbidden,
    NotThere,
    Throttled,
    Unreachable,
    of_status,
    open_transport,
    reason_of,
)
from tests.node.conftest import NodeCache
from tests.node.plans import canonical, manifest
from tests.servers.proxy import Break

DATA = os.urandom(799_999) + b"."  # the stand-in of Google's service loses a line break at the end
ALWAYS = 1000
CLOUDS = ("moto", "boto3", "gcs", "azurite")


def got(cache: NodeCache, path: str, start: int = 0, end: int | None = None) -> bytes:
    pieces: list[bytes] = []
    cache.transport.get(path, pieces.append, start, end)
    return b"".join(pieces)


def requests_for(cache: NodeCache, path: str) -> list[str]:
    """The requests for an object; Google's client looks at the bucket too."""
    return [each for _, each in cache.proxy.passed if path in each.replace("%2F", "/")]


@pytest.mark.parametrize("name", CLOUDS)
class TestEachBucket:
    """What holds for all of them."""

    def test_objects_are_read_whole_or_in_part(self, name: str, make_cache: Callable[..., NodeCache]) -> None:
        cache = make_cache(name)
        cache.store.put("packages/x", DATA)
        assert cache.transport.read("packages/x", len(DATA)) == DATA
        assert got(cache, "packages/x", 700_000) == DATA[700_000:]
        assert got(cache, "packages/x", 10, 20) == DATA[10:20]
        with pytest.raises(Damaged, match="too long"):
            cache.transport.read("packages/x", len(DATA) - 1)

    def test_what_is_not_there_is_named(self, name: str, make_cache: Callable[..., NodeCache]) -> None:
        cache = make_cache(name)
        with pytest.raises(NotThere, match=r"does not have plans/x\.json: run `envlock push`"):
            cache.transport.read("plans/x.json", 10)
        assert cache.transport.list("plans") == []

    def test_a_listing_says_when_objects_were_written(self, name: str, make_cache: Callable[..., NodeCache]) -> None:
        cache = make_cache(name)
        for path in ("plans/a/1.json", "plans/a/b/2.json", "plans/ab/3.json"):
            cache.store.put(path, b"{}")
        listed = cache.transport.list("plans/a")
        assert sorted(each.path for each in listed) == ["plans/a/1.json", "plans/a/b/2.json"]
        assert all(abs(each.modified - time.time()) < 60 for each in listed)

    def test_an_object_is_made_once(self, name: str, make_cache: Callable[..., NodeCache]) -> None:
        cache = make_cache(name)
        assert cache.transport.put_new("pathspecs/x", b"first")
        assert not cache.transport.put_new("pathspecs/x", b"second")
        assert cache.store.read("pathspecs/x") == b"first"

    def test_a_bucket_that_does_not_exist_is_named(self, name: str, make_cache: Callable[..., NodeCache]) -> None:
        cache = make_cache(name)
        other = cache.manifest._replace(cache=f"{cache.cloud.scheme}://no-such-bucket/x")
        with pytest.raises((Misconfigured, NotThere), match="no-such-bucket"):
            open_transport(other).list("plans")

    def test_a_stumble_is_not_seen(
        self, name: str, make_cache: Callable[..., NodeCache], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache = make_cache(name)
        monkeypatch.setattr(clients, "ANSWER_SECONDS", 1.5)
        cache.store.put("packages/x", DATA)
        for how in (Break.SLOW_DOWN, Break.RESET, Break.CUT, Break.STALL):
            cache.proxy.forget()
            cache.proxy.breaks(how, "GET")
            assert cache.transport.read("packages/x", len(DATA)) == DATA
            assert cache.proxy.broken == [how]

    def test_a_refusal_is_reported_at_once(self, name: str, make_cache: Callable[..., NodeCache]) -> None:
        cache = make_cache(name)
        cache.proxy.breaks(Break.DENIED, "GET", times=ALWAYS)
        with pytest.raises(Forbidden, match="403"):
            cache.transport.read("packages/x", 10)
        assert len(requests_for(cache, "packages/x")) == 1

    @pytest.mark.usefixtures("little_patience")
    def test_a_bucket_that_stays_busy_is_given_up_in_the_end(
        self, name: str, make_cache: Callable[..., NodeCache]
    ) -> None:
        cache = make_cache(name)
        opened = cache.transport
        opened.list("packages")  # what takes a client long is done once
        cache.proxy.breaks(Break.SLOW_DOWN, "GET", times=ALWAYS)
        began = time.monotonic()
        with pytest.raises(Throttled, match=r"503.*attempts"):
            opened.read("packages/x", 10)
        assert time.monotonic() - began >= transport.BUSY_SECONDS
        assert len(requests_for(cache, "packages/x")) >= 2

    def test_it_says_when_to_come_back(
        self, name: str, make_cache: Callable[..., NodeCache], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache = make_cache(name)
        cache.store.put("packages/x", DATA)
        cache.proxy.breaks(Break.COME_BACK, "GET", "packages")
        monkeypatch.setattr(transport, "BUSY_SECONDS", 60.0)
        opened, pauses = cache.transport, []
        monkeypatch.setattr(opened._stopped, "wait", lambda seconds: bool(pauses.append(seconds)))
        began = time.monotonic()
        assert opened.read("packages/x", len(DATA)) == DATA
        assert cache.proxy.broken == [Break.COME_BACK]
        assert [1.0 <= pause <= 2.0 for pause in pauses] == [True]
        assert time.monotonic() - began < 60

    def test_a_server_that_is_not_there_is_reported(self, name: str, make_cache: Callable[..., NodeCache]) -> None:
        cache = make_cache(name)
        dead = {**cache.manifest.options, "endpoint": cache.cloud.at(9).options.endpoint}
        with pytest.raises(Unreachable, match=r"Connection refused, 6 attempts") as raised:
            open_transport(cache.manifest._replace(options=dead)).list("plans")
        assert not any(secret in str(raised.value) for secret in cache.cloud.secrets)


@pytest.mark.parametrize("name", ["moto", "azurite"])  # the stand-in for Google answers with nothing
def test_an_object_without_that_byte_is_damaged(name: str, make_cache: Callable[..., NodeCache]) -> None:
    cache = make_cache(name)
    cache.store.put("packages/x", b"short")
    with pytest.raises(Damaged, match="cut off"):
        got(cache, "packages/x", 100)


@pytest.mark.usefixtures("little_patience")
@pytest.mark.parametrize("how", [Break.RESET, Break.DENIED, Break.SLOW_DOWN, Break.STALL])
def test_a_token_in_a_url_is_in_no_message_and_no_log(
    how: Break, make_cache: Callable[..., NodeCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache("azurite")
    monkeypatch.setattr(clients, "ANSWER_SECONDS", 0.1)  # nothing is answered that it would cut off
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sv=2024-01-01&sig=s3cr3t")
    cache.proxy.breaks(how, "GET", times=ALWAYS)
    with pytest.raises(NodeError) as raised:
        cache.transport.read("plans/x.json", 10)
    assert any("s3cr3t" in path for _, path in cache.proxy.passed)
    assert "s3cr3t" not in str(raised.value)
    # Without a handler of its own, a library's logger prints to stderr what its errors say.
    assert all(logging.getLogger(name).handlers for name in ("azure", "botocore", "google", "urllib3"))


def test_a_cut_connection_is_taken_up_where_it_was(cache: NodeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in (clients, plain_s3):
        monkeypatch.setattr(each, "PIECE", 1000)
    cache.store.put("packages/x", DATA)
    cache.proxy.breaks(Break.CUT, "GET")
    assert got(cache, "packages/x") == DATA
    ranges = [headers.get("Range") for headers in cache.proxy.headers]
    assert [each is None for each in ranges] == [True, False]
    assert ranges[1] != "bytes=0-"


def test_each_cut_that_brought_something_is_forgiven(cache: NodeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.store.put("packages/x", DATA)
    for each in (clients, plain_s3):
        monkeypatch.setattr(each, "PIECE", 1000)
    cache.proxy.breaks(Break.CUT, "GET", times=transport.ATTEMPTS + 3)
    assert got(cache, "packages/x") == DATA


@pytest.mark.usefixtures("little_patience")
def test_a_cache_that_stalls_each_time_is_given_up_at_the_deadline(
    cache: NodeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "SECONDS", 0.5)
    cache.store.put("packages/x", DATA)
    cache.proxy.breaks(Break.STALL_HALFWAY, "GET", times=ALWAYS)
    with pytest.raises(Unreachable, match="too slow"):
        got(cache, "packages/x")
    # Half of what is left comes each time, so that without a deadline some twenty requests would bring it all.
    assert len(requests_for(cache, "packages/x")) <= 3


@pytest.mark.parametrize(("name", "is_stopped"), [*((name, False) for name in CLOUDS), ("moto", True)])
def test_a_cache_that_sends_a_trickle_is_given_up(
    name: str, is_stopped: bool, make_cache: Callable[..., NodeCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte comes in time, and no library returns before the last of a piece."""
    cache = make_cache(name)
    cache.store.put("packages/x", DATA[:600])  # half a minute
    url, open_client = clients.client_of(cache.manifest.cache, cache.manifest.options)
    client = open_client()
    client.list("plans")  # what takes a client long is done once
    cache.proxy.breaks(Break.DRIP, "GET", times=ALWAYS)
    monkeypatch.setattr(transport, "SECONDS", 1800.0 if is_stopped else 1.0)
    opened = transport.Transport(url, lambda: client)
    pieces: list[bytes] = []
    began = time.monotonic()
    if is_stopped:
        threading.Thread(target=lambda: cache.proxy.broke.wait(60) and opened.stop(), daemon=True).start()
    with pytest.raises(Unreachable, match="stopped" if is_stopped else "too slow"):
        opened.get("packages/x", pieces.append)
    assert time.monotonic() - began < 15
    assert cache.proxy.broken == [Break.DRIP]
    assert len(b"".join(pieces)) < 600


def test_a_request_that_was_given_up_writes_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """By then its file may be closed, and the number of that belong to another one."""
    monkeypatch.setattr(transport, "SECONDS", 0.2)
    go_on, ended = threading.Event(), threading.Event()

    class Slow:
        raises = (OSError,)

        def get(self, path: str, start: int, end: int | None, write: Callable[[bytes], None]) -> None:
            try:
                go_on.wait(60)
                write(b"late")
            finally:
                ended.set()

    pieces: list[bytes] = []
    with pytest.raises(Unreachable, match="too slow"):
        transport.Transport("s3://team/envlock", Slow).get("packages/x", pieces.append)
    go_on.set()
    assert ended.wait(60)
    assert pieces == []


def test_pauses_leave_a_program_its_random_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "LONGEST_PAUSE", 0.001)
    monkeypatch.setattr(transport, "BUSY_SECONDS", 0.02)

    class Busy:
        raises = (OSError,)

        def list(self, folder: str) -> list[transport.Listed]:
            raise OSError(folder)

        def fault(self, error: BaseException) -> transport.Fault:
            return transport.Fault(transport.THROTTLED, type(error).__name__)

    random.seed(7)
    before = random.getstate()
    with pytest.raises(Throttled):
        transport.Transport("s3://team/envlock", Busy).list("plans")
    assert random.getstate() == before
    assert store.CHANCE is history.CHANCE is transport.CHANCE


class TestPauses:
    """What keeps thousands of nodes that are refused at once from coming back at once."""

    @pytest.mark.parametrize("refused", [1, 2, 5, 9, 100_000])
    def test_each_is_drawn_evenly_and_they_grow_up_to_a_limit(self, refused: int) -> None:
        longest = min(transport.LONGEST_PAUSE, transport.FIRST_PAUSE * 2 ** min(refused, 10))
        drawn = sorted(transport.pause(refused) / longest for _ in range(2000))
        # The largest distance of two distributions (Kolmogorov and Smirnov); one in a million of 2000 draws exceeds it.
        assert max(abs((value - 0.25) / 0.75 - place / 2000) for place, value in enumerate(drawn)) < 0.06

    def test_none_is_shorter_than_the_cache_asks_for_nor_as_long_as_another(self) -> None:
        drawn = sorted(transport.pause(1, 30.0) for _ in range(2000))
        assert drawn[0] >= 30.0
        assert (drawn[0], drawn[1000], drawn[-1]) == pytest.approx((30.0, 45.0, 60.0), abs=3)
        assert max(transport.pause(1, 86400.0) for _ in range(100)) <= 2 * transport.LONGEST_ASKED

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("7", 7.0), ("0", 0.0), ("-7", 0.0), ("nan", 0.0), ("1e999", transport.SECONDS), ("7 GMT", 0.0), ("", 0.0)],
    )
    def test_what_the_cache_asks_for_is_read_as_a_time(self, text: str, seconds: float) -> None:
        assert transport.retry_after(text) == seconds

    def test_a_date_is_a_time_too(self) -> None:
        later = email.utils.formatdate(time.time() + 30, usegmt=True)
        assert transport.retry_after(later) == pytest.approx(30, abs=2)

    @pytest.mark.parametrize("how", [Break.SLOW_DOWN, Break.RESET])
    def test_nothing_is_given_up_while_anything_of_this_node_gets_through(self, how: Break, cache: NodeCache) -> None:
        """Where a store is so busy that a request is refused twenty times, each node has others that are answered."""
        cache.store.put("packages/often", DATA[:9])
        cache.store.put("packages/well", DATA[:9])
        cache.proxy.breaks(how, "GET", "packages/often", times=25)
        opened = cache.transport
        over = threading.Event()
        others = threading.Thread(target=lambda: [opened.read("packages/well", 9) for _ in iter(over.is_set, True)])
        others.start()
        try:
            assert opened.read("packages/often", 9) == DATA[:9]
        finally:
            over.set()
            others.join()
        assert cache.proxy.broken == [how] * 25

    def test_a_request_with_few_attempts_does_not_wait_until_it_may_come_back(self, cache: NodeCache) -> None:
        cache.proxy.breaks(Break.COME_BACK, "PUT", times=ALWAYS)
        with pytest.raises(Throttled):
            cache.transport.put_new("pathspecs/x", b"{}", attempts=2)
        assert cache.proxy.broken == [Break.COME_BACK]

    def test_the_log_of_the_task_says_why_it_waits(self, cache: NodeCache, capsys: pytest.CaptureFixture[str]) -> None:
        cache.store.put("packages/x", DATA)
        cache.proxy.breaks(Break.SLOW_DOWN, "GET", times=2)
        opened, reporter = cache.transport, Reporter(quiet=0, every=0)
        reporter.began("fetching 1 file")
        opened.waiting = reporter.waiting
        opened.read("packages/x", len(DATA))
        assert capsys.readouterr().err.count("envlock: fetching 1 file: trying again (503 SlowDown)\n") == 2


def test_stopping_ends_a_pause(cache: NodeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "FIRST_PAUSE", 600.0)
    monkeypatch.setattr(transport, "LONGEST_PAUSE", 600.0)
    cache.proxy.breaks(Break.SLOW_DOWN, "GET", times=ALWAYS)
    opened = cache.transport
    threading.Timer(0.3, opened.stop).start()
    began = time.monotonic()
    with pytest.raises(Unreachable):
        opened.read("packages/x", 10)
    assert time.monotonic() - began < 60


def test_what_the_writer_raises_is_no_fault_of_the_network(cache: NodeCache) -> None:
    cache.store.put("packages/x", DATA)

    def refuse(piece: bytes) -> None:
        raise Damaged("not this one")

    with pytest.raises(Damaged, match="not this one"):
        cache.transport.get("packages/x", refuse)
    assert len(cache.proxy.passed) == 1


@pytest.mark.parametrize("name", ["moto", "boto3"])
def test_a_listing_of_many_goes_on(
    name: str, make_cache: Callable[..., NodeCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache(name)
    paths = [f"plans/{number}" for number in range(3)]
    for path in paths:
        cache.store.put(path, b"")
    opened = cache.transport
    opened.list("plans")
    client = opened._client
    if name == "boto3":
        once = client._client.list_objects_v2
        monkeypatch.setattr(client._client, "list_objects_v2", lambda **more: once(MaxKeys=2, **more))
    else:
        send = client._send
        monkeypatch.setattr(client, "_send", lambda how, path, query: send(how, path, {**query, "max-keys": "2"}))
    cache.proxy.forget()
    assert [each.path for each in opened.list("plans")] == paths
    assert len(cache.proxy.passed) == 2


@pytest.mark.parametrize("url", ["", "/srv/cache", "file:///srv/cache", "memory://x", "s3://", "https://x.example/y"])
def test_what_is_no_bucket_is_refused(url: str) -> None:
    with pytest.raises(Misconfigured, match="s3://team/envlock"):
        open_transport(parse(canonical(manifest(cache=url))))


def test_credentials_in_a_url_are_not_repeated() -> None:
    opened = open_transport(parse(canonical(manifest(cache="abfs://team@acme.dfs.core.windows.net/envlock/"))))
    assert opened.url == "abfs://team/envlock"


@pytest.mark.parametrize(("scheme", "library"), [("s3", "botocore"), ("az", "azure.core"), ("gs", "google.api_core")])
def test_the_library_that_an_image_lacks_is_named(scheme: str, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")  # which is for boto3
    monkeypatch.setitem(__import__("sys").modules, f"{library}.exceptions", None)
    with pytest.raises(Misconfigured, match="this image has no"):
        open_transport(parse(canonical(manifest(cache=f"{scheme}://team/x")))).list("plans")


def test_missing_credentials_are_reported(cache: NodeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(Forbidden, match="no credentials"):
        cache.transport.list("plans")


def test_metaflows_settings_reach_a_cache_without_an_endpoint(
    cache: NodeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metaflow import metaflow_config

    cache.store.put("plans/x", b"{}")
    params = {"endpoint_url": cache.cloud.options.endpoint, "config": {"max_pool_connections": 50}}
    monkeypatch.setattr(metaflow_config, "DATATOOLS_CLIENT_PARAMS", params)
    assert open_transport(cache.manifest._replace(options={})).read("plans/x", 9) == b"{}"


def test_a_profile_that_this_node_does_not_have_gives_way_to_its_role(cache: NodeCache) -> None:
    cache.store.put("plans/x", b"{}")
    options = {**cache.manifest.options, "profile": "of-a-laptop"}
    assert open_transport(cache.manifest._replace(options=options)).read("plans/x", 9) == b"{}"


def test_options_that_make_no_client_are_reported(cache: NodeCache) -> None:
    with pytest.raises(Misconfigured, match="ValueError"):
        open_transport(cache.manifest._replace(options={"endpoint": "no url"})).list("plans")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AccessDenied", transport.FORBIDDEN),
        (400, "ExpiredToken", transport.FORBIDDEN),
        (404, "NoSuchKey", transport.GONE),
        (404, "ContainerNotFound", transport.NO_BUCKET),
        (429, "", transport.THROTTLED),
        (400, "RequestTimeout", transport.CUT),
        (500, "InternalError", transport.CUT),
        (501, "NotImplemented", transport.CUT),
        (400, "InvalidRequest", transport.REFUSED),
        (301, "PermanentRedirect", transport.REFUSED),
    ],
)
def test_a_status_has_one_meaning(status: int, code: str, kind: int) -> None:
    assert of_status(status, code).kind == kind


def test_a_reason_never_repeats_the_text_of_a_library() -> None:
    secret = RuntimeError("https://store.example/x?sig=s3cr3t")
    assert reason_of(secret) == "RuntimeError"
    secret.__cause__ = ConnectionResetError(104, "s3cr3t")
    assert reason_of(secret) == "Connection reset by peer"
    assert clients.ANSWER_SECONDS == 30


SETTINGS = {"METAFLOW_S3_ENDPOINT_URL": "https://s3.example", "METAFLOW_S3_VERIFY_CERTIFICATE": "/etc/ca.pem"}


class TestMetaflowsSettings:
    """The node makes the client that Metaflow would make, and imports Metaflow only where it has to."""

    @pytest.fixture(autouse=True)
    def alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A task whose process has not imported Metaflow, in an image without its settings."""
        monkeypatch.delitem(sys.modules, "metaflow.metaflow_config", raising=False)
        monkeypatch.setattr(metaflow_extensions, "__path__", [str(Path(s3_settings.__file__).parents[3])])
        for name in os.environ:
            if name.startswith("METAFLOW_"):
                monkeypatch.delenv(name)
        monkeypatch.setenv("METAFLOW_HOME", str(tmp_path / "none"))
        monkeypatch.chdir(tmp_path)

    @pytest.mark.parametrize(
        "settings",
        [
            {},
            SETTINGS,
            {"METAFLOW_DATATOOLS_CLIENT_PARAMS": '{"endpoint_url": "https://s3.example", "region_name": "eu-west-1"}'},
            {"METAFLOW_S3_RETRY_COUNT": "3", "METAFLOW_S3_SERVER_SIDE_ENCRYPTION": "AES256", **SETTINGS},
            {"METAFLOW_DEFAULT_AWS_CLIENT_PROVIDER": "boto3", "METAFLOW_DEFAULT_DATASTORE": "s3"},
        ],
    )
    def test_plain_ones_are_read_as_metaflow_reads_them(self, settings: dict[str, str], tmp_path: Path) -> None:
        read = "import json; from metaflow.metaflow_config import DATATOOLS_CLIENT_PARAMS as p; print(json.dumps(p))"
        environ = {name: value for name, value in os.environ.items() if not name.startswith("METAFLOW_")}
        environ.update(settings, METAFLOW_HOME=str(tmp_path / "none"))
        ran = subprocess.run([sys.executable, "-c", read], env=environ, cwd=tmp_path, capture_output=True, check=True)
        assert s3_settings.client_params(environ, str(tmp_path)) == json.loads(ran.stdout)

    @pytest.mark.parametrize(
        "settings",
        [
            {"METAFLOW_S3_OF_A_NEWER_METAFLOW": "1"},
            {"METAFLOW_AWS_SANDBOX_ENABLED": "1"},
            {"METAFLOW_DEFAULT_AWS_CLIENT_PROVIDER": "ours"},
            {"METAFLOW_PROFILE": "team"},
            {"METAFLOW_DATATOOLS_CLIENT_PARAMS": "no JSON"},
            {"METAFLOW_DATATOOLS_CLIENT_PARAMS": '{"endpoint_url": "https://a.example"}', **SETTINGS},
        ],
    )
    def test_others_are_left_to_metaflow(self, settings: dict[str, str], tmp_path: Path) -> None:
        assert s3_settings.client_params({**os.environ, **settings}, str(tmp_path)) is None

    @pytest.mark.parametrize("place", ["none/config.json", ".metaflow/config.json"])
    def test_so_are_files_of_settings(self, place: str, tmp_path: Path) -> None:
        (tmp_path / place).parent.mkdir()
        (tmp_path / place).write_text("{}")
        (tmp_path / "task").mkdir()
        assert s3_settings.client_params(os.environ, str(tmp_path / "task")) is None

    def test_so_are_other_extensions(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "metaflow_extensions" / "team").mkdir(parents=True)
        found = [*metaflow_extensions.__path__, str(tmp_path / "metaflow_extensions")]
        monkeypatch.setattr(metaflow_extensions, "__path__", found)
        assert s3_settings.client_params(os.environ, str(tmp_path)) is None

    @pytest.mark.parametrize("is_plain", [True, False])
    def test_the_client_has_them(self, is_plain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        from metaflow import metaflow_config

        monkeypatch.setattr(metaflow_config, "DATATOOLS_CLIENT_PARAMS", {"endpoint_url": "https://s3.example"})
        for name, value in {
            "METAFLOW_S3_ENDPOINT_URL": "https://s3.example",
            "AWS_DEFAULT_REGION": "eu-west-1",
        }.items():
            monkeypatch.setenv(name, value)
        if not is_plain:
            monkeypatch.setenv("METAFLOW_S3_OF_A_NEWER_METAFLOW", "1")
            monkeypatch.setitem(sys.modules, "metaflow.metaflow_config", metaflow_config)
        client = clients.S3("team", "x", {"region": "us-west-2"}, 7)._client
        assert client.meta.endpoint_url == "https://s3.example"
        assert (client.meta.region_name, client.meta.config.read_timeout) == ("us-west-2", 7)
        assert client.meta.config.retries["total_max_attempts"] == 1
        assert ("metaflow.metaflow_config" in sys.modules) is not is_plain
