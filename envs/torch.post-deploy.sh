#!/usr/bin/env bash
# lock-sha256: 5fd8d8a71c845d09fedfe58667666a5b2537b568bdaf50c8ba8d3fb1bab3c22e
set -euo pipefail
python -m pip install --no-deps "$(grep '^torch==' envs/torch.in)"
python -m pip install --no-deps --require-hashes -r envs/torch.lock.txt
