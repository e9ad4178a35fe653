"""Settings that are one of a few words, by the name of the setting."""

from __future__ import annotations

from typing import Literal

Outputs = Literal["softmax", "sigmoid"]
"""What makes probabilities of a network's scores: of one class an image, or of several."""
Truth = Literal["box", "shape"]
"""What a hit must lie in: the boxes of the annotations, or their true outlines."""
Explained = Literal["labelled", "predicted"]
"""The class that maps are for: each that an image is annotated with, or the one that the network predicts."""
ToleranceIn = Literal["frame", "image"]
"""What distances are counted in: pixels of the frame, or of each image as it is."""
