"""From a classifier and films to rows on disk, one unit of work at a time."""
