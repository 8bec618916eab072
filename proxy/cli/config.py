"""``gatepass.yaml``: found, read, checked; relative paths in it are relative to the file."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from proxy.cli.state import state_dir
from proxy.problems import Problem, load_yaml, problems_of
from proxy.settings import IdentitySettings, Listen, ListenTls, PolicySettings, Settings

CONFIG_NAME = "gatepass.yaml"


@dataclass(frozen=True, slots=True)
class Config:
    """Settings with their paths resolved. ``rules`` and ``roots`` are None where there are none.

    Files that ``identity``, ``listen`` and ``policy`` name are absolute in ``settings`` itself.
    """

    settings: Settings
    state: Path
    rules: Path | None
    roots: Path | None
    file: Path | None


def load_config(
    file: Path | None, *, state: Path | None = None, rules: Path | None = None
) -> Config | list[Problem]:
    """The configuration in ``file``, else in ``./gatepass.yaml`` if there is one, else the defaults.

    ``state`` and ``rules`` are what the command line says; they win.
    """
    if file is None and Path(CONFIG_NAME).is_file():
        file = Path(CONFIG_NAME)
    settings = Settings() if file is None else _read(file)
    if isinstance(settings, list):
        return settings
    base = Path() if file is None else file.parent
    return Config(
        settings=_resolved(settings, base),
        # absolute, because agents are given paths under it and may change their directory
        state=(
            state or (base / Path(settings.state).expanduser() if settings.state else state_dir())
        ).absolute(),
        rules=_directory(rules, base, settings.rules),
        roots=_directory(None, base, settings.upstream.roots or "certs/upstream"),
        file=file,
    )


def missing(config: Config) -> Problem | None:
    """What is configured by name and not there: rules and roots whose absence must not pass for none."""
    if config.rules is not None and not config.rules.is_dir():
        return Problem(str(config.rules), None, "there is no such directory; `gatepass init` writes rules")
    where = str(config.file)
    settings = config.settings
    if config.rules is None and "rules" in settings.model_fields_set:
        words = f"rules: there is no directory {settings.rules}; `gatepass init` writes one"
        return Problem(where, None, words)
    if config.roots is None and settings.upstream.roots is not None:
        return Problem(where, None, f"upstream.roots: there is no directory {settings.upstream.roots}")
    return None


def where(listener: Listen) -> str:
    """Where a listener is to be, for people."""
    if listener.unix is not None:
        return f"unix:{listener.unix}"
    return listener.address if listener.tls is None else f"https://{listener.address}"


def _resolved(settings: Settings, base: Path) -> Settings:
    """The settings with every file that they name taken from the directory of ``gatepass.yaml``."""
    listen = tuple(_resolved_listener(listener, base) for listener in settings.listen)
    identity = _resolved_identity(settings.identity, base)
    policy = _resolved_policy(settings.policy, base)
    return settings.model_copy(update={"listen": listen, "identity": identity, "policy": policy})


def _resolved_policy(policy: PolicySettings, base: Path) -> PolicySettings:
    engine = policy.engine
    if engine is not None:
        engine = engine.model_copy(update={"token": _path(base, engine.token)})
    return policy.model_copy(update={"shadow": _path(base, policy.shadow), "engine": engine})


def _resolved_identity(identity: IdentitySettings, base: Path) -> IdentitySettings:
    issuers = tuple(
        issuer.model_copy(update={"keys": _path(base, issuer.keys)}) for issuer in identity.issuers
    )
    domains = tuple(
        domain.model_copy(update={"bundle": _path(base, domain.bundle)}) for domain in identity.trust_domains
    )
    revocations = _path(base, identity.revocations)
    return identity.model_copy(
        update={"issuers": issuers, "trust_domains": domains, "revocations": revocations}
    )


def _resolved_listener(listener: Listen, base: Path) -> Listen:
    tls = None if listener.tls is None else _resolved_tls(listener.tls, base)
    return listener.model_copy(update={"unix": _path(base, listener.unix), "tls": tls})


def _resolved_tls(tls: ListenTls, base: Path) -> ListenTls:
    files = {"certificate": tls.certificate, "key": tls.key, "crl": tls.crl}
    return tls.model_copy(update={name: _path(base, file) for name, file in files.items()})


def _path(base: Path, written: str | None) -> str | None:
    return None if written is None else str((base / Path(written).expanduser()).absolute())


def _directory(chosen: Path | None, base: Path, configured: str) -> Path | None:
    if chosen is not None:
        return chosen
    directory = (base / Path(configured).expanduser()).absolute()
    return directory if directory.is_dir() else None


def _read(file: Path) -> Settings | list[Problem]:
    try:
        data = file.read_bytes()
    except OSError as error:
        return [Problem(str(file), None, f"cannot be read: {error.strerror}; `gatepass init` writes one")]
    loaded = load_yaml(data, str(file))
    if isinstance(loaded, list):
        return loaded
    try:
        return Settings.model_validate(loaded.data or {})
    except ValidationError as error:
        return problems_of(error, loaded)
