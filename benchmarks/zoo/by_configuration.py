"""Architectures from small configurations: transformers (images, video, sound, text), MONAI and torchxrayvision."""
BY_CONFIGURATION = ()
