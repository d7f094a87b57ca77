# SPDX-License-Identifier: Apache-2.0
"""The keeper: the node's connection to the coordinator, with files and states that it keeps."""
