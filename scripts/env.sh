# Source this to use what `make setup` made: the virtual environment, its ROS 2 and the built package.
#   . scripts/env.sh
# Works in bash and zsh.
_mtl_root=$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")/.." && pwd)
# shellcheck disable=SC1091
. "$_mtl_root/.venv/bin/activate"
if [ -d "$_mtl_root/.venv/share/ament_index" ]; then
    # ROS 2 from wheels: the virtual environment is the ROS prefix.
    export AMENT_PREFIX_PATH="$_mtl_root/.venv${AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}"
    export CMAKE_PREFIX_PATH="$_mtl_root/.venv${CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}"
    export ROS_DISTRO="${ROS_DISTRO:-kilted}" ROS_VERSION=2 ROS_PYTHON_VERSION=3
fi
if [ -f "$_mtl_root/install/local_setup.bash" ]; then
    case "${ZSH_VERSION:-}" in
        '') . "$_mtl_root/install/local_setup.bash" ;;
        *) . "$_mtl_root/install/local_setup.zsh" ;;
    esac
fi
unset _mtl_root
