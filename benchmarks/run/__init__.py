"""What every step needs: settings, the run directory, errors, devices, progress bars, tables of text."""
