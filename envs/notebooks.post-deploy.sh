#!/usr/bin/env bash
# Snakemake runs this in the new environment, from the root of the checkout. A change of this file makes the environment
# anew, hence the hashes (written by envs/lock.sh) of what it installs:
# 9fc5c426928eddd38738b1ec069f3a6911ff77a43a7d9098c7de8e1cac04a703  envs/bootstrap.lock.txt
# f5894bbd9bfe0d83be3b63fd5e5a0fff7e9ebebbdd596fae15c39d3e47918b41  envs/torch-cpu.lock.txt
# 1cc4343b5c1caaea42e72444cfb69a320648724947a14061dd172a6f9c86a0c5  envs/torch-cuda.lock.txt
# 966c274fd1ecddaeb0b9bf56f20d814281cef1b947282d74d4483725fe6c1ac2  envs/torch.lock.txt
# 65641e32cdb1f63123c2f0812665e833992af425115099bc9ce96ee31105a23d  envs/notebooks.lock.txt
set -euo pipefail
bash envs/install.sh "$CONDA_PREFIX/bin/python" torch notebooks
