"""gcp-storage-emulator, strict: it refuses a write whose precondition does not hold, as Google Cloud Storage does.

As shipped, it takes `ifGenerationMatch` and ignores it, and does not know gcsfs's way of sending parts. It also answers
one request after another here, so that looking and writing are one step, and keeps connections open.
`python -m tests.servers.gcs_server BUCKET` prints its port.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from typing import Any

from gcp_storage_emulator import server as emulator
from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import objects

_ONE_AT_A_TIME = threading.Lock()
_handle = emulator.Router.handle


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class _Handler(emulator.RequestHandler):  # type: ignore[misc]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True


def _generation(storage: Any, bucket: str, name: str) -> str:
    try:
        return str(storage.get_file_obj(bucket, name)["generation"])
    except NotFound:
        return "0"


def _name(request: Any, storage: Any) -> str | None:
    """The object that a request writes, by whichever of the three protocols of uploading."""
    upload = request.query.get("upload_id")
    if upload:
        try:
            return str(storage.get_resumable_file_obj(upload[0])["name"])
        except NotFound:
            return None
    if "name" in request.query:
        return str(request.query["name"][0])
    return str((request.data.get("meta") or request.data).get("name"))


def _strict(write: Callable[..., None]) -> Callable[..., None]:
    def handled(request: Any, response: Any, storage: Any, *more: Any, **named: Any) -> None:
        assert request.data is not None  # read in any case: the next request comes on the same connection
        wanted = request.query.get("ifGenerationMatch")
        name = _name(request, storage) if wanted else None
        if name is not None and _generation(storage, request.params["bucket_name"], name) != wanted[0]:
            response.status = HTTPStatus.PRECONDITION_FAILED
            reason = "At least one of the pre-conditions you specified did not hold."
            response.json({"error": {"code": 412, "message": reason, "errors": [{"reason": "conditionNotMet"}]}})
            return
        # A part of an upload may be POSTed as well, which the emulator takes for another upload.
        part = objects.upload_partial if request.query.get("upload_id") else write
        part(request, response, storage, *more, **named)

    return handled


def _one_at_a_time(router: Any, method: str) -> Any:
    with _ONE_AT_A_TIME:
        return _handle(router, method)


def main(bucket: str) -> None:
    strict = {objects.insert: _strict(objects.insert), objects.upload_partial: _strict(objects.upload_partial)}
    for _, handlers in emulator.HANDLERS:
        for method, handler in list(handlers.items()):
            handlers[method] = strict.get(handler, handler)
    emulator.Router.handle = _one_at_a_time
    emulator.Storage._write_config_to_file = lambda _: None  # else each write costs as much as there are objects
    storage = emulator.create_server("127.0.0.1", 0, in_memory=True, default_bucket=bucket)._storage
    server = _Server(("127.0.0.1", 0), partial(_Handler, storage))
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
