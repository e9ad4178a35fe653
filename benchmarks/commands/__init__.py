"""The commands of the command line: what each takes, and whom it calls."""
