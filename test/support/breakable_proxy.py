"""A TCP relay whose connections a test can break, as a bad network does."""

import contextlib
import socket
import struct
import threading


class BreakableProxy:
    """Relays connections to a server of this machine; `url` is where it listens.

    ``refusing``: new connections are reset. ``deaf``: what clients send is lost without a sign.
    """

    def __init__(self, target_url: str) -> None:
        host, _, port = target_url.removeprefix("http://").partition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._silent: set[socket.socket] = set()
        self.refusing = False
        self.deaf = False
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def drop(self) -> None:
        """Reset every connection, without a closing handshake."""
        for connection in list(self._open):
            _reset(connection)
        self._open.clear()

    def silence(self) -> None:
        """Let nothing through any more on what is open now, without a sign of it."""
        self._silent |= self._open

    def close(self) -> None:
        """Stop listening, and drop what is open."""
        self.refusing = True
        self._listener.close()
        self.drop()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # that is how a listener tells that it was closed
            while True:
                client, _ = self._listener.accept()
                if self.refusing:
                    _reset(client)
                    continue
                server = socket.create_connection(self._target)
                self._open |= {client, server}
                threading.Thread(target=self._relay, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._relay, args=(server, client, False), daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket, upward: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if not (upward and self.deaf) and source not in self._silent:
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads it
    connection.close()
