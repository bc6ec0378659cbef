"""The classes that the model tells apart, by their numbers."""

CLASSES = ("NORMAL", "PNEUMONIA")


def label_of(probability: float) -> int:
    """The number of the class that a probability of pneumonia means."""
    return int(probability > 0.5)
