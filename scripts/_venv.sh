# Sourced by the scripts beside it, with the repository root as working directory.
# Sets VENV and CONSTRAINTS, the environment and the versions in it; honours $PYTHON, the interpreter that
# makes it.

VENV=.venv
CONSTRAINTS=constraints.txt

# To stderr: what a command prints on stdout may be meant for another program.
say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }
die() { say "$*"; exit 1; }

# The root is part of it because a venv that was moved, and its editable install, point nowhere.
_stamp() { printf '%s\n' "$PWD"; cat pyproject.toml "$CONSTRAINTS"; }

# The scripts in a venv hold its absolute path, so one that was moved or copied runs another's python, or none.
_venv_works() {
    case $("$VENV/bin/pip" --version 2>/dev/null) in
        *" $PWD/$VENV/"* | *" $(pwd -P)/$VENV/"*) ;;
        *) return 1 ;;
    esac
}

_make_venv() {
    local python=${PYTHON:-python3} clear=
    command -v "$python" >/dev/null || die "no $python here: install Python 3.11 or newer, or name one with PYTHON=..."
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
        || die "$("$python" --version) is too old: name a Python 3.11 or newer with PYTHON=..."
    if [ -e "$VENV/bin/pip" ]; then clear=--clear; fi
    say "making $VENV with $("$python" --version)"
    "$python" -m venv $clear "$VENV" >/dev/null 2>&1 && _venv_works && return
    # Some systems ship python and pip but not ensurepip, which a plain venv needs.
    "$python" -m venv --without-pip "$VENV" >/dev/null \
        && "$python" -m pip --python "$VENV/bin/python" install -qq pip \
        && _venv_works || die "could not make $VENV: $python needs the modules venv and either ensurepip or pip 22.3+"
}

# Twice quiet: once still prints a warning for every index that lacks a package.
_pip_install() { "$VENV/bin/python" -m pip install -qq --disable-pip-version-check -c "$CONSTRAINTS" "$@"; }

# install NAME TARGET: TARGET (such as ".[dev]") is installed, once for each state of the two files it depends on.
install() {
    local stamp=$VENV/.installed-$1
    _stamp | cmp -s - "$stamp" 2>/dev/null && return
    _venv_works || _make_venv
    say "installing $2 into $VENV (minutes the first time)"
    rm -f "$stamp"
    _pip_install -e "$2" || return
    _stamp >"$stamp"
}
