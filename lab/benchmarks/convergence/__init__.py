# SPDX-License-Identifier: Apache-2.0
"""Does training through the integers reach what training in floats reaches? ``python -m benchmarks.convergence``."""
