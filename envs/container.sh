#!/usr/bin/env bash
# Print a Dockerfile of an image that holds every environment of the workflow: bash envs/container.sh > Dockerfile
#
# Snakemake's own leaves out the post-deploy scripts, which install all but the interpreter. They follow here, with the
# CUDA build of torch, which also runs without a card; give TORCH=cpu for the small one.
set -euo pipefail
cd "$(dirname "$0")/.."
dockerfile=$(snakemake --containerize)
echo "$dockerfile"
echo "COPY envs /palimpsest/envs"
echo "WORKDIR /palimpsest"
sed -n 's|^#   source: \(envs/.*\)\.yaml$|\1|p; s|^#   prefix: ||p' <<< "$dockerfile" | paste - - | sort -u |
    while read -r name prefix; do
        echo "RUN TORCH=${TORCH-cuda} CONDA_PREFIX=$prefix bash $name.post-deploy.sh"
    done
