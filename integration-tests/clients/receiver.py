"""A webhook's receiver: HTTPS, and the Standard Webhooks project's own library verifies what comes.

receiver.py PORT CERTIFICATE KEY SECRET TOKEN FOLDER: what is verified is a line of FOLDER/taken (JSON: its id and its body),
what is not a line of FOLDER/wrong. Where FOLDER/answer has a number, that is the answer, and nothing is taken.
"""

import http.server
import json
import pathlib
import ssl
import sys

from standardwebhooks.webhooks import Webhook

PORT, CERTIFICATE, KEY, SECRET, TOKEN, FOLDER = sys.argv[1:]
FOLDER = pathlib.Path(FOLDER)


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        status = 204
        answer = FOLDER / 'answer'
        if answer.exists():
            status = int(answer.read_text())
        else:
            try:
                assert self.headers['Authorization'] == f'Bearer {TOKEN}'
                event = Webhook(SECRET).verify(body, dict(self.headers))
                self.note('taken', {'id': self.headers['webhook-id'], 'path': self.path, **event})
            except Exception as error:
                status = 400
                self.note('wrong', repr(error))
        self.send_response(status)
        self.send_header('Content-Length', '0')
        self.end_headers()

    def note(self, name, what):
        with open(FOLDER / name, 'a') as out:
            out.write(json.dumps(what) + '\n')

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(('127.0.0.1', int(PORT)), Receiver)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERTIFICATE, KEY)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
