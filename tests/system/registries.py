"""Small package and repository servers, as handlers of the scripted upstream.

* ``git``: Git's own ``git http-backend`` over the Common Gateway Interface (RFC 3875);
* ``index``: Python packages (the simple repository API, PEP 503), one wheel built here;
* ``registry``: npm packages (a packument and its tarball for each name), built here.

``guarded`` asks for Basic credentials first, as a private server does.
"""

import asyncio
import base64
import gzip
import hashlib
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from tests.support.call import Call, Handler
from tests.support.wire import Header, response

_ZIP_TIME = (2020, 1, 1, 0, 0, 0)


def guarded(handler: Handler, user: str, password: str) -> Handler:
    """Ask for these Basic credentials before anything else (RFC 7617)."""
    expected = b"Basic " + base64.b64encode(f"{user}:{password}".encode())

    async def ask_first(call: Call) -> None:
        if call.received.head.get("authorization") == expected:
            return await handler(call)
        await call.take()
        ask: Header = (b"WWW-Authenticate", b'Basic realm="private"')
        return await call.send(response(401, b"who are you?", ask))

    return ask_first


# -- git --


def git(repositories: Path) -> Handler:
    """Serve the bare repositories below a directory; pushing is open."""

    async def serve(call: Call) -> None:
        got = call.received
        body = await call.body.read()
        got.complete = True
        if got.head.get("content-encoding") == b"gzip":
            body = gzip.decompress(body)
        path, _, query = got.target.partition("?")
        told = {
            "PATH": os.environ["PATH"],
            "HOME": str(repositories),
            "GIT_PROJECT_ROOT": str(repositories),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "2",
            "GIT_CONFIG_KEY_0": "http.receivepack",
            "GIT_CONFIG_VALUE_0": "true",
            "GIT_CONFIG_KEY_1": "safe.directory",
            "GIT_CONFIG_VALUE_1": "*",
            "REMOTE_USER": "tester",
            "REMOTE_ADDR": "127.0.0.1",
            "REQUEST_METHOD": got.method,
            "PATH_INFO": unquote(path),
            "QUERY_STRING": query,
            "CONTENT_TYPE": (got.head.get("content-type") or b"").decode(),
            "CONTENT_LENGTH": str(len(body)),
            "GIT_PROTOCOL": (got.head.get("git-protocol") or b"").decode(),
        }
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            "git", "http-backend", env=told, stdin=pipe, stdout=pipe, stderr=pipe
        )
        out, err = await process.communicate(body)
        assert process.returncode == 0, err.decode()
        await call.send(_of_cgi(out))

    return serve


def _of_cgi(out: bytes) -> bytes:
    head, _, body = out.partition(b"\r\n\r\n")
    fields = [
        (name, value.strip()) for name, _, value in (line.partition(b":") for line in head.split(b"\r\n"))
    ]
    status = int(next((value.split()[0] for name, value in fields if name.lower() == b"status"), b"200"))
    return response(status, body, *((name, value) for name, value in fields if name.lower() != b"status"))


# -- Python packages --


def wheel(name: str, module: str) -> bytes:
    """A wheel of version 1.0 with one module (the binary distribution format, PEP 427)."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": module,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path, _ZIP_TIME), text)
    return out.getvalue()


def index(name: str, module: str) -> Handler:
    """The index of one package, under ``/simple/``."""
    data, file = wheel(name, module), f"{name}-1.0-py3-none-any.whl"
    digest = hashlib.sha256(data).hexdigest()
    page = f'<!DOCTYPE html><html><body><a href="/files/{file}#sha256={digest}">{file}</a></body></html>'
    html: Header = (b"Content-Type", b"text/html")
    pages = {
        f"/simple/{name}/": response(200, page.encode(), html),
        f"/files/{file}": response(200, data, (b"Content-Type", b"application/octet-stream")),
    }
    return _pages(pages)


# -- npm packages --


def registry(base: str, names: Mapping[str, str]) -> Handler:
    """The packages ``names`` (name to the text of ``index.js``), each of version 1.0.0, at ``base``."""
    pages = {}
    for name, script in names.items():
        data = _tarball(name, script)
        file = f"/{name}/-/{name.rpartition('/')[2]}-1.0.0.tgz"
        integrity = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
        version = {
            "name": name,
            "version": "1.0.0",
            "dist": {"tarball": base + file, "integrity": integrity},
        }
        packument = {"name": name, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
        found = response(200, json.dumps(packument).encode(), (b"Content-Type", b"application/json"))
        pages |= {f"/{name}": found, file: response(200, data)}
    return _pages(pages)


def _tarball(name: str, script: str) -> bytes:
    out = io.BytesIO()
    package = json.dumps({"name": name, "version": "1.0.0", "main": "index.js"})
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path, text in {"package.json": package, "index.js": script}.items():
            entry = tarfile.TarInfo(f"package/{path}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return gzip.compress(out.getvalue(), mtime=0)  # the same octets each time, because they are promised


def _pages(pages: Mapping[str, bytes]) -> Handler:
    async def serve(call: Call) -> None:
        await call.take()
        await call.send(pages.get(unquote(call.received.path), response(404, b"{}")))

    return serve
