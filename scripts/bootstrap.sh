#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# From a bare Debian or Ubuntu machine to an installed coupler_plugin: system packages, .venv, torch, and the
# package with its native parts. A stage that is done is skipped, so that a second call costs about a second.
#
#   PYTHON                  the Python that .venv is made from (default: the first fit one)
#   COUPLER_PLUGIN_FORTRAN  OFF: without a Fortran compiler, and without the Fortran module
#   TORCH, TORCH_INDEX_URL  another torch than the CPU build of constraints.txt: scripts/install_torch.py
set -eu
cd "$(dirname "$0")/.."

venv=.venv
stamps=$venv/.bootstrap
extras=test,example
fortran=${COUPLER_PLUGIN_FORTRAN:-ON}

say() { echo "bootstrap: $*" >&2; }
fail() {
    say "$*"
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# ---- system packages ---------------------------------------------------------------------------------------

venv_works() { $venv/bin/python -m pip --version >/dev/null 2>&1; }

# Sets python to the first Python that can be embedded, and faults to what the others lack.
find_python() {
    faults=
    candidates=${PYTHON:-python3 python3.11 python3.12 python3.13 python3.14 /usr/bin/python3}
    ! venv_works || candidates=$venv/bin/python
    for candidate in $candidates; do
        have "$candidate" || continue
        if fault=$("$candidate" scripts/check_python.py 2>&1); then
            python=$candidate
            return 0
        fi
        faults="$faults
  $fault"
    done
    return 1
}

missing_packages() {
    have gcc || echo gcc
    have g++ || echo g++
    [ "$fortran" = OFF ] || have "${FC:-gfortran}" || echo gfortran
    have pkg-config || echo pkg-config
    have mpirun || echo openmpi-bin
    have mpicc || echo libopenmpi-dev
    [ "$fortran" = OFF ] || pkg-config --exists netcdf-fortran 2>/dev/null || have nf-config || echo libnetcdff-dev
    find_python || [ -n "${PYTHON:-}" ] || echo python3 python3-dev python3-venv
}

install_system_packages() {
    packages=$(missing_packages | tr '\n' ' ' | sed 's/ $//')
    [ -n "$packages" ] || return 0
    update="apt-get update" install="apt-get install -y --no-install-recommends $packages"
    have apt-get || fail "these are missing, and there is no apt-get to install them: $packages"
    if [ "$(id -u)" = 0 ]; then
        as_root="env DEBIAN_FRONTEND=noninteractive"
    elif have sudo && sudo -n true 2>/dev/null; then
        as_root="sudo -n env DEBIAN_FRONTEND=noninteractive"
    else
        say "system packages are missing, and this user may not install them. An administrator must run:"
        echo "sudo $update && sudo $install" >&2
        exit 1
    fi
    say "installing system packages: $packages"
    # shellcheck disable=SC2086  # words of command lines
    $as_root $update || say "apt-get update failed; trying with the package lists that are there"
    # shellcheck disable=SC2086
    $as_root $install || fail "the system packages could not be installed: $packages"
}

# ---- .venv -------------------------------------------------------------------------------------------------

where_torch_is='import pathlib, torch; print(pathlib.Path(torch.__file__).parents[1])'

make_venv() {
    find_python || fail "there is no Python >= 3.11 that a Fortran program can load:$faults"
    ! venv_works || return 0
    say "making $venv from $("$python" -c 'import sys; print(sys.executable, sys.version.split()[0])')"
    torch_site=$("$python" -c "$where_torch_is" 2>/dev/null) || torch_site=
    "$python" -m venv --clear ${torch_site:+--system-site-packages} $venv
    # A torch that lives in another venv is not seen through --system-site-packages alone.
    if [ -n "$torch_site" ] && ! $venv/bin/python -c "$where_torch_is" >/dev/null 2>&1; then
        own_site=$($venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
        echo "$torch_site" >"$own_site/torch_site.pth"
    fi
    $venv/bin/python -m pip install --quiet --upgrade pip
}

# ---- torch -------------------------------------------------------------------------------------------------

install_torch() {
    asked="${TORCH:-} ${TORCH_INDEX_URL:-}"
    if [ -e $stamps/torch ]; then
        [ "$asked" != " " ] && [ "$asked" != "$(cat $stamps/torch)" ] || return 0
    fi
    $venv/bin/python scripts/install_torch.py
    echo "$asked" >$stamps/torch
    rm -f $stamps/package
}

# ---- the package -------------------------------------------------------------------------------------------

# What the installed native parts depend on; Python files are used where they lie and need no reinstallation, but the
# installation knows which names are packages.
fingerprint() {
    pwd
    find coupler_plugin torchscript_models -name __init__.py | sort
    echo "$fortran"
    find fortran_bridge coupler_plugin/native CMakeLists.txt pyproject.toml constraints.txt scripts/bootstrap.sh \
        -type f ! -name '*.pyc' ! -path 'fortran_bridge/hosts/*' -exec cksum {} + | sort
}

install_package() {
    fingerprint >$stamps/fingerprint
    cmp -s $stamps/fingerprint $stamps/package && return 0
    pip="$venv/bin/python -m pip --quiet"
    torch=$($venv/bin/python -c 'import importlib.metadata as m; print(m.version("torch"))')
    { grep -v '^torch=' constraints.txt && echo "torch==$torch"; } >$stamps/constraints.txt
    say "installing what the build needs"
    $venv/bin/python -c 'import tomllib
with open("pyproject.toml", "rb") as file:
    print(*tomllib.load(file)["build-system"]["requires"], sep="\n")' >$stamps/build-requires.txt
    $pip install --constraint $stamps/constraints.txt --requirement $stamps/build-requires.txt cmake ninja
    say "building and installing coupler_plugin[$extras]"
    $pip install --constraint $stamps/constraints.txt --no-build-isolation \
        --config-settings=cmake.define.COUPLER_PLUGIN_FORTRAN="$fortran" --editable ".[$extras]"
    mv $stamps/fingerprint $stamps/package
}

# ------------------------------------------------------------------------------------------------------------

install_system_packages
make_venv
mkdir -p $stamps
install_torch
install_package
