# SPDX-License-Identifier: Apache-2.0
"""The coordinator of the comparison with its chain: real contracts on Anvil, and `folkmoot coordinator serve`.

    python -m benchmarks.links.served FOLDER MODEL WIDTH CONTRIBUTORS ROUNDS

Both listen on all addresses of the network namespace. Writes a line of JSON with their ports. The first line on
standard input starts the rounds, and its end ends everything.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.growth.federation import account, deployed, home_of, serving
from benchmarks.links.models import begun
from folkmoot.devnet.anvil import Anvil
from folkmoot.runtime.processes import Supervisor

EVERYWHERE = "0.0.0.0"  # noqa: S104 - in a namespace of its own


def main() -> None:
    """Serve until the input ends."""
    place, model, width, contributors, rounds = sys.argv[1:]
    folder, start = Path(place), begun(model, int(width))
    manifest, state, genesis = start.manifest, start.state, start.genesis
    with Anvil(host=EVERYWHERE) as anvil, Supervisor(folder) as supervisor:
        chain = deployed(anvil, manifest, state, genesis, int(contributors), "mean", int(width))
        home = home_of(folder, anvil, chain, manifest, state, genesis, "")
        with serving(supervisor, home, anvil, chain, manifest, EVERYWHERE) as world:
            print(json.dumps({"rpc": anvil.port, "coordinator": urlsplit(world.api.url).port}), flush=True)
            sys.stdin.readline()
            world.api.start_run(int(rounds), int(contributors), account("coordinator"), world.domain)
            sys.stdin.read()
        chain.close()


if __name__ == "__main__":
    main()
