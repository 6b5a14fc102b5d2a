"""
The commands of ``python -m mtl_training``, one file each.

Each file has ``main(arguments) -> exit code``. Only the one that is asked for is imported: the
rest of the package takes seconds to import, and a stream of scenes should start at once.
"""
