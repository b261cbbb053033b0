#!/usr/bin/env bash
# Write envs/*.lock.txt anew from envs/*.in: one resolution, so that the locks agree where they overlap. What is pinned
# stays as it is where it can; options are passed on to uv: `bash envs/lock.sh --upgrade-package numpy`, or `--upgrade`.
# Needs uv, the package index and, for a new torch only, an index of its CPU wheels that pip knows.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT

compile() {
    uv pip compile "$@" --overrides absent.txt --generate-hashes --quiet --python-version 3.11 \
        --python-platform x86_64-manylinux_2_28 --no-emit-index-url --no-annotate \
        --custom-compile-command "bash envs/lock.sh" > /dev/null
}
names() { sed -n 's/^\([a-z0-9._-]*\)==.*/\1/p' "$1"; }

every=$work/every.txt
find . -name '*.lock.txt' ! -name torch-cpu.lock.txt -exec cat {} + > "$every" # what uv holds on to
compile ./*.in "$@" --output-file "$every"

# torch and what only its CUDA build needs stand in locks of their own: which of the two is installed is the machine's.
build=$(names "$every" | grep -E '^(torch|triton|(cuda|nvidia)-.*)$')
for name in bootstrap driver torch paper notebooks dev; do
    # shellcheck disable=SC2086 # one option per name
    compile "$name.in" --constraints "$every" $(printf -- '--no-emit-package %s ' $build) \
        --output-file "$name.lock.txt"
done
grep '^torch==' torch.in > "$work/torch.in"
# shellcheck disable=SC2046
compile "$work/torch.in" --constraints "$every" $(names torch.lock.txt | sed 's/^/--no-emit-package /') \
    --output-file torch-cuda.lock.txt

version=$(cat "$work/torch.in")+cpu
if ! grep -qF "$version " torch-cpu.lock.txt; then
    python -m pip download --quiet --no-deps --dest "$work" "$version"
    printf '# The one wheel of the CPU build, for Linux on x86-64 and Python 3.11: bash envs/lock.sh\n%s \\\n    %s\n' \
        "$version" "$(python -m pip hash "$work"/torch-*.whl | tail -n 1)" > torch-cpu.lock.txt
fi

# The conda environment of a rule is made anew when its post-deploy script changes, so that carries its locks' hashes.
for script in *.post-deploy.sh; do
    for lock in $(sed -n 's/^# [0-9a-f]\{64\}  //p' "$script"); do
        sed -i "s|^# [0-9a-f]\{64\}  $lock\$|# $(sha256sum "../$lock" | cut -d ' ' -f 1)  $lock|" "$script"
    done
done
