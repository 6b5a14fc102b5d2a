"""What the clips of published data sets are, one file each: their lists, classes and splits."""
