# SPDX-License-Identifier: Apache-2.0
"""The commands of the coordinator and of the one who trains."""
