"""New tasks with the help of the known: from a few clips, and what they draw from the known."""
