"""The library on what people really run: architectures with random weights, each checked against a full recording."""
