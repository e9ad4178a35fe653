"""What an attribution costs in time and memory, against plain inference and other packages."""
