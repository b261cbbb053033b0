#!/usr/bin/env bash
# Snakemake runs this in the new environment, from the root of the checkout. A change of this file makes the environment
# anew, hence the hashes (written by envs/lock.sh) of what it installs:
# 9fc5c426928eddd38738b1ec069f3a6911ff77a43a7d9098c7de8e1cac04a703  envs/bootstrap.lock.txt
# 2caa5c3b0db241c34f9c0f4ea7a9da29528f8226fee0d02f4744f500b631035d  envs/paper.lock.txt
set -euo pipefail
bash envs/install.sh "$CONDA_PREFIX/bin/python" paper
