"""Whether maps and ranks stay: smoothed, with random weights, other seeds, other architectures, other runs."""
