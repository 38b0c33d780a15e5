"""keyshield with FastAPI, in an environment of its own, on keys of its own.

As its readme sets it up; once with its defaults, which wait on purpose and hash by Argon2, and once
with its cache and without the wait. Its table is made beforehand, not at each request.
"""

import asyncio
import random
import sys
import time
import warnings
from collections.abc import AsyncIterator, Callable, Sequence
from importlib import metadata
from typing import Annotated, Any

from benchmarks.peers import worker

BARE = "FastAPI"
DEFAULTS = "keyshield, its defaults"
CACHED = "keyshield, cached, no wait"

# Each is hashed by Argon2, on purpose slowly; the others of the table have no real hash.
REAL_KEYS = 20


def main(arguments: Sequence[str]) -> None:
    warnings.simplefilter("ignore")
    url, size = arguments
    loop = asyncio.new_event_loop()
    app, tokens = loop.run_until_complete(_set_up(url, int(size)))
    paths = {BARE: "/bare", DEFAULTS: "/defaults", CACHED: "/cached"}
    blocks = {name: _block(loop, app, path, tokens) for name, path in paths.items()}
    blocks[CACHED](10 * REAL_KEYS)  # Each key comes into the cache.
    worker.serve(blocks, {name: metadata.version(name) for name in ("fastapi", "keyshield")})


async def _set_up(url: str, size: int) -> tuple[Any, list[str]]:
    from aiocache import SimpleMemoryCache
    from fastapi import Depends, FastAPI
    from keyshield import ApiKeyService
    from keyshield.api import create_depends_api_key
    from keyshield.hasher.argon2 import Argon2ApiKeyHasher
    from keyshield.repositories.sql import SqlAlchemyApiKeyRepository
    from keyshield.services.cached import CachedApiKeyService
    from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

    hasher = Argon2ApiKeyHasher(pepper="a pepper of the benchmark, 32 bytes or more")
    engine = create_async_engine(url.replace("sqlite://", "sqlite+aiosqlite://"))
    make_session = async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False)
    # One for the process: left to itself, each request's service starts with an empty one.
    cache = SimpleMemoryCache()
    tokens = await _make_keys(engine, make_session, hasher, size)

    # FastAPI reads these annotations: no ``from __future__ import annotations`` above.
    async def session() -> AsyncIterator[Any]:
        async with make_session() as opened, opened.begin():
            yield opened

    async def defaults(opened: Annotated[Any, Depends(session)]) -> Any:
        return ApiKeyService(repo=SqlAlchemyApiKeyRepository(opened), hasher=hasher)

    async def cached(opened: Annotated[Any, Depends(session)]) -> Any:
        repo = SqlAlchemyApiKeyRepository(opened)
        return CachedApiKeyService(repo=repo, hasher=hasher, cache=cache, min_delay=0, max_delay=0)

    async def view() -> str:
        return "done"

    app = FastAPI()
    app.get("/bare")(view)
    for path, service in (("/defaults", defaults), ("/cached", cached)):
        guard = Depends(create_depends_api_key(service, required_scopes=["deploy"]))
        app.get(path, dependencies=[guard])(view)
    return app, tokens


async def _make_keys(engine: Any, make_session: Any, hasher: Any, size: int) -> list[str]:
    from keyshield import ApiKeyService
    from keyshield.repositories.sql import ApiKeyModel, SqlAlchemyApiKeyRepository
    from sqlalchemy import insert

    async with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            await connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        await connection.run_sync(ApiKeyModel.metadata.create_all)
    tokens = []
    async with make_session() as session, session.begin():
        service = ApiKeyService(repo=SqlAlchemyApiKeyRepository(session), hasher=hasher)
        for number in range(REAL_KEYS):
            _, token = await service.create(name=f"Pipeline {number}", scopes=["deploy"])
            tokens.append(token)
        others = [
            {
                "id_": f"other {number}",
                "name": f"Pipeline {number}",
                "is_active": True,
                "key_id": f"{number:016d}",
                "key_hash": f"no hash {number}",
                "key_secret_first": "none",
                "key_secret_last": "none",
                "scopes": ["deploy"],
            }
            for number in range(size - REAL_KEYS)
        ]
        await session.execute(insert(ApiKeyModel), others)
    return tokens


def _block(
    loop: asyncio.AbstractEventLoop, app: Any, path: str, tokens: Sequence[str]
) -> Callable[[int], float]:
    def block(count: int) -> float:
        scopes = [_scope(path, token) for token in random.choices(tokens, k=count)]
        return loop.run_until_complete(_answer(app, scopes))

    return block


def _scope(path: str, token: str) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"authorization", f"Bearer {token}".encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }


async def _answer(app: Any, scopes: Sequence[dict[str, Any]]) -> float:
    statuses: set[int] = set()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.add(message["status"])

    start = time.perf_counter()
    for scope in scopes:
        await app(scope, receive, send)
    seconds = time.perf_counter() - start
    if statuses - {200}:
        raise RuntimeError(f"{scopes[0]['path']} was answered with {statuses}")
    return seconds


if __name__ == "__main__":
    main(sys.argv[1:])
