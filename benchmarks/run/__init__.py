"""What every step needs: settings, the run directory, files, errors, devices, tables of text."""
