"""Films and their annotations, read from files.

Nothing is imported here, so that the processes that draw films need not load torch.
"""
