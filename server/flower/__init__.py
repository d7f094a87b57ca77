# SPDX-License-Identifier: Apache-2.0
"""The relay: a Flower ServerApp between the SuperLink and the coordinator. It holds no key."""
