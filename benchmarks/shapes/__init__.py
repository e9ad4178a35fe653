"""Pictures of several shapes, drawn by a program, and a small network that names them.

Nothing is imported here, so that pictures can be drawn without torch.
"""
