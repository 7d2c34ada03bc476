"""How renders come to be: asked for, tried again, or branched off."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from weakref import WeakValueDictionary

import structlog

from services.chassis.errors import InvalidInput, Violation
from services.chassis.spans import incoming_context
from services.chassis.telemetry import current_trace_id
from services.scheduler.domain.errors import IdempotencyConflict, RenderNotPaused, RenderNotRetryable
from services.scheduler.domain.policy import Policy
from services.scheduler.domain.probe import PROBE_ACCOUNT
from services.scheduler.domain.render import RETRYABLE, Render, RenderStatus, expiry
from services.scheduler.ports import Clock, RenderStore
from services.scheduler.usecases.admission import Admission
from services.scheduler.usecases.intake import Intake, Order
from services.scheduler.usecases.renders import Renders
from services.scheduler.usecases.spans import mark

log = structlog.get_logger()


class Ordering:
    """Accepts renders. What it returns is durable."""

    def __init__(
        self,
        *,
        intake: Intake,
        admission: Admission,
        store: RenderStore,
        renders: Renders,
        clock: Clock,
        policy: Policy,
        new_id: Callable[[str], str],
    ) -> None:
        self._intake = intake
        self._admission = admission
        self._store = store
        self._renders = renders
        self._clock = clock
        self._policy = policy
        self._new_id = new_id
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """By account."""

    async def create(
        self,
        account: str,
        body: Mapping[str, Any],
        *,
        path_slug: str | None,
        idempotency_key: str | None,
        api_key_id: str = "",
    ) -> Render:
        """A render for a body. The errors of the contract's CreateRender."""
        key, sha256 = idempotency_key or _request_id(body), _digest([path_slug, body])
        if known := await self._known(account, key, sha256):
            return known
        order = await self._intake.order(body, path_slug, account=account)
        render = replace(self._new(account, order, key, sha256), api_key_id=api_key_id)
        return await self._accept(render, order.inputs, "accepted")

    async def retry(self, ended: Render, *, api_key_id: str = "") -> Render:
        """A render like one that ended without a video, going on from its checkpoint. RenderNotRetryable.

        The same one again when it is asked for again, however late.
        """
        if ended.status not in RETRYABLE:
            raise RenderNotRetryable(ended.id, ended.status)
        key = f"retry of {ended.id}"
        if known := await self._known(ended.account, key, ended.request_sha256):
            return known
        now = self._clock.now()
        render = Render(
            id=self._new_id("rnd"),
            account=ended.account,
            slug=ended.slug,
            model_version=ended.model_version,
            created_at=now,
            pin=ended.pin,
            seed=ended.seed,
            idempotency_key=key,
            request_sha256=ended.request_sha256,
            expires_at=expiry(now, self._policy.queue_ttl),
            priority=ended.priority,
            prefer=ended.prefer,
            max_cost_usd=ended.max_cost_usd,
            pause_after_step=ended.pause_after_step,
            finish_within_seconds=ended.finish_within_seconds,
            shape=ended.shape,
            retry_of=ended.id,
            api_key_id=api_key_id,
            trace_context=incoming_context(),
            trace_id=current_trace_id(),
            warnings=ended.warnings,
            fail_when_out_of_memory=ended.fail_when_out_of_memory,
            checkpoint_key=ended.checkpoint_key,
        )
        return await self._accept(render, await self._store.inputs(ended.id), f"accepted in place of {ended.id}")

    async def branch(
        self, paused: Render, changes: Mapping[str, Any], idempotency_key: str | None, *, api_key_id: str = ""
    ) -> Render:
        """A render from where a paused one stands, with some inputs changed. RenderNotPaused, InvalidInput."""
        key, sha256 = idempotency_key or _request_id(changes), _digest([paused.id, dict(changes)])
        if known := await self._known(paused.account, key, sha256):
            return known
        if paused.status is not RenderStatus.PAUSED:
            raise RenderNotPaused(paused.id, paused.status)
        if changes.get("model_version") not in (None, paused.model_version):
            raise InvalidInput([Violation("model_version", "cannot change any more; leave it out")])
        inputs = await self._store.inputs(paused.id)
        body = {**_terms_of(paused), **inputs, **changes, "model_version": paused.model_version}
        order = await self._intake.order(body, paused.slug, account=paused.account, branched_from=inputs)
        render = self._new(paused.account, order, key, sha256)
        render = replace(render, branch_of=paused.id, checkpoint_key=paused.checkpoint_key, api_key_id=api_key_id)
        return await self._accept(render, order.inputs, f"branched off {paused.id}")

    async def probe(self, body: Mapping[str, Any], *, probe_id: str, request_id: str) -> Render:
        """A run of a probe; the same one again for the same request id. The errors of the contract's CreateRender.

        However much waits, it is taken on: it is in nobody's way.
        """
        sha256 = _digest([probe_id, dict(body)])
        if known := await self._known(PROBE_ACCOUNT, request_id, sha256):
            return known
        order = await self._intake.order(body, None, account=PROBE_ACCOUNT)
        render = replace(self._new(PROBE_ACCOUNT, order, request_id, sha256), probe_id=probe_id, expires_at=None)
        accepted, _ = await self._renders.accept(render, order.inputs, "accepted", keys_since=self._keys_since())
        return _of_the_same_request(accepted, sha256)

    def _new(self, account: str, order: Order, idempotency_key: str | None, sha256: str) -> Render:
        now, terms = self._clock.now(), order.terms
        return Render(
            id=self._new_id("rnd"),
            account=account,
            slug=order.slug,
            model_version=order.model_version,
            created_at=now,
            pin=order.pin,
            seed=order.seed,
            idempotency_key=idempotency_key,
            request_sha256=sha256,
            expires_at=expiry(now, self._policy.queue_ttl),
            deadline=terms.deadline,
            priority=terms.priority,
            prefer=terms.prefer,
            max_cost_usd=terms.max_cost_usd,
            finish_within_seconds=terms.finish_within_seconds,
            shape=order.shape,
            pause_after_step=terms.pause_after_step,
            trace_context=incoming_context(),
            trace_id=current_trace_id(),
            warnings=order.warnings,
            fail_when_out_of_memory=terms.fail_when_out_of_memory,
        )

    async def _known(self, account: str, key: str | None, sha256: str) -> Render | None:
        """The render a key made, however full the house is and whatever has changed since. IdempotencyConflict."""
        known = await self._store.with_key(account, key, keys_since=self._keys_since()) if key else None
        return known and _of_the_same_request(known, sha256)

    async def _accept(self, render: Render, inputs: Mapping[str, Any], message: str) -> Render:
        """Store a render, unless its key has made one meanwhile: then that one is returned. IdempotencyConflict."""
        # One of an account at a time: many at once must not slip past its quota.
        async with self._turns.setdefault(render.account, asyncio.Lock()):
            if known := await self._known(render.account, render.idempotency_key, render.request_sha256):
                return known
            admitted = await self._admission.admit(render)
            accepted, is_new = await self._renders.accept(admitted, inputs, message, keys_since=self._keys_since())
        if is_new:
            log.info("render accepted", render_id=render.id, slug=render.slug, account=render.account)
        mark(accepted)
        return _of_the_same_request(accepted, render.request_sha256)

    def _keys_since(self) -> datetime:
        return self._clock.now() - self._policy.keys_ttl


def _of_the_same_request(known: Render, sha256: str) -> Render:
    if known.request_sha256 != sha256:
        raise IdempotencyConflict
    return known


def _terms_of(render: Render) -> dict[str, Any]:
    """What a body would say to have a render run like this one, beside its inputs and its deadline."""
    return {
        "model": render.slug,
        "model_version": render.model_version,
        "gpu_type": render.pin.gpu_type,
        "region": render.pin.region,
        "priority": render.priority.value,
        "prefer": render.prefer.value,
        "max_cost_usd": render.max_cost_usd,
        "finish_within_seconds": render.finish_within_seconds,
        "on_out_of_memory": "fail" if render.fail_when_out_of_memory else None,
    }


def _request_id(body: Mapping[str, Any]) -> str | None:
    """The idempotency key in a body that nobody has checked yet."""
    request_id = body.get("request_id")
    return request_id if isinstance(request_id, str) else None


def _digest(request: Any) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
