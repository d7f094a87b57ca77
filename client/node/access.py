# SPDX-License-Identifier: Apache-2.0
"""What the training code may reach on a contributor's machine: from the options of `join` to the rules of its sandbox.

The sandbox itself is `folkmoot.sandbox`. This module reads files only to find keys among them, and is not part of the
app bundle.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import folkmoot
from client.signer.record import OLD_FILE, RECORD_FILE, SignedRounds
from folkmoot.errors import InputError
from folkmoot.flower.contributor import CONTRIBUTOR_FILE, UPDATES_FOLDER, Contributor
from folkmoot.privacy.accountant import CONTENT, epsilon_of
from folkmoot.privacy.settings import WARNING, PrivacySettings, check_matches_policy
from folkmoot.protocol.budget import UNITS_OF_RHO
from folkmoot.protocol.commitment import NO_BUNDLE
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.policy import Policy
from folkmoot.sandbox.kernel import support
from folkmoot.sandbox.rules import (
    DISK,
    PROCESSES,
    SYSTEM,
    VARIABLES,
    Rules,
    half_of_memory,
    python_paths,
    real,
    without,
)
from folkmoot.tasks import SHIPPED

PACKAGES = ("folkmoot", "client", "server")
"""Our packages: an app that is anchored by two lines imports them."""

CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""Variables of `VARIABLES` that name files: without these files no connection over TLS is made."""

SECRET_VARIABLES = frozenset({"FOLKMOOT_PASSWORD"})
"""Environment variables that the training code never gets."""

RECORD_FILES = frozenset({RECORD_FILE, OLD_FILE})
"""Files of the signing record."""

KEY_BYTES = 1 << 16
"""Size of the largest file that is looked at as a possible key file."""

_PEM = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")


@dataclass(frozen=True)
class Access:
    """What a contributor lets the training code do, beside what every node needs."""

    data: tuple[Path, ...] = ()
    """Files and folders that it may read."""
    writable: tuple[Path, ...] = ()
    """Folders that it may also write."""
    environment: tuple[str, ...] = ()
    """Names of environment variables that it gets, beside `VARIABLES`."""
    secrets: tuple[Path, ...] = ()
    """Files that it must not see: key files and passwords."""
    bundle: str = ""
    """SHA-256 of the only bundle that may run, in hexadecimal; empty for any."""
    voted: bool = False
    """Whether the current policy names that bundle."""
    sandbox: bool = True
    """Whether its processes are sandboxed."""
    memory: int = 0
    """Limit of its memory in bytes; 0 for half of the machine's."""
    disk: int = DISK
    """Limit of the files that it writes in bytes."""

    def with_config(self, config: Mapping[str, Any]) -> Access:
        """Return the access with the paths in a node's configuration as data: its owner named them for the code."""
        texts = [value for value in config.values() if isinstance(value, str) and "/" in value]
        named = (Path(text) for text in texts if _exists(text))
        return replace(self, data=tuple(dict.fromkeys((*self.data, *named))))


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # No path: too long, or with a null character.
        return False


def parse_limit(gigabytes: float) -> int:
    """Return a limit in bytes."""
    if not math.isfinite(gigabytes):
        raise InputError(f"{gigabytes} is no limit.", remedy="Give a number of gigabytes.", code="bad-limit")
    return int(gigabytes * 1e9)


def check_options(access: Access) -> None:
    """Check the limits and the variables of an access.

    Raises:
        InputError: A limit or a variable can't be used.
    """
    if access.memory < 0 or access.disk <= 0:
        raise InputError(
            "A limit of the training code is too small.",
            remedy="Give --set limit-memory=0 (half of the memory) or more, and --set limit-disk=GB with more than 0.",
            code="bad-limit",
        )
    for name in access.environment:
        if name in SECRET_VARIABLES:
            raise InputError(
                f"The variable {name} holds a secret, which the training code must not get.",
                remedy=f"Leave out --set pass-env={name}.",
                code="secret-variable",
            )


def check_direct(urls: Sequence[str]) -> None:
    """Check that the RPC endpoints are reached without a proxy, which the sandbox has no connection to.

    Raises:
        InputError: The environment names a proxy for one of them.
    """
    proxies = getproxies()
    for url in urls:
        parts = urlsplit(url)
        host = parts.hostname
        if host and (proxies.get(parts.scheme) or proxies.get("all")) and not proxy_bypass(host):
            raise InputError(
                f"The RPC endpoint at {host} is behind a proxy, which the training code can't use in its sandbox.",
                remedy=f"Add {host} to NO_PROXY, if it can be reached without the proxy. Else give --rpc a forwarder "
                "on this machine.",
                code="rpc-behind-proxy",
            )


def check_apart(home: Path, access: Access, code: Sequence[Path] = ()) -> None:
    """Check that what is readable, the node's folder and secrets are apart, and that the data exists.

    Args:
        home: The node's folder.
        access: What the training code gets.
        code: Folders with code that runs without a sandbox, beside Python's path: the app of `join`.

    Raises:
        InputError: They are not, data is missing, or code that runs without a sandbox could be written.
    """
    (home,) = real([home])
    secret = [
        (home, "the node's folder", "give another --home"),
        *((path, "the key or password file", "move that file") for path in real(access.secrets)),
    ]
    for path in [*real([*SYSTEM, *python_paths()]), *_certificates()]:
        for hidden, what, remedy in secret:
            if hidden.is_relative_to(path):
                raise InputError(
                    f"The training code may read {path}, a part of the system or named by "
                    f"SSL_CERT_FILE or SSL_CERT_DIR, and that contains {what} {hidden}.",
                    remedy=f"{remedy[0].upper()}{remedy[1:]}.",
                    code="home-in-system",
                )
    for path in real([*access.data, *access.writable]):
        if not path.exists():
            raise InputError(
                f"There is no {path}, which the training code is to read.",
                remedy="Correct --data or --writable.",
                code="no-data",
            )
        if path.is_relative_to(home):
            raise InputError(
                f"The data {path} is inside the node's folder {home}, which the training code must not read.",
                remedy="Move the data to a folder of its own, or give another --home.",
                code="data-in-home",
            )
        for hidden, what, remedy in secret:
            if hidden.is_relative_to(path):
                raise InputError(
                    f"The data {path} contains {what} {hidden}, which the training code must not read.",
                    remedy=f"Give --data only the folder with the data, or {remedy}.",
                    code="home-in-data",
                )
    for path in real(access.writable):
        _check_writable(path, code)


def _check_writable(path: Path, code: Sequence[Path]) -> None:
    """Check that what the training code writes to a folder is never run outside of the sandbox."""
    if not path.is_dir():
        raise InputError(f"{path} is no folder.", remedy="Give --writable a folder.", code="writable-file")
    root = Path(folkmoot.__file__).parent.parent
    searched = real(
        [Path.cwd(), *sys.path, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    )
    for place in real([*SYSTEM, *python_paths(), root, *code]):
        if place.is_relative_to(path) or path.is_relative_to(place):
            raise _writable_code(path, place)
    for place in searched:
        if place.is_relative_to(path):
            raise _writable_code(path, place)
        if path.is_relative_to(place) and _is_module(path.relative_to(place).parts[0]):
            raise _writable_code(path, place)


def _is_module(name: str) -> bool:
    """Return whether `import` finds a module of that name, which is not just a folder without code."""
    if name in PACKAGES or name in sys.stdlib_module_names:
        return True
    try:
        spec = importlib.util.find_spec(name) if name.isidentifier() else None
    except ValueError:  # A module without a spec.
        return True
    return spec is not None and spec.origin is not None


def _writable_code(path: Path, place: Path) -> InputError:
    return InputError(
        f"The training code would write to {path}, and code at {place} runs without a sandbox.",
        remedy="Give --writable a folder of its own, outside of the folders of Python, of PYTHONPATH and of your code.",
        code="writable-code",
    )


def _certificates() -> list[Path]:
    """Return the files and folders of the environment's own certificates."""
    texts = [text for name in CERTIFICATES for text in os.environ.get(name, "").split(os.pathsep) if text]
    return real(texts)


def _secrets_in(folder: Path) -> list[Path]:
    """Return the key files in a folder, and the folders with a signing record."""
    installed = {path for path in real(python_paths()) if path != folder}
    secrets: list[Path] = []
    for place, folders, files in os.walk(folder):
        directory = Path(place)
        if records := RECORD_FILES.intersection(files):
            # A task beside a record must stay readable.
            secrets += [directory / name for name in sorted(records)] if directory == folder else [directory]
        secrets += [directory / name for name in files if _is_key(directory / name)]
        folders[:] = [name for name in folders if directory / name not in installed]
    return secrets


def _is_key(path: Path) -> bool:
    """Return whether a file is a key file, in the form of Ethereum's or of PEM. One that can't be read counts too."""
    try:
        facts = path.lstat()
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > KEY_BYTES:
            return False
        content = path.read_bytes()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    if _PEM.search(content) is not None:
        return True
    if b"crypto" not in content.lower():
        return False
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and "crypto" in {name.lower() for name in document}


def memory_limit(access: Access) -> int | None:
    """Return the limit of the training code's memory in bytes; None without a sandbox."""
    return access.memory or half_of_memory() if access.sandbox else None


def rules_of(contributor: Contributor, access: Access) -> Rules:
    """Return the rules for a contributor's training code."""
    home = contributor.home
    root = Path(folkmoot.__file__).resolve().parent.parent
    code = _code_of(contributor.task)
    hidden = [*real([home, *access.secrets]), *(path for folder in code for path in _secrets_in(folder))]
    readable = [
        *(root / name for name in PACKAGES),
        *(path for folder in code for path in without(folder, hidden)),
        *real(access.data),
        *_certificates(),
        home / CONTRIBUTOR_FILE,
    ]
    return Rules(
        readable=tuple(str(path) for path in readable),
        listable=tuple(str(path) for path in (root, *code)),
        writable=tuple(str(path) for path in (home / UPDATES_FOLDER, *real(access.writable))),
        hosts=tuple(_end_of(url) for url in contributor.rpc.split(",") if urlsplit(url).hostname),
        sockets=(str(contributor.socket.resolve()), str(contributor.keeper.resolve())),
        memory=access.memory or half_of_memory(),
        disk=access.disk,
        processes=PROCESSES,
    )


def _code_of(task: str) -> list[Path]:
    """Return the folder of a task's own module; an empty list for shipped tasks, apps, and installed packages."""
    name = task.partition(":")[0].partition(".")[0]
    if task in SHIPPED or ":" not in task:
        return []
    spec = importlib.util.find_spec(name)
    if spec is None or not (spec.origin or spec.submodule_search_locations):
        return []
    places = list(spec.submodule_search_locations or [str(Path(str(spec.origin)).parent)])
    installed = real([*python_paths(), Path(folkmoot.__file__).parent])
    return [place for place in real(places) if not any(place.is_relative_to(folder) for folder in installed)]


def _end_of(url: str) -> tuple[str, int]:
    """Return host and port of a URL."""
    parts = urlsplit(url)
    return str(parts.hostname), parts.port or (443 if parts.scheme == "https" else 80)


def pinned(access: Access, voted: bytes) -> Access:
    """Return the access with the bundle that the current policy names, if it names one.

    Args:
        access: What the node's owner grants.
        voted: The policy's ``bundleHash``; zero for any.

    Raises:
        InputError: The owner admits another bundle only (``wrong-bundle``).
    """
    if voted == NO_BUNDLE:
        return access
    if access.bundle and access.bundle != voted.hex():
        raise InputError(
            f"The policy names the bundle {voted.hex()}, and the setting bundle admits only {access.bundle}.",
            remedy="Read the bundle that the voters chose. To accept it, leave out the setting bundle or give its "
            "hash.",
            code="wrong-bundle",
        )
    return replace(access, bundle=voted.hex(), voted=True)


def privacy_of(manifest: Manifest, policy: Policy, spent: int, own: SignedRounds | None = None) -> str:
    """Return what taking part says of one's records, for the screen of `join`.

    Args:
        manifest: The federation's.
        policy: The current policy.
        spent: Privacy budget that the account has spent by the ledger, in units of 2^-32 rho.
        own: What the signing record says; None if nothing was read of it.

    Raises:
        InputError: The policy does not have the noise that the manifest declares (``wrong-privacy``), or the account
            has spent its budget (``budget-spent``).
    """
    settings = PrivacySettings.of(manifest.training)
    check_matches_policy(settings, noise1024=policy.noise1024, steps=policy.steps)
    if settings is None:
        return f"none. {WARNING}"

    left = policy.rounds_left(spent)
    if not left:
        raise InputError(
            "The account has spent its privacy budget under the current policy, so no round takes an update of it.",
            remedy="Run `folkmoot leave`: while it is enrolled, each round waits for it until its window ends.",
            code="budget-spent",
        )

    def epsilon(units: int, records: int = 1) -> str:
        return f"{epsilon_of(units / UNITS_OF_RHO, settings.delta, records):.2f}" if units else "0"

    own = own or SignedRounds()
    cap = policy.privacy_cap if own.cap is None else own.cap
    left = max(0, min(left, (cap - max(own.spent, spent)) // policy.cost))
    limit = (
        f"spends at most epsilon {epsilon(cap)}, which no vote raises (`folkmoot signer record --cap`)"
        if own.cap is not None
        else "has no cap of its own (`folkmoot signer record --cap`)"
    )
    return (
        f"epsilon {epsilon(policy.privacy_cap)} at delta {settings.delta:g} by the policy for whether a record is "
        f"there, {epsilon(policy.privacy_cap, CONTENT)} for what the record of someone known to be there says; spent "
        f"{epsilon(spent)} by the ledger, {epsilon(own.spent)} by the signer, which also counts trainings that the "
        f"ledger never saw; {left} rounds are left. The signer {limit}"
    )


def training_environment(base: Mapping[str, str], names: Sequence[str] = ()) -> dict[str, str]:
    """Return the environment of the processes that run training code: `VARIABLES`, those of `names`, and locales."""
    return {
        name: value
        for name, value in base.items()
        if name in VARIABLES or name in names or name.startswith("LC_")
    }


def described(
    rules: Rules | None, access: Access, signer: Path | None = None, privacy: str = ""
) -> list[str]:
    """Return what the training code may see and do, one line for each matter.

    Args:
        rules: Rules of its sandbox; None without one.
        access: What its owner grants it.
        signer: Socket of a signer that is another process.
        privacy: What `privacy_of` says.
    """
    budget = [f"  Privacy     {privacy}"] if privacy else []
    bundle = (
        f"only {access.bundle}{', which the voters chose' if access.voted else ''}"
        if access.bundle
        else "any that the coordinator sends (--set bundle=HASH admits one)"
    )
    variables = ", ".join(access.environment) or "none of yours"
    if rules is None:
        return [
            "WITHOUT A SANDBOX the coordinator's code can do on this machine all that your account can:",
            "  read your files, keys and passwords, write and delete files, and connect to any address.",
            f"  Bundle      {bundle}",
            f"  Environment {variables}",
            *budget,
        ]
    data = ", ".join(map(str, real(access.data))) or "none (--data FOLDER)"
    signing = rules.sockets[0] if signer is None else str(signer.resolve())
    updates, *writable = rules.writable
    hosts = ", ".join(f"{host}:{port}" for host, port in rules.hosts)
    signals = (
        []
        if support().signals
        else ["  Signals     it can end other programs of your account: this kernel is older than Linux 6.12"]
    )
    return [
        "What the coordinator's code may do on this machine, in a sandbox:",
        f"  Bundle      {bundle}",
        f"  Data        read: {data}",
        *([f"  Own code    read: {', '.join(rules.listable[1:])}"] if rules.listable[1:] else []),
        "  Other files read: system libraries, Python and its packages; neither your home folder, nor the node's key",
        f"  Write       a temporary folder, its unpacked bundle, its own memory, {', '.join([updates, *writable])}",
        f"  Network     the node's SuperNode, and {hosts or 'nothing else'}; no other address, no UDP, no open port",
        f"  Signing     it can ask the signer for a signature of one update a round ({signing})",
        "  Files       it can ask the keeper for the base of a round, and to send its signed update to the coordinator",
        f"  Limits      {rules.memory / 1e9:.1f} GB of memory, {rules.disk / 1e9:.1f} GB of files, "
        f"{rules.processes} processes",
        f"  Environment {variables}",
        *signals,
        *budget,
    ]


def hidden_of(paths: Sequence[Path | None]) -> tuple[Path, ...]:
    """Return the paths that are given, as secrets."""
    return tuple(Path(path).resolve() for path in paths if path is not None)
