"""``gatepass ca``: the certificate that clients have to trust."""

from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.hashes import SHA256

from proxy.cli.config import load_config
from proxy.cli.ending import stop, stop_for
from proxy.cli.rows import print_json
from proxy.store.keyring import Keyring, KeyringError, system_roots
from proxy.store.private_file import publish

app = typer.Typer(help="The CA that signs for intercepted hosts.", no_args_is_help=True)


@app.callback()
def ca() -> None:
    """The CA that signs for intercepted hosts."""


@app.command()
def export(
    out: Annotated[Path | None, typer.Option("--out", help="Write to this file instead of printing.")] = None,
    bundle: Annotated[
        bool, typer.Option("--bundle", help="The system's roots too, for clients that replace theirs.")
    ] = False,
    config: Annotated[Path | None, typer.Option(help="The configuration; default ./gatepass.yaml.")] = None,
    state: Annotated[Path | None, typer.Option(help="Directory of keys, tasks and log.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print the CA's certificate (PEM), making the CA if there is none yet. Its key never leaves.

    Example: gatepass ca export --bundle --out ca-bundle.pem
    """
    loaded = load_config(config, state=state)
    if isinstance(loaded, list):
        stop_for(loaded)
    try:
        keyring = Keyring.open(loaded.state)
        pem = keyring.bundle(system_roots()) if bundle else keyring.ca_pem
        if out is not None:
            publish(out, pem)
    except KeyringError as error:
        stop(str(error))
    except OSError as error:
        stop(f"the system's roots cannot be read: {error.strerror}; leave out --bundle")
    if json:
        print_json(
            {
                "subject": keyring.ca_cert.subject.rfc4514_string(),
                "not_after": f"{keyring.ca_cert.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
                "sha256": keyring.ca_cert.fingerprint(SHA256()).hex(),
                "file": None if out is None else str(out),
                "pem": pem.decode(),
            }
        )
    elif out is None:
        print(pem.decode(), end="")
