"""Saliency methods scored on foreign objects in chest films: ``python -m benchmarks``."""
