"""A threaded HTTP server on loopback that leaves nothing open when it is closed."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class LoopbackServer(ThreadingHTTPServer):
    """Joins its threads and closes their sockets when it is closed, clients that keep theirs open included."""

    daemon_threads = False
    block_on_close = True
    request_queue_size = 256

    def __init__(self, handler: type[BaseHTTPRequestHandler], port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), handler)
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        self._end, self._ended = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def close(self) -> None:
        """Stop answering and free the port. Closing twice is harmless."""
        self._end.close()
        self._thread.join()
        self._ended.close()
        self.server_close()

    def _serve(self) -> None:
        """Serve until `close`, which is heard at once: `serve_forever` looks now and then whether it is to end."""
        with selectors.DefaultSelector() as ready:
            ready.register(self, selectors.EVENT_READ)
            ready.register(self._ended, selectors.EVENT_READ)
            while all(key.fileobj is self for key, _ in ready.select()):
                self._handle_request_noblock()  # type: ignore[attr-defined]

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        with self._guard:
            self._open.add(request)
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        with self._guard:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no error here."""

    def server_close(self) -> None:
        with self._guard:
            for request in self._open:
                with contextlib.suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)
        super().server_close()
