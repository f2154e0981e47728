"""A real MLflow server behind a gate that can be shut, jammed or made to lie, and the server itself restarted."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEPT = ("content-type", "content-length", "authorization")  # headers that are passed on


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Server:
    """`mlflow server` over a sqlite file."""

    def __init__(self, folder, database):
        self.port, self.folder, self.database, self.process = free_port(), folder, database, None

    def start(self):
        words = ["server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        store = ["--backend-store-uri", f"sqlite:///{self.database}", "--artifacts-destination", str(self.folder)]
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", *words, *store], cwd=self.folder, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        until = time.monotonic() + 120
        while not self.answers():
            assert time.monotonic() < until, (self.folder / "server.log").read_text()
            time.sleep(0.2)

    def answers(self):
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        return False

    def stop(self):
        import psutil

        for process in [*psutil.Process(self.process.pid).children(recursive=True), self.process]:
            process.kill()
        self.process.wait()

    def restart(self, away=2.0):
        self.stop()
        time.sleep(away)
        self.start()


class Gate:
    """An address that passes on to a server while `state` is "open".

    "down": nobody answers; "hung": connections are taken and never answered; a number: that status is the answer.
    """

    def __init__(self, port):
        self.state, self.behind = "open", port
        self.server = self._listen(0)
        self.port = self.server.server_port
        self.uri = f"http://127.0.0.1:{self.port}"

    def _listen(self, port):
        made = ThreadingHTTPServer(("127.0.0.1", port), type("Bound", (_Handler,), {"gate": self}))
        threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
        return made

    def turn(self, state):
        if self.state == "down":
            self.server = self._listen(self.port)
        self.state = state
        if state == "down":
            self.close()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    gate: Gate

    def _pass(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        while self.gate.state == "hung":
            time.sleep(0.1)
        if self.gate.state != "open":
            status = self.gate.state if isinstance(self.gate.state, int) else 503
            self._answer(status, b"{}", "application/json")
            return
        behind = http.client.HTTPConnection("127.0.0.1", self.gate.behind, timeout=60)
        try:
            behind.request(self.command, self.path, body, {k: v for k, v in self.headers.items() if k.lower() in KEPT})
            answer = behind.getresponse()
            self._answer(answer.status, answer.read(), answer.getheader("content-type") or "text/plain")
        except OSError:
            self._answer(502, b"{}", "application/json")
        finally:
            behind.close()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass

    def _answer(self, status, body, kind):
        with suppress(OSError):  # the client may have given up
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_):
        pass
