"""``gatepass policy keygen`` and ``gatepass policy sign``: rules that only their signer can change.

Keys and signatures are minisign's: ``minisign -S -H -m MANIFEST`` signs as well, with a key under a password.
"""

import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.ending import stop, stop_for
from proxy.cli.rows import print_json
from proxy.policy import manifest
from proxy.policy.signature import (
    MAX_OCTETS,
    SecretKey,
    format_public_key,
    format_secret_key,
    format_signature,
    parse_secret_key,
)
from proxy.policy.signature import sign as signed
from proxy.problems import Problem
from proxy.store.private_file import KeyringError, publish, read_private, write_new
from proxy.store.rule_files import read_all, rules_of
from proxy.wiring_rules import load

KEY_FILE, PUBLIC_FILE = "gatepass-rules.key", "gatepass-rules.pub"
_SIGNS = ("agents.yaml", "policies", "services")

Json = Annotated[bool, typer.Option("--json", help="Print JSON lines.")]


def keygen(
    out: Annotated[Path, typer.Option(help="Directory for the two files of the key; not the rules'.")],
    json: Json = False,
) -> None:
    """Make a key that signs rules: a secret file for whoever signs, and a line for policy.signer.

    Whoever has the secret file can change the rules. Keep it away from the machines that gatepass runs on.

    Example: gatepass policy keygen --out ~/gatepass-keys
    """
    directory = out.expanduser().resolve()
    if home := _rules_above(directory):
        stop(
            f"{out} lies in the rules ({home}): whoever may read them could sign others; choose another --out"
        )
    key = SecretKey(secrets.token_bytes(8), secrets.token_bytes(32))
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_new(directory / KEY_FILE, format_secret_key(key))
        write_new(directory / PUBLIC_FILE, format_public_key(key.public), 0o644)
    except FileExistsError as error:
        stop(f"{error.filename} is there already; nothing was replaced, choose another --out")
    except OSError as error:
        stop(f"{error.filename} cannot be written: {error.strerror}")
    if json:
        print_json({"key": str(directory / KEY_FILE), "signer": key.public.text})
        return
    print(f"the secret key is {directory / KEY_FILE}; in gatepass.yaml:")
    print(f"policy:\n  signer: {key.public.text}")


def sign(
    key: Annotated[Path, typer.Option(help="The secret key, as `gatepass policy keygen` writes it.")],
    rules: Annotated[Path, typer.Option(help="Directory of the rules.")] = Path("rules"),
    json: Json = False,
) -> None:
    """Sign the rules: write MANIFEST, a list of every file, and MANIFEST.minisig, its signature.

    What cannot be loaded is not signed. Sign a copy and rename it into place: a sidecar that follows the
    directory complains of what is changed and not signed yet, and keeps the rules it has.

    Example: gatepass policy sign --rules rules --key ~/gatepass-keys/gatepass-rules.key
    """
    if not rules.is_dir():
        stop(f"there is no directory {rules}; name one with --rules")
    if rules.resolve() in key.resolve().parents:
        stop(f"{key} lies in what it is to sign; keep it elsewhere")
    secret = _secret(key)
    try:
        files = read_all(rules)
    except OSError as error:
        stop(f"{error.filename} cannot be read: {error.strerror}")
    text = _listed(rules, files)
    comment = f"timestamp:{int(time.time())}\tfile:{manifest.MANIFEST}\thashed"
    try:
        publish(rules / manifest.MANIFEST, text)
        publish(rules / manifest.SIGNATURE, format_signature(signed(text, secret, comment)))
    except KeyringError as error:
        stop(str(error))
    count = text.count(b"\n")
    if json:
        print_json({"rules": str(rules), "files": count, "signer": secret.public.text})
        return
    print(f"signed {count} files in {rules} with the key {secret.public.name}")


def _rules_above(directory: Path) -> Path | None:
    """The directory at or above this one that looks like one of rules."""
    for place in (directory, *directory.parents):
        if all((place / name).exists() for name in _SIGNS):
            return place
    return None


def _secret(path: Path) -> SecretKey:
    try:
        data = read_private(path)
    except KeyringError as error:
        stop(str(error))
    except OSError as error:
        stop(f"{path} cannot be read: {error.strerror}; `gatepass policy keygen` makes one")
    key = parse_secret_key(data[: MAX_OCTETS + 1])
    if isinstance(key, str):
        stop(f"{path}: {key}")
    return key


def _listed(rules: Path, files: Mapping[str, bytes]) -> bytes:
    """The list of files; exits 2 if they are no rules that load."""
    if not rules_of(files):
        stop(f"there are no rules in {rules}")
    loaded = load(rules_of(files))
    if isinstance(loaded, list):
        stop_for(Problem(str(rules / problem.file), problem.line, problem.message) for problem in loaded)
    try:
        return manifest.manifest(files)
    except ValueError as error:
        stop(str(error))
