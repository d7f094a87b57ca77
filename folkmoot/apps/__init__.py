# SPDX-License-Identifier: Apache-2.0
"""Flower apps of other people: what they are made of, and what a federation on one of them starts from.

An app's own code is imported in processes of their own only: it brings its libraries, and may do anything.
"""
