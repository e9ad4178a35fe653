"""The synthetic set: chest films that a program draws.

Nothing is imported here, so that the processes that draw films need not load torch.
"""
