"""From results to the files that a trainer takes."""
