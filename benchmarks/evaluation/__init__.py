"""The game for a model and images from anywhere: which questions are asked, and what comes out."""
