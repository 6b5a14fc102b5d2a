"""Reports that compare runs: read from their folders, written as Markdown, HTML and CSV."""
