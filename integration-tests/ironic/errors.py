"""Shows what the stock `baremetal` command prints of an error.

    errors.py BAREMETAL <errors.json

reads a JSON list of errors, each with `status`, `headers` and `body`. Each is served over HTTP on loopback in answer to
every request, and `baremetal node show` is run against it. Writes a JSON list of what it printed.
"""

import http.server
import json
import os
import subprocess
import sys
import threading


def printed(command, error):
    body = json.dumps(error["body"]).encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(error["status"])
            for name, value in error["headers"].items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = dict(os.environ, OS_AUTH_TYPE="none", OS_ENDPOINT=f"http://127.0.0.1:{server.server_port}")
    done = subprocess.run([command, "--max-retries", "0", "node", "show", "n1"], env=environment, capture_output=True,
                          text=True)
    server.shutdown()
    return done.stdout + done.stderr


if __name__ == "__main__":
    json.dump([printed(sys.argv[1], error) for error in json.load(sys.stdin)], sys.stdout)
