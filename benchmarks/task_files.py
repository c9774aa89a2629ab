"""The files of a plan, from a bucket onto a node: `python task_files.py WAY ENDPOINT BUCKET PREFIX LIST FOLDER`.

Runs in an image's Python, with a code package on its path, and prints the CPU seconds that moving took, without
imports. WAY is one of

- `node`: the node's transport; `node-kept`: the same, hashed and written, as a node does;
- `bare`: boto3's get_object in as many threads; `bare-kept`: that, hashed and written; `bare-written`: only written;
- `metaflow`: the datastore, as Metaflow's own start of a task does, and written.

LIST has a line of JSON for each file: path, size, SHA-256. Each is written into FOLDER under its own name.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

THREADS = 8


class Cache(NamedTuple):
    """Where the files are."""

    endpoint: str
    bucket: str
    prefix: str

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


def main(way: str, endpoint: str, bucket: str, prefix: str, listed: str, target: str) -> None:
    """Move the files, and print what it took."""
    files = sorted(map(json.loads, Path(listed).read_text().splitlines()), key=lambda each: -each[1])
    cache, folder = Cache(endpoint, bucket, prefix), Path(target)
    if way.startswith("node"):
        work = by_node(cache, files, folder, is_kept=way == "node-kept")
    elif way == "metaflow":
        work = by_metaflow(cache, files, folder)
    else:
        work = bare(cache, files, folder, is_hashed=way == "bare-kept", is_written=way != "bare")
    began = os.times()
    work()
    print(sum(os.times()[:4]) - sum(began[:4]))


def by_node(cache: Cache, files: list[list], folder: Path, *, is_kept: bool) -> Callable[[], object]:
    """The node's own way."""
    from metaflow_extensions.envlock.plugins.node.clients import client_of
    from metaflow_extensions.envlock.plugins.node.fetch import RANGE, fetch
    from metaflow_extensions.envlock.plugins.node.plan import Object
    from metaflow_extensions.envlock.plugins.node.report import Reporter
    from metaflow_extensions.envlock.plugins.node.transport import Transport

    objects = [Object(*each) for each in files]
    transport = Transport(*client_of(cache.url, {"endpoint": cache.endpoint}))
    transport.list("nothing")  # the first request costs an import and a connection

    def move(each: Object) -> None:
        for start in range(0, each.size, RANGE):
            transport.get(each.path, lambda _: None, start, min(start + RANGE, each.size))

    if is_kept:
        return lambda: fetch(transport, objects, str(folder), Reporter(quiet=600))
    return lambda: list(ThreadPoolExecutor(THREADS).map(move, objects))


def bare(cache: Cache, files: list[list], folder: Path, *, is_hashed: bool, is_written: bool) -> Callable[[], object]:
    """boto3 alone."""
    import boto3
    from botocore.config import Config

    client = boto3.client("s3", endpoint_url=cache.endpoint, config=Config(max_pool_connections=THREADS))
    client.list_objects_v2(Bucket=cache.bucket, Prefix="nothing/")

    def move(each: list) -> None:
        path, _, sha256 = each
        data = client.get_object(Bucket=cache.bucket, Key=f"{cache.prefix}/{path}")["Body"].read()
        if is_hashed:
            assert hashlib.sha256(data).hexdigest() == sha256
        if is_written:
            (folder / Path(path).name).write_bytes(data)

    return lambda: list(ThreadPoolExecutor(THREADS).map(move, files))


def by_metaflow(cache: Cache, files: list[list], folder: Path) -> Callable[[], object]:
    """Metaflow's datastore."""
    from metaflow.plugins.datastores.s3_storage import S3Storage

    def move(found: tuple[str, str, object]) -> None:
        key, file, _ = found
        shutil.move(file, folder / Path(key).name)

    def work() -> None:
        with S3Storage(cache.url).load_bytes([path for path, *_ in files]) as found, ThreadPoolExecutor() as threads:
            list(threads.map(move, found))

    return work


if __name__ == "__main__":
    main(*sys.argv[1:])
