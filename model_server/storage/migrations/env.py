"""What Alembic runs: upgrades over the connection it is handed, inside that connection's transaction."""

from alembic import context

from model_server.storage.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # SQLite's too, as we begin its transactions
)
with context.begin_transaction():
    context.run_migrations()
