"""The smallest application that can be released: says its version, is never ready when that is 9.0."""

import http.server
import pathlib

VERSION = pathlib.Path("VERSION").read_text(encoding="ascii").strip()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers everything alike."""

    def do_GET(self) -> None:
        """Say the version."""
        body = VERSION.encode()
        self.send_response(503 if VERSION == "9.0" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Handler).serve_forever()
