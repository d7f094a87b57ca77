# SPDX-License-Identifier: Apache-2.0
"""How cost grows with contributors, parameters and history: ``python -m benchmarks.growth``."""
