"""Predictions, feedback and models in a database.

`schema` is what is stored, `migrations` moves an older database to it, `database` does the work and may wait,
`records` keeps requests from waiting. No image and nothing of a patient is stored.
"""
