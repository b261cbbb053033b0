#!/usr/bin/env bash
# Install locks into the environment of a Python: bash envs/install.sh PYTHON LOCK... (names of envs/*.lock.txt).
#
# With the lock `torch` comes the build of torch that TORCH names: cpu, cuda, or none to keep one's own. By default it
# is cuda where nvidia-smi lists a card, else cpu. Nothing is installed whose hash is not in a lock.
set -euo pipefail
python=$1
shift
envs=$(dirname "$0")
export UV_COMPILE_BYTECODE="${UV_COMPILE_BYTECODE-1}" # uv compiles nothing by itself, and then every start does
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT

refuse() {
    echo "error: $envs/$1.lock.txt could not be installed into $python; the message above says why. Where it speaks of a" \
        "hash, the file that was offered is not the one that was locked: get the lock back (git checkout" \
        "$envs/$1.lock.txt) or, if the index is right, write it anew (make locks). Then run the same command again." >&2
    exit 1
}

install() {
    local lock=$1
    shift
    "$(dirname "$python")/uv" pip install --quiet --python "$python" --no-deps --require-hashes "$@" \
        --requirements "$envs/$lock.lock.txt" || refuse "$lock"
}

# Only pip knows the places that this machine's configuration offers wheels in, and only there is a CPU build; uv unpacks
# it faster, and once for all environments.
install_cpu_torch() {
    if "$python" -m pip download --quiet --no-deps --require-hashes --requirement "$envs/torch-cpu.lock.txt" \
        --dest "$work" 2> "$work/pip.log"; then
        install torch-cpu --find-links "$work"
    elif grep -q "No matching distribution found" "$work/pip.log"; then
        echo "No index that pip knows offers the CPU build of torch: installing the CUDA build, which also runs without a" \
            "card but is some gigabytes larger. To have the small one, set PIP_EXTRA_INDEX_URL to PyTorch's index of CPU wheels." >&2
        install torch-cuda --reinstall-package torch
    else
        cat "$work/pip.log" >&2
        refuse torch-cpu
    fi
}

"$python" -m pip install --quiet --require-hashes --requirement "$envs/bootstrap.lock.txt" || refuse bootstrap
for lock in "$@"; do
    if [ "$lock" = torch ]; then
        if [ -z "${TORCH-}" ]; then
            if nvidia-smi --list-gpus 2> /dev/null | grep -q .; then TORCH=cuda; else TORCH=cpu; fi
        fi
        case $TORCH in
            cpu) install_cpu_torch ;;
            # torch==2.13.0 is satisfied by 2.13.0+cpu, which would stay.
            cuda) install torch-cuda --reinstall-package torch ;;
            none) ;;
            *) echo "error: TORCH=$TORCH is no build of torch: give cpu, cuda or none." >&2 && exit 1 ;;
        esac
    fi
    install "$lock"
done
