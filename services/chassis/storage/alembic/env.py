"""Alembic's entry point for every service; the versions lie with the service."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=False)
context.run_migrations()
