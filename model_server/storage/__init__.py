"""Predictions, feedback and models in a database; no image and nothing of a patient."""
