"""Features of whole videos: windows cut by time, read in the background, one row of each."""
