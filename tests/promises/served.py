"""What gunicorn serves in :mod:`test_processes`: loaded once, before it forks its workers.

Like many an application it has used its database by then, so that its pool holds a connection.
"""

from __future__ import annotations

import os
from typing import Any

import sqlalchemy as sa

from flask_orgkeys import current_key, require_key

from ..host import make_host

host = make_host(os.environ["ORGKEYS_TEST_SERVED_DATABASE"], tables=False)
app = host.app

with app.app_context():
    host.db.session.execute(sa.select(host.Organization)).all()


@app.get("/api/key-and-worker")
@require_key
def key_and_worker() -> dict[str, Any]:
    return {
        "key": current_key.id,
        "organization": current_key.organization_id,
        "worker": os.getpid(),
    }


@app.post("/revocations/<int:organization_id>/<key_id>")
def revoke(organization_id: int, key_id: str) -> dict[str, Any]:
    host.orgkeys.revoke_key(organization_id, key_id)
    host.db.session.commit()
    return {"worker": os.getpid()}
