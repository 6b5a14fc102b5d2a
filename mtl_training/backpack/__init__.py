"""New tasks on a memory trunk, from a few clips, with the help of the tasks that are known."""
