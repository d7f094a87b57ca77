# SPDX-License-Identifier: Apache-2.0
"""Entry point of `python -m folkmoot.sandbox`, which `folkmoot.sandbox.process` starts."""

import sys

from folkmoot.sandbox.process import main

main(sys.argv[1])
