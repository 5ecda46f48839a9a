#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A small service for tests: answers HTTP on $HOST:$PORT with who it is; $FAIL=1 makes it unhealthy, $EXIT=N end."""
import http.server
import os
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        bad = os.environ.get("FAIL") == "1"
        body = f"{os.environ.get('SKERRY_INSTANCE', '')} {os.environ.get('VERSION', '')}\n".encode()
        self.send_response(503 if bad else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if os.environ.get("EXIT"):
    print("cannot start: told to end", flush=True)
    sys.exit(int(os.environ["EXIT"]))
print(f"serving version {os.environ.get('VERSION', '')}", flush=True)
http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
