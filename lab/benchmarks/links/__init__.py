# SPDX-License-Identifier: Apache-2.0
"""Folkmoot beside torch's DDP, FSDP and DiLoCo in float32 on the same slow links: bytes, seconds and losses."""
