"""The variables that make an agent's runtimes use the proxy, trust its CA and hold placeholders.

What each runtime reads was measured, not guessed: upper and lower case, because curl ignores
``HTTP_PROXY`` and others ignore ``http_proxy``; a bundle of the system's roots and our CA, because most
of these variables replace the roots instead of adding to them.
"""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

PROXY = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
NO_PROXY = ("NO_PROXY", "no_proxy")
JAVA = "JAVA_TOOL_OPTIONS"
NODE = "NODE_USE_ENV_PROXY"
POINTING = frozenset({*PROXY, JAVA})
"""The variables that say where the proxy is."""
BUNDLE = (
    "SSL_CERT_FILE",  # OpenSSL and what is built on it; Go on Linux
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "AWS_CA_BUNDLE",
    "HTTPLIB2_CA_CERTS",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "npm_config_cafile",
    "CARGO_HTTP_CAINFO",
    "DENO_CERT",
    "NIX_SSL_CERT_FILE",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
)


def proxy_url(host: str, port: int, token: str | None) -> str:
    """The URL that carries the session token as a password; every client understands it.

    Without a token it is that of a listener that carries the identity itself.
    """
    authority = f"[{host}]" if ":" in host else host
    identity = "" if token is None else f"task:{quote(token, safe='-._~')}@"
    return f"http://{identity}{authority}:{port}"


def variables(
    host: str,
    port: int,
    token: str | None,
    *,
    bundle: Path,
    truststore: Path | None,
    placeholders: Mapping[str, str],
) -> dict[str, str]:
    """Everything an agent's process needs, by variable. ``placeholders`` come last and win."""
    url = proxy_url(host, port, token)
    found = dict.fromkeys(PROXY, url)
    # Empty, not absent: an inherited NO_PROXY would lead calls around the sidecar.
    found |= dict.fromkeys(NO_PROXY, "")
    found |= dict.fromkeys(BUNDLE, str(bundle))
    found[NODE] = "1"  # Node's own fetch ignores the proxy variables without it
    if token is not None:
        found["GIT_HTTP_PROXY_AUTHMETHOD"] = "basic"  # saves Git a round trip that ends in 407
    found[JAVA] = " ".join(_java(host, port, token, truststore))
    return found | dict(placeholders)


def _java(host: str, port: int, token: str | None, truststore: Path | None) -> list[str]:
    """Java reads no proxy variables, and refuses Basic to a proxy until told otherwise."""
    options = ["-Dhttp.nonProxyHosts="]
    for scheme in ("http", "https"):
        options += [f"-D{scheme}.proxyHost={host}", f"-D{scheme}.proxyPort={port}"]
        if token is not None:
            options += [f"-D{scheme}.proxyUser=task", f"-D{scheme}.proxyPassword={token}"]
    if token is not None:
        options += [f"-Djdk.http.auth.{way}.disabledSchemes=" for way in ("tunneling", "proxying")]
    if truststore is not None:
        options += [
            f"-Djavax.net.ssl.trustStore={truststore}",
            "-Djavax.net.ssl.trustStoreType=PKCS12",
            "-Djavax.net.ssl.trustStorePassword=changeit",
        ]
    return options
