"""New tasks with the help of the known: prototypes, a few clips, and what is drawn from them."""
