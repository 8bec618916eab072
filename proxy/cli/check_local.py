"""Whether rules, keys, roots, credentials and clock of this machine are in order."""

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning

from proxy.cli.config import Config, missing
from proxy.cli.finding import Finding, fail, ok, warn
from proxy.cli.rules import source_of
from proxy.policy.catalogue import Service
from proxy.problems import Problem
from proxy.store.keyring import KeyExposed, Keyring, KeyringError, system_roots
from proxy.wiring import Rules, load
from proxy.wiring_rules import read

_SANE = (datetime(2025, 1, 1, tzinfo=UTC).timestamp(), datetime(2100, 1, 1, tzinfo=UTC).timestamp())
_STEP_NS = 100_000_000
_SOON = timedelta(days=30)


def check_rules(config: Config) -> tuple[Rules | None, list[Finding]]:
    """The rules if they can be used, and what there is to say about them."""
    gone = missing(config)
    if gone is not None:
        return None, [fail("rules", str(gone), "gatepass init writes both")]
    source = source_of(config)
    if isinstance(source, Problem):
        return None, [fail("rules", str(source), "correct it")]
    try:
        files = None if source is None else read(source)
    except OSError as error:
        words = f"{error.filename} cannot be read: {error.strerror}"
        return None, [fail("rules", words, "make it readable for gatepass")]
    if isinstance(files, list):
        return None, [fail("rules", str(problem), "gatepass policy sign") for problem in files]
    rules = load(files.rules, files.signed) if files is not None and files.any else load(None)
    if isinstance(rules, list):
        return None, [fail("rules", str(problem), "gatepass policy check") for problem in rules]
    if rules.ruleset is None:
        words = "none: `run` only observes, `serve` does not start without --observe"
        return rules, [warn("rules", words, "gatepass init writes some")]
    counts = f"{len(rules.registry)} agents, {len(rules.ruleset.catalogue.services)} services"
    if not len(rules.registry):
        return rules, [warn("rules", f"{counts}: nobody may call", "register an agent in rules/agents.yaml")]
    return rules, [ok("rules", f"{counts}, {len(rules.ruleset.policies)} policies")]


def check_keys(state: Path) -> tuple[Keyring | None, Finding]:
    """The keys if there are any that may be used. None are made."""
    try:
        if not (state / "keys").exists():
            return None, ok("keys", f"none yet under {state}; the first start makes them")
        keyring = Keyring.open(state)
    except OSError as error:
        words = f"{error.filename} cannot be read: {error.strerror}"
        return None, fail("keys", words, f"run gatepass as the user who owns {state}")
    except KeyExposed as error:
        return None, fail("keys", str(error), f"move {state / 'keys'} away and restart: new keys are made")
    except KeyringError as error:
        return None, fail("keys", str(error), f"restore {state / 'keys'} from a backup")
    end = keyring.ca_cert.not_valid_after_utc
    words = f"private; the CA is valid until {end:%Y-%m-%d}"
    left = end - datetime.now(UTC)
    if left < timedelta():
        return keyring, fail("keys", "the CA has expired", f"move {state / 'keys'} away and restart")
    return keyring, warn("keys", words, "plan a new CA") if left < _SOON else ok("keys", words)


def check_roots(directory: Path | None) -> Iterator[Finding]:
    """The certificates that upstream servers are verified with: the system's and the operator's."""
    try:
        count = system_roots().count(b"-----BEGIN CERTIFICATE-----")
    except OSError as error:
        yield fail("roots", f"the system's cannot be read: {error.strerror}", "install ca-certificates")
        return
    if count:
        yield ok("roots", f"{count} of the system")
    else:
        yield fail("roots", "the system has none", "install ca-certificates")
    for path in sorted(directory.glob("*.pem")) if directory is not None else ():
        yield _root(path)


def _root(path: Path) -> Finding:
    what = f"roots {path.name}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            found = x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        return fail(what, f"cannot be read: {error.strerror}", "make it readable for gatepass")
    except ValueError:
        return fail(what, "holds no certificate", f"remove {path}, or put a PEM certificate there")
    end = min(certificate.not_valid_after_utc for certificate in found)
    left, words = end - datetime.now(UTC), f"valid until {end:%Y-%m-%d}"
    if left < timedelta():
        return fail(what, f"expired on {end:%Y-%m-%d}", f"replace {path}")
    return warn(what, words, f"replace {path} before then") if left < _SOON else ok(what, words)


def check_credentials(services: Sequence[Service], environment: Mapping[str, str]) -> Iterator[Finding]:
    """Whether gatepass has what the agents hold placeholders for. No value is looked at."""
    for service in services:
        binding = service.credential
        if binding is None:
            continue
        what = f"credential {service.name}"
        if binding.provider == "env":
            if environment.get(binding.name):
                yield ok(what, f"{binding.name} is set")
            else:
                yield warn(
                    what, f"{binding.name} is not set here", f"set {binding.name} where gatepass starts"
                )
        elif os.access(binding.name, os.R_OK):
            yield ok(what, f"{binding.name} can be read")
        else:
            yield warn(what, f"{binding.name} cannot be read", "make it readable for gatepass")


def check_clock(wall_ns: tuple[int, int], mono_ns: tuple[int, int]) -> Finding:
    """Whether the wall clock is plausible and runs like the monotonic one; two readings of each, in order."""
    now = wall_ns[1] / 1e9
    if not _SANE[0] < now < _SANE[1]:
        return fail("clock", f"it says {now:.0f} s since 1970", "set the clock (NTP)")
    step = (wall_ns[1] - wall_ns[0]) - (mono_ns[1] - mono_ns[0])
    if abs(step) > _STEP_NS:
        return warn("clock", f"it was set by {step / 1e9:+.1f} s during this check", "let NTP slew it")
    return ok("clock", f"{datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H:%M:%SZ}, steady")
