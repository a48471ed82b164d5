"""A pytest plugin: whoever connects to port 6379, which the suite has written into its settings, is sent to the server
under test. The suite itself stays as it was published.
"""

import os
import socket

_resolve = socket.getaddrinfo


def _redirected(host, port, *args, **kwargs):
    if port in (6379, "6379"):
        port = int(os.environ["REDIS_PORT"])
    return _resolve(host, port, *args, **kwargs)


socket.getaddrinfo = _redirected
