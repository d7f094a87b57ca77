# SPDX-License-Identifier: Apache-2.0
"""How fast the library is, beside memcpy and sha256 on the same machine in the same run: ``python -m benchmarks``."""
