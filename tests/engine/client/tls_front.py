"""A listener that speaks TLS and passes on in the clear, with a certificate that can change."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading


class TlsFront:
    """Stands in front of a gateway.

    Args:
        upstream: ``http://host:port`` of the gateway.
        context: The server's certificate; assign another one for connections to come.
    """

    def __init__(self, upstream: str, context: ssl.SSLContext) -> None:
        host, _, port = upstream.removeprefix("http://").partition(":")
        self._upstream = (host, int(port))
        self.context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        """What the client connects to."""
        return f"https://127.0.0.1:{self._listener.getsockname()[1]}"

    def break_connections(self) -> None:
        """End every open connection."""
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """End everything."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.break_connections()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with plain, contextlib.suppress(OSError):
            tls = self.context.wrap_socket(plain, server_side=True)
            with tls, socket.create_connection(self._upstream) as server:
                self._open.add(tls)
                try:
                    _relay(tls, server)
                finally:
                    self._open.discard(tls)


def _relay(tls: ssl.SSLSocket, server: socket.socket) -> None:
    """Both ways in one thread, since a TLS session is not for two."""
    while True:
        ready = [tls] if tls.pending() else select.select([tls, server], [], [])[0]
        for source, target in ((tls, server), (server, tls)):
            if source in ready:
                data = source.recv(16384)
                if not data:
                    return
                target.sendall(data)
