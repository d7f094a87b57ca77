# SPDX-License-Identifier: Apache-2.0
"""`folkmoot superlink`: what the operator of a SuperLink needs beside Flower's own programs.

Certificates for its TLS, and the list of nodes that it admits. The SuperLink itself is Flower's `flower-superlink`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from folkmoot.cli.context import context
from folkmoot.cli.output import emit
from folkmoot.errors import InputError, LocalError

RENEW_DAYS = 30
"""Days before its end from which a certificate is replaced."""


def superlink(
    certificate: Annotated[
        list[str] | None,
        typer.Option(
            "--certificate",
            metavar="NAME",
            help="Make a certificate for a SuperLink with this host name or IP address. Repeat it for more.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the four files.")] = Path("tls"),
    days: Annotated[int, typer.Option(min=1, max=3650, help="Days for which the certificate is good.")] = 397,
    admit: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE_OR_DIR",
            help="Let the Control API at --superlink know the public keys of nodes, or folders with files *.pub.",
        ),
    ] = None,
) -> None:
    """Make certificates for a SuperLink, and admit nodes to one with --enable-supernode-auth.

    A certificate and the authority that signs it are made unless good ones are there. Run it again to renew: a
    certificate with less than thirty days left, or for other names, is replaced, the authority stays. ca.pem goes to
    contributors; ca.key and server.key go to nobody. For a SuperLink whose name a public authority signs (Let's Encrypt
    and the like), use its certificate instead.

    Keys that the SuperLink knows are passed over. Whoever reaches the Control API can admit nodes too, and can start
    programs on the SuperLink: keep it from the public (docs/operators.md).

    Example: folkmoot superlink --certificate moot.example --out tls/

    Example: folkmoot superlink --admit alice.pub --superlink localhost:8000 --root-certificates tls/ca.pem
    """
    if bool(certificate) == bool(admit):
        raise typer.BadParameter("give --certificate or --admit")
    if certificate:
        _certificate(certificate, out, days)
    else:
        _admit(admit or [])


def _certificate(name: list[str], out: Path, days: int) -> None:
    from datetime import UTC, datetime, timedelta

    from folkmoot.runtime.certificates import Authority, names_of

    # Flower's own parts connect to this machine.
    names = list(dict.fromkeys([*name, "localhost", "127.0.0.1"]))
    files = [out / file for file in ("ca.pem", "ca.key", "server.pem", "server.key")]
    authority_file, authority_key, server_file, server_key = files
    try:
        out.mkdir(parents=True, exist_ok=True)
        if authority_file.exists():
            authority = Authority.load(authority_file, authority_key)
        else:  # with a key alone, this was interrupted
            key = authority_key if authority_key.exists() else None
            authority = Authority.create(f"Folkmoot: {names[0]}", key=key)
            authority.save(authority_file, authority_key)
        soon = datetime.now(UTC) + timedelta(days=min(RENEW_DAYS, days / 2))
        made = not server_key.exists() or not authority.vouches_for(server_file, names, soon)
        if made:
            authority.issue(*names, days=days).save(server_file, server_key)
        kept, end = names_of(server_file)
    except OSError as error:
        raise LocalError(
            f"The folder {out} can't be used: {error.strerror}.",
            remedy="Give another one with --out.",
            code="folder",
        ) from error
    emit(
        {"folder": str(out), "names": kept, "made": made, "notAfter": end.isoformat()},
        f"{'Made' if made else 'Kept'} {server_file} for {', '.join(kept)}; it is good until {end:%Y-%m-%d}.",
        f"Contributors need {authority_file}: folkmoot join --root-certificates ca.pem ...",
    )


def _admit(key: list[Path]) -> None:
    from folkmoot.runtime.superlink import SuperLink
    from server.relay.flower_run import register_node

    address = context().need("superlink")
    where = SuperLink(address, context().find("root-certificates"))
    files = [file for path in key for file in (sorted(path.rglob("*.pub")) if path.is_dir() else [path])]
    if not files:
        raise InputError(
            "There is no file *.pub to admit.",
            remedy="Name the files that contributors sent you.",
            code="node-key",
        )
    where.check()
    new = [file for file in files if register_node(where, file)]
    emit(
        {"superlink": address, "keys": len(files), "new": [str(file) for file in new]},
        f"{address} admits {len(files)} nodes, {len(new)} of them new.",
    )
