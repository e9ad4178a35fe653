"""What a map is worth on one film: the Pointing Game and the other measures, as functions of maps and masks."""
