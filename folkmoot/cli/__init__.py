# SPDX-License-Identifier: Apache-2.0
"""The command line. Each module has one group of commands; `main` combines them."""
