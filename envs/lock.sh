#!/usr/bin/env bash
# Write envs/*.lock.txt anew from envs/*.in: one resolution, so that the locks agree where they overlap.
# Needs uv and the package index; run from the root of the checkout: bash envs/lock.sh
set -euo pipefail
compile() {
    uv pip compile "$@" --overrides envs/absent.txt --no-emit-package torch --generate-hashes --quiet \
        --python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-emit-index-url --no-annotate \
        --custom-compile-command "bash envs/lock.sh"
}
every=$(mktemp)
trap 'rm -f "$every"' EXIT
compile envs/driver.in envs/torch.in envs/dev.in --output-file "$every" > /dev/null
for name in driver torch dev; do
    compile "envs/$name.in" --constraints "$every" --output-file "envs/$name.lock.txt" > /dev/null
done
compile envs/bootstrap.in --output-file envs/bootstrap.lock.txt > /dev/null
# The conda environment of a rule is made anew when its post-deploy script changes: it carries the lock's hash.
sed -i "s/^# lock-sha256: .*/# lock-sha256: $(sha256sum envs/torch.lock.txt | cut -d' ' -f1)/" envs/torch.post-deploy.sh
