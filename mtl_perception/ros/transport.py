"""
The Fast DDS profile shipped with the package, without which camera images get lost.

Fast DDS carries messages between processes of one machine through a shared-memory segment of
512 KB, less than one 640x480 colour image: under best effort nearly every frame is lost. The
shipped profiles (``config/fastdds*.xml``) only enlarge that segment and the UDP buffers. Needs no
rclpy: Fast DDS reads the variable when the first participant is created, so call
:func:`use_shipped_transport_profile` before ``rclpy.init()``.
"""

from collections.abc import MutableMapping
from contextlib import suppress
import os
from pathlib import Path
import warnings

from ament_index_python.packages import get_package_share_directory, PackageNotFoundError
from ament_index_python.search_paths import get_search_paths

# Fast DDS 2 (Humble, Jazzy) reads the first, Fast DDS 3 (Kilted and later) the second; there
# rmw_fastrtps still honours the first, with a warning at every start.
PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
# Other ways in which a user may have chosen the transports of Fast DDS.
_OTHER_CHOICES = ('FASTDDS_BUILTIN_TRANSPORTS',)
_LOCAL_PROFILES = ('DEFAULT_FASTRTPS_PROFILES.xml', 'DEFAULT_FASTDDS_PROFILES.xml')
_SHARED_MEMORY = Path('/dev/shm')
# Fast DDS allocates a participant's whole segment at its start. Room for five participants:
# camera, perception, a viewer, the command line and its daemon.
_PROFILES_BY_FREE_BYTES = (
    (5 * (33 << 20), 'fastdds.xml'),  # segments of 32 MB: 12 images of 1280x720
    (5 * (9 << 20), 'fastdds_small.xml'),  # of 8 MB, for containers: /dev/shm of 64 MB
)


def use_shipped_transport_profile(environ: MutableMapping[str, str] = os.environ) -> Path | None:
    """
    Make Fast DDS read the shipped profile, unless the user chose transports of their own.

    :param environ: The environment to look at and to change; that of this process by default.
    :return: The profile that is used, or ``None`` if the environment was left as it was.
    """
    if not _may_choose(environ):
        return None
    name = _profile_that_fits(_SHARED_MEMORY)
    if name is None:
        warnings.warn(
            f'{_SHARED_MEMORY} has too little room for images: frames may get lost between '
            'processes. Enlarge it (docker run --shm-size=512m).',
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    path = shipped_file(Path('config') / name)
    environ[profile_variable()] = str(path)
    return path


def shipped_file(relative: Path) -> Path:
    """
    Return a file of the package's share directory, or of the source tree before it is installed.

    :raises FileNotFoundError: If neither has it.
    """
    roots = [Path(__file__).resolve().parents[2]]
    # OSError: there is no AMENT_PREFIX_PATH at all.
    with suppress(PackageNotFoundError, OSError):
        roots.insert(0, Path(get_package_share_directory('mtl_perception')))
    for root in roots:
        if (root / relative).is_file():
            return root / relative
    raise FileNotFoundError(f'{relative} is in none of {", ".join(map(str, roots))}.')


def profile_variable() -> str:
    """Return the environment variable that the installed Fast DDS reads."""
    # The ROS package of Fast DDS 2 is called fastrtps, that of Fast DDS 3 fastdds.
    try:
        prefixes = get_search_paths()
    except OSError:
        prefixes = []
    is_old = any((Path(prefix) / 'share' / 'fastrtps').is_dir() for prefix in prefixes)
    return PROFILE_VARIABLES[0 if is_old else 1]


def _may_choose(environ: MutableMapping[str, str]) -> bool:
    if not environ.get('RMW_IMPLEMENTATION', 'rmw_fastrtps_cpp').startswith('rmw_fastrtps'):
        return False
    if any(environ.get(name) for name in (*PROFILE_VARIABLES, *_OTHER_CHOICES)):
        return False
    # Fast DDS reads such a file from the working directory by itself.
    return not any(Path(name).exists() for name in _LOCAL_PROFILES)


def _profile_that_fits(shared_memory: Path) -> str | None:
    try:
        status = os.statvfs(shared_memory)
    except OSError:
        return None
    free_bytes = status.f_bavail * status.f_frsize
    for needed_bytes, name in _PROFILES_BY_FREE_BYTES:
        if free_bytes >= needed_bytes:
            return name
    return None
