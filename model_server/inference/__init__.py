"""From the bytes of a picture to its probability."""
