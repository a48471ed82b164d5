"""A client that shows replies as they are on the wire: their bytes, with a blank for every line end."""

import socket


def encode(args):
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        arg = arg if isinstance(arg, bytes) else str(arg).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(arg), arg))
    return b"".join(parts)


class Client:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.file = self.socket.makefile("rb")

    def send(self, *args):
        self.socket.sendall(encode(args))

    def ask(self, *args):
        self.send(*args)
        return self.read()

    def read(self, timeout=10):
        self.socket.settimeout(timeout)
        return self._read().decode("utf-8", "backslashreplace")

    def _line(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the connection was closed")
        return line[:-2]

    def _read(self):
        line = self._line()
        tag, rest = line[:1], line[1:]
        if tag in b"$=" and rest != b"-1":
            body = self.file.read(int(rest) + 2)[:-2]
            return line + b" " + body
        if tag in b"*~>%" and rest != b"-1":
            count = int(rest) * (2 if tag == b"%" else 1)
            return b" ".join([line] + [self._read() for _ in range(count)])
        return line

    def close(self):
        self.file.close()
        self.socket.close()
