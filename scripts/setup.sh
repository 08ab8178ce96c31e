# shellcheck shell=bash
# Sourced by quickstart and test. Makes .venv in the checkout and installs the package into it, editable, with the
# versions in constraints.txt; does nothing when that was done before. Works with bash 3.2, which macOS ships.

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
log=$venv/setup.log

unset PYTHONHOME PYTHONPATH # another Python's modules must not leak into ours
export PIP_USER=0           # pip refuses --user inside a virtual environment
trap 'say "interrupted: run it again to go on"; exit 130' INT
trap 'say "terminated: run it again to go on"; exit 143' TERM

say() { printf '%s\n' "$*" >&2; }

fail() { # exit code 6: the environment, as everywhere in this project
    say "error: $*"
    exit 6
}

# Sets python and python_version to the first Python that is new enough and can make virtual environments.
# Candidates are run, not just found: a pyenv shim lies on PATH also for versions that are not installed.
find_python() {
    local candidate seen="" hint="install Python 3.11 or newer" new_enough='^(3\.(1[1-9]|[2-9][0-9])|[4-9])(\.|$)'
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11; do
        python_version=$("$candidate" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null </dev/null) ||
            python_version=""
        if [ -z "$python_version" ]; then
            [ "$candidate" != "${PYTHON:-}" ] || seen="$seen; PYTHON=$candidate does not run"
        elif ! [[ $python_version =~ $new_enough ]]; then
            seen="$seen; $candidate is $python_version"
        elif ! "$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1 </dev/null; then
            seen="$seen; $candidate is $python_version but lacks the venv module"
            hint="install the module (Debian, Ubuntu: apt install python${python_version%.*}-venv)"
        else
            python=$candidate
            [ -z "$seen" ] || say "python: ${seen#; }; taking $candidate, $python_version"
            return
        fi
    done
    seen=${seen#; }
    fail "no usable Python 3.11 or newer (found: ${seen:-none}): $hint, or name one: PYTHON=/path/to/python3 $0"
}

venv_works() { # also false for a folder without pip (an interrupted creation) and for one that is no environment
    "$venv/bin/python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11) or sys.prefix == sys.base_prefix)' \
        >/dev/null 2>&1 </dev/null
}

make_venv() {
    local start=$SECONDS why="" output
    if venv_works; then return; fi
    find_python
    if [ -e "$venv" ] || [ -L "$venv" ]; then why=", anew: the old one does not work"; fi
    rm -rf -- "$venv"
    output=$("$python" -m venv "$venv" 2>&1 </dev/null) ||
        fail "could not create $venv with $python ($python_version): $(tail -n 1 <<<"$output")"
    say "venv: .venv created with Python $python_version$why ($((SECONDS - start)) s)"
}

fingerprint() { # of all that decides what gets installed; the path is in it because editable installs point there
    "$venv/bin/python" -c 'import hashlib, os, pathlib, sys
parts = [os.fsencode(sys.argv[1]), *(pathlib.Path(path).read_bytes() for path in sys.argv[2:])]
print(hashlib.sha256(b"\0".join(parts)).hexdigest())' \
        "$root" "$root/pyproject.toml" "$root/scripts/constraints.txt" </dev/null
}

hint_small_torch() {
    [ "$(uname -s) $(uname -m)" = "Linux x86_64" ] || return 0
    [ -z "${PIP_EXTRA_INDEX_URL:-}${PIP_INDEX_URL:-}${PIP_FIND_LINKS:-}" ] || return 0
    if command -v nvidia-smi >/dev/null || [ -e /proc/driver/nvidia ]; then return 0; fi
    if compgen -G "$venv/lib/python*/site-packages/torch" >/dev/null; then return 0; fi
    say "hint: no NVIDIA GPU here, and PyPI's torch brings several GB of CUDA; for the small build stop this and" \
        "set PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu"
}

explain_pip_failure() {
    local network error cause
    network='connection broken by|NewConnectionError|Max retries exceeded|timed out|name resolution|ProxyError|SSLError'
    network="$network|Connection (refused|reset|aborted)|Network is unreachable|[45][0-9][0-9] (Client|Server) Error"
    error=$(grep -E '^ *(ERROR|error):' "$log" | grep -v subprocess-exited | tail -n 1 |
        sed -E 's/^ *(ERROR|error): //' | cut -c 1-200) || true
    cause=$(grep -E "$network" "$log" | tail -n 1 |
        sed -E 's/.*(connection broken by)/\1/; s/<[^>]*>: //; s/^ *((WARNING|ERROR): )?//' | cut -c 1-250) || true
    if [ -n "$cause" ]; then
        say "error: the package registry could not be reached ($cause): check the network and HTTPS_PROXY," \
            "or name a mirror with PIP_INDEX_URL=https://..., then run $0 again"
    elif grep -q 'from versions: none' "$log"; then
        say "error: the package registry refused to answer or has no such package: check the network and HTTPS_PROXY," \
            "or name another registry with PIP_INDEX_URL=https://..., then run $0 again"
    fi
    fail "pip could not install the package: ${error:-no error line}; its log: $log"
}

# prepare run: what the commands need. prepare dev: the tools of scripts/test as well.
prepare() {
    local start=$SECONDS want target=.
    make_venv
    want=$(fingerprint) || fail "cannot read pyproject.toml or scripts/constraints.txt in $root: is the checkout whole?"
    if [ "$(cat "$venv/.installed-$1" 2>/dev/null)" = "$want" ]; then
        say "install: .venv is up to date ($((SECONDS - start)) s)"
        return
    fi
    [ "$1" = run ] || target=".[$1]"
    hint_small_torch
    say "install: the package and its dependencies, some minutes the first time (log: $log)"
    start=$SECONDS
    rm -f "$venv"/.installed-*
    (
        cd "$root" || exit 1
        # A dead registry should fail within a minute or two; values that are set already win.
        export PIP_RETRIES="${PIP_RETRIES:-2}" PIP_TIMEOUT="${PIP_TIMEOUT:-${PIP_DEFAULT_TIMEOUT:-20}}"
        exec "$venv/bin/python" -m pip --no-input --disable-pip-version-check install --progress-bar off \
            -c scripts/constraints.txt -e "$target" >"$log" 2>&1 </dev/null
    ) || explain_pip_failure
    printf '%s\n' "$want" >"$venv/.installed-run" # last, so that an interrupted install is done again
    printf '%s\n' "$want" >"$venv/.installed-$1"
    say "install: done ($((SECONDS - start)) s)"
}
