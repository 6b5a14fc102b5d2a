"""The branch of segments: windows of features as graphs in time, their tasks and the backpack."""
