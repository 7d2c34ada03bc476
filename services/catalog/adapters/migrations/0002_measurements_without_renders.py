"""Measurements are called by what does not say whose render they were."""

import json
from hashlib import sha256

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    rows = connection.execute(sa.text("SELECT id, body FROM measurements WHERE id LIKE 'rnd\\_%' ESCAPE '\\'")).all()
    for row in rows:
        # As the scheduler calls them now, so that telling of an attempt again still changes nothing.
        name = "msr_" + sha256(row.id.encode()).hexdigest()[:32]
        body = json.dumps(json.loads(row.body) | {"id": name})
        change = sa.text("UPDATE measurements SET id = :name, body = :body WHERE id = :id")
        connection.execute(change, {"name": name, "body": body, "id": row.id})
