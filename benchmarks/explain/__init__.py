"""The command for new films: the verdict on each, and the places that spoil it."""
