# SPDX-License-Identifier: Apache-2.0
"""Honest contributors near convergence: how often is one left out, on small data sets where nobody attacks?

``sets`` has the data and models, ``federation`` the rounds, ``results`` the file and the tables; ``__main__`` is the
command line. See docs/robustness.md.
"""
