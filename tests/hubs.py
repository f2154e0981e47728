"""An imitation of the Hugging Face hub on this machine: it answers what huggingface_hub asks, and counts."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

EXPORT = "refs/convert/parquet"


class Hub:
    """One data set: `files` {name: content} of its main branch, `exported` those of the parquet branch.

    `requests`: paths asked for; `sent`: bytes of files sent. `faults`: (pattern of a path, status, headers), the
    first that fits is the answer.
    """

    def __init__(self, repo, files, configs=None, exported=None):
        self.repo, self.files, self.exported, self.configs = repo, dict(files), exported, configs
        self.sha, self.requests, self.sent, self.faults = "a" * 40, [], 0, []
        self.moved = {}  # old names of the set
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path, asked):
        """(status, headers, body) of a path without its query; `asked`: the first and last byte, or None."""
        for pattern, status, headers in self.faults:
            if re.search(pattern, path):
                return status, headers, b"{}"
        if found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+?)(?:/revision/(.+))?", path):
            return self._info(found[1], found[2])
        if found := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._file(found[2], found[3], asked)
        return 404, {}, b""

    def _info(self, repo, revision):
        if repo in self.moved:
            return 307, {"Location": f"/api/datasets/{self.moved[repo]}?blobs=True"}, b""
        if repo != self.repo:
            return 401, {"X-Error-Message": "Invalid username or password."}, b"{}"
        files = self.exported if revision == EXPORT else self.files
        if files is None:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        siblings = [{"rfilename": name, "size": len(content)} for name, content in files.items()]
        card = {"configs": self.configs} if self.configs else {}
        sha = "e" * 40 if revision == EXPORT else self.sha
        return 200, {}, json.dumps({"id": repo, "sha": sha, "siblings": siblings, "cardData": card}).encode()

    def _file(self, revision, name, asked):
        content = (self.exported if revision == "e" * 40 else self.files).get(name)
        if content is None or revision not in (self.sha, "e" * 40):
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        first, last = asked or (0, len(content) - 1)
        self.sent += len(content[first : last + 1])
        return 206, {"Content-Range": f"bytes {first}-{last}/{len(content)}"}, content[first : last + 1]

    def _handler(self):
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                path = unquote(urlsplit(self.path).path)
                hub.requests.append(path)
                found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
                status, headers, body = hub.answer(path, found and (int(found[1]), int(found[2])))
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        return Handler
