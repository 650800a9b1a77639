# SPDX-License-Identifier: Apache-2.0
"""
A file server on Python's http.server that also knows ranges, sendfile and PUT. Usage: ranges.py PORT FOLDER
"""

import http.server
import os
import re
import socket
import sys


class Handler(http.server.SimpleHTTPRequestHandler):
    """GET with at most one range, by sendfile; PUT, also chunked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = self.translate_path(self.path)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not wanted or not os.path.isfile(path):
            return super().do_GET()
        size = os.path.getsize(path)
        first, last = int(wanted.group(1)), min(int(wanted.group(2) or size - 1), size - 1)
        self.send_response(206)
        self.send_header("Content-Range", "bytes %d-%d/%d" % (first, last, size))
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        with open(path, "rb") as f:
            self.connection.sendfile(f, first, last - first + 1)

    def do_PUT(self):
        with open(self.translate_path(self.path), "wb") as f:
            if self.headers.get("Transfer-Encoding") == "chunked":
                while size := int(self.rfile.readline(), 16):
                    f.write(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
            else:
                f.write(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Says nothing; what it does is seen in the files."""


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


os.chdir(sys.argv[2])
Server(("::", int(sys.argv[1])), Handler).serve_forever()
