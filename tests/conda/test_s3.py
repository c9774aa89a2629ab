"""Channels in a bucket, which is a real S3 server on loopback."""

from __future__ import annotations

import io
from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer

from envlock.conda.channels import channel_base
from envlock.conda.client import client_for
from envlock.conda.fetch import fetch
from envlock.resolve.errors import ChannelNotFound
from tests.channel import Channel
from tests.resolve.conda_asking import ask, pins


@pytest.fixture
def bucket(channel: Channel, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket with the main channel's repodata, and the archives of `lower` and `upper`."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "s3cr3t",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="channels")
    main = channel.folder / "main"
    paths = [*main.glob("*/repodata.json*"), *main.glob("noarch/lower-*"), *main.glob("noarch/upper-*")]
    for path in paths:
        client.put_object(Bucket="channels", Key=f"team/{path.relative_to(main)}", Body=path.read_bytes())
    try:
        yield "s3://channels/team"
    finally:
        client.close()
        server.stop()


def test_a_bucket_can_be_a_channel(bucket: str) -> None:
    found = ask("upper", channels=(bucket,))

    assert pins(found) == {"upper": "2.0", "lower": "2.0"}
    (lower,) = [package for package in found.packages if package.name == "lower"]
    assert lower.url == f"{bucket}/noarch/{lower.filename}"
    writer = io.BytesIO()
    fetch(lower.url, writer, client_for([bucket], {}))
    assert len(writer.getvalue()) == lower.size


def test_a_bucket_can_be_a_mirror(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", f"conda-forge={bucket}")
    found = ask("upper")

    base = channel_base("conda-forge")
    assert pins(found) == {"upper": "2.0", "lower": "2.0"}
    assert all(package.url.startswith(f"{base}/") for package in found.packages)


def test_a_bucket_without_the_channel(bucket: str) -> None:
    with pytest.raises(ChannelNotFound) as caught:
        ask("upper", channels=("s3://channels/nothing",))
    assert "s3cr3t" not in caught.value.render()
    assert "X-Amz" not in caught.value.render()
