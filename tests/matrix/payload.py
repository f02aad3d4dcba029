# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's side of the network rows: a small server on the loopback device."""

import hashlib
import http.server
import threading

SIZE = 24 << 20
PAYLOAD = b''.join(hashlib.sha512(number.to_bytes(4, 'little')).digest() for number in range(SIZE // 64))
ANSWERS = {}
for name, data in (('', PAYLOAD), ('little', PAYLOAD[:2 << 20])):
    ANSWERS['/payload' + name] = data
    ANSWERS['/sum' + name] = hashlib.sha256(data).hexdigest().encode()


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, data):
        self.send_response(200)
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):       # pylint: disable=invalid-name
        self.answer(ANSWERS.get(self.path, b''))

    def do_POST(self):      # pylint: disable=invalid-name
        data = self.rfile.read(int(self.headers['Content-Length']))
        self.answer(hashlib.sha256(data).hexdigest().encode())

    def log_message(self, format, *args):   # pylint: disable=redefined-builtin
        pass


def serve():
    """Start the server; its port."""
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]
