# SPDX-License-Identifier: Apache-2.0
"""The history of a federation for other tools: CSV, HTML, TensorBoard and MLflow.

Rounds are plain records, from a coordinator or from the chain and a mirror, and each format has a writer. It copies
what is said there and judges nothing; `folkmoot audit` checks it.
"""
