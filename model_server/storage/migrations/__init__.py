"""Alembic's folder: `env.py` is what it runs, `versions` the steps from an empty database to the schema."""
