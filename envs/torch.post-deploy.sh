#!/usr/bin/env bash
# lock-sha256: 966c274fd1ecddaeb0b9bf56f20d814281cef1b947282d74d4483725fe6c1ac2
set -euo pipefail
python -m pip install --no-deps "$(grep '^torch==' envs/torch.in)"
python -m pip install --no-deps --require-hashes -r envs/torch.lock.txt
