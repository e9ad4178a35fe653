"""Films and annotations in the Object-CXR layout: read, drawn synthetically, shown.

Nothing is imported here, so that the processes that draw films need not load torch.
"""
