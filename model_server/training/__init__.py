"""Making data, and training the bundled weights."""
