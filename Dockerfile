# SPDX-License-Identifier: Apache-2.0
# One image for all parts: coordinator, SuperLink, SuperNode, trial chain. The command says which it is.
FROM python:3.11-slim

# On x86-64, PyPI serves a CUDA build of torch of about 3 GB. For the small CPU build:
#   docker compose build --build-arg PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
ARG PIP_EXTRA_INDEX_URL=""
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /app
# Dependencies first, so that a change of ours does not download them again.
COPY pyproject.toml README.md LICENSE package.json package-lock.json ./
COPY tools/node_toolchain.py tools/solc.js tools/
RUN mkdir -p folkmoot server client \
    && touch folkmoot/__init__.py server/__init__.py client/__init__.py \
    && pip install --editable '.[all]'
# Anvil, for trials: pinned by package-lock.json.
RUN python tools/node_toolchain.py
COPY folkmoot folkmoot
COPY server server
COPY client client

# Where the compose file mounts volumes: a new volume gets the owner that its folder has here.
RUN useradd --uid 10001 --create-home --home-dir /home/folkmoot folkmoot \
    && cd / && mkdir -p federation artifacts chain superlink node \
       secrets/database secrets/s3 secrets/grafana secrets/authority secrets/tls secrets/trust secrets/admitted \
       secrets/node-1 secrets/node-2 secrets/node-3 \
    && chown -R folkmoot:folkmoot federation artifacts chain superlink node secrets
USER folkmoot
ENV HOME=/home/folkmoot FLWR_TELEMETRY_ENABLED=0
ENTRYPOINT ["/usr/local/bin/python", "-m", "folkmoot"]
CMD ["--help"]
