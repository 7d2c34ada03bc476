"""The audit log. Nothing in it is changed, and the database sees to that."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_events",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("occurred_at_us", sa.BigInteger, nullable=False),
        sa.Column("took_ms", sa.Integer),
        sa.Column("api_key_id", sa.Text, nullable=False),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("resources", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("trace_id", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
    )
    op.create_index("audit_events_by_account", "audit_events", ["account", "occurred_at_us", "id"])
    op.create_index("audit_events_by_key", "audit_events", ["account", "api_key_id", "occurred_at_us", "id"])
    op.create_index("audit_events_by_time", "audit_events", ["occurred_at_us"])
    op.create_table(
        "audit_event_resources",
        sa.Column("resource", sa.Text, primary_key=True),
        sa.Column("event_id", sa.Text, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_index("audit_event_resources_by_event", "audit_event_resources", ["event_id"])
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    if not is_sqlite:
        op.execute(
            "CREATE FUNCTION the_audit_log_is_not_changed() RETURNS trigger LANGUAGE plpgsql"
            " AS $$ BEGIN RAISE EXCEPTION 'the audit log is not changed'; END $$"
        )
    for table in ("audit_events", "audit_event_resources"):
        refusing = (
            "BEGIN SELECT RAISE(ABORT, 'the audit log is not changed'); END"
            if is_sqlite
            else "FOR EACH ROW EXECUTE FUNCTION the_audit_log_is_not_changed()"
        )
        op.execute(f"CREATE TRIGGER {table}_stay_as_they_are BEFORE UPDATE ON {table} {refusing}")
