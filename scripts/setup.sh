#!/usr/bin/env bash
# Set up everything that `make demo` and `make test` need, once: a virtual environment in .venv with
# ROS 2 (unless a ROS 2 is sourced), torch and the tools, and the package built into install/.
# Safe to run again at any time: what is up to date is left alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=$PWD/.venv

say() { printf '==> %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }
forget() { rm -rf "$venv" build install log; }

# Print a list of paths without those that lie in this checkout.
without_ours() {
    printf '%s' "${1:-}" | tr ':' '\n' |
        awk -v root="$PWD/" 'length && index($0, root) != 1' | paste -sd: -
}

# A shell that has sourced scripts/env.sh is full of what this script makes: it is no ROS 2 of the
# user's, and its python may be about to be replaced.
if [ "${VIRTUAL_ENV:-}" = "$venv" ]; then
    PATH=$(without_ours "$PATH")
    for name in AMENT_PREFIX_PATH CMAKE_PREFIX_PATH PYTHONPATH LD_LIBRARY_PATH; do
        export "$name=$(without_ours "${!name:-}")"
    done
    [ -n "$AMENT_PREFIX_PATH" ] || unset ROS_DISTRO
    unset VIRTUAL_ENV
fi

# --- What must be on the machine -------------------------------------------------------------------
python=${PYTHON:-}
if [ -z "$python" ]; then
    # Once chosen, a Python stays until another is asked for.
    python=$("$venv/bin/python" -c 'import sys; print(sys._base_executable)' 2>/dev/null || true)
    [ -x "$python" ] || python=python3
fi
command -v "$python" >/dev/null ||
    die "$python was not found: install it (Debian/Ubuntu: sudo apt install python3 python3-venv python3-dev)"
"$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' ||
    die "$("$python" --version) is not supported: Python 3.10 to 3.13 is needed; name one with 'make PYTHON=python3.12 ...'"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    die "Python's venv module is missing (Debian/Ubuntu: sudo apt install python3-venv)"
command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null ||
    die "a C++ compiler is missing (Debian/Ubuntu: sudo apt install g++)"
[ -f "$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')/Python.h" ] ||
    die "Python's C headers are missing (Debian/Ubuntu: sudo apt install python3-dev)"

# A sourced ROS 2 is used as it is; otherwise the wheels bring one.
ros=wheels
if [ -n "${AMENT_PREFIX_PATH:-}" ] && [ -n "${ROS_DISTRO:-}" ]; then
    "$python" -c 'import rclpy' 2>/dev/null ||
        die "ROS 2 $ROS_DISTRO is sourced, but its rclpy does not import in $("$python" --version): use the Python that it was made for"
    ros=$ROS_DISTRO
fi

# --- The virtual environment -----------------------------------------------------------------------
wanted=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
kind="ROS 2: $ros, Python $wanted, in $PWD, "
key="$kind$(cat requirements/*.txt scripts/setup.sh | cksum)"
found=$(cat "$venv/.setup-key" 2>/dev/null || true)
if [ "$found" != "$key" ] || ! "$venv/bin/python" -c '' 2>/dev/null; then
    say "making .venv (ROS 2: $ros, Python $wanted); the first time this takes some minutes"
    # Of another kind, half made, or moved from another folder: begin anew, the build as well.
    case "$found" in
        "$kind"*) "$venv/bin/python" -m pip --version >/dev/null 2>&1 || forget ;;
        *) forget ;;
    esac
    requirements=(-r requirements/runtime.txt -r requirements/training.txt -r requirements/dev.txt
        -r requirements/captions.txt)
    if [ "$ros" = wheels ]; then
        "$python" -m venv "$venv"
        requirements+=(-r requirements/ros.txt -c requirements/constraints.txt)
    else
        "$python" -m venv --system-site-packages "$venv"
        # The messages of this ROS are compiled against its own NumPy: that one stays.
        "$python" -c 'import numpy; print("numpy==" + numpy.__version__)' >"$venv/constraints.txt"
        # Its launch_testing is a plugin of pytest that newer ones refuse (ros2/launch#979).
        echo 'pytest<8.4' >>"$venv/constraints.txt"
        requirements+=(-c "$venv/constraints.txt")
        "$python" -c 'import colcon_core' 2>/dev/null || requirements+=(colcon-common-extensions)
    fi
    say 'installing the dependencies'
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade pip
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "${requirements[@]}"
    # By itself: it asks for an OpenCV that would take the place of the headless one.
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
        -r requirements/tracking.txt -c requirements/constraints.txt
    if [ "$ros" = wheels ]; then
        # The wheels' CMake targets name the Python they were built with; without this, CMake
        # stops at include directories that do not exist.
        "$venv/bin/python" scripts/mend_wheels.py "$venv"
        mkdir -p "$venv/include/python$wanted"
    fi
    printf '%s\n' "$key" >"$venv/.setup-key.tmp" && mv "$venv/.setup-key.tmp" "$venv/.setup-key"
fi

# --- The package -----------------------------------------------------------------------------------
built=$({
    find msg cmake launch config checkpoints mtl_perception mtl_training CMakeLists.txt package.xml \
        -type f ! -name '*.pyc' -print0 | sort -z | xargs -0 cksum
    cat "$venv/.setup-key"
} | cksum)
if [ "$(cat install/.setup-built 2>/dev/null)" != "$built" ]; then
    say 'building the package with colcon'
    # shellcheck source=scripts/env.sh
    set +u && . scripts/env.sh && set -u # colcon's scripts read unset variables
    # colcon warns that the wheels' prefix has no local_setup file; scripts/env.sh stands in for it.
    python3 -m colcon --log-base log build --base-paths . --event-handlers console_direct- \
        --cmake-args -DPython3_EXECUTABLE="$venv/bin/python" -DBUILD_TESTING=OFF \
        2> >(grep -v "doesn't contain any 'local_setup" >&2) ||
        die 'the build failed: see log/latest_build'
    printf '%s\n' "$built" >install/.setup-built
fi
say 'ready'
