"""The gRPC edge: unpack, ask, pack. No rules live here."""

from contextlib import aclosing

from forge.scheduler.v1 import (
    intake_service_pb2_grpc,
    render_service_pb2,
    render_service_pb2_grpc,
    runtime_service_pb2_grpc,
)

from services.chassis.identity import caller
from services.chassis.wire import body, timestamp
from services.scheduler.convert import intake, renders, runtimes, traces
from services.scheduler.usecases.fleet_view import FleetView
from services.scheduler.usecases.intake import Intake
from services.scheduler.usecases.scheduler import Scheduler


class RenderServicer(render_service_pb2_grpc.RenderServiceServicer):
    """Renders of the caller's account."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    async def Infer(self, request, context):
        render = await self._scheduler.infer(
            caller().account,
            body(request.input),
            path_slug=request.slug,
            idempotency_key=renders.idempotency_key(context.invocation_metadata()),
            wait_seconds=request.wait_seconds if request.HasField("wait_seconds") else None,
            cancel_on_disconnect=request.cancel_on_disconnect,
            api_key_id=caller().key_id,
        )
        return renders.render_to_proto(render)

    async def CreateRender(self, request, context):
        render = await self._scheduler.create(
            caller().account,
            body(request.input),
            path_slug=None,
            idempotency_key=renders.idempotency_key(context.invocation_metadata()),
            api_key_id=caller().key_id,
        )
        return renders.render_to_proto(render)

    async def GetRender(self, request, context):
        return renders.render_to_proto(await self._scheduler.get(caller().account, request.render_id))

    async def ListRenders(self, request, context):
        page = await self._scheduler.page(
            caller().account,
            status=request.status,
            slug=request.model,
            page_size=request.page_size,
            page_token=request.page_token,
            oldest_first=request.oldest_first,
        )
        return renders.page_to_proto(page)

    async def CancelRender(self, request, context):
        return renders.render_to_proto(await self._scheduler.cancel(caller().account, request.render_id))

    async def RetryRender(self, request, context):
        render = await self._scheduler.retry(caller().account, request.render_id, api_key_id=caller().key_id)
        return renders.render_to_proto(render)

    async def ContinueRender(self, request, context):
        render = await self._scheduler.resume(
            caller().account, request.render_id, pause_after_step=request.pause_after_step
        )
        return renders.render_to_proto(render)

    async def BranchRender(self, request, context):
        render = await self._scheduler.branch(
            caller().account,
            request.render_id,
            body(request.input),
            idempotency_key=renders.idempotency_key(context.invocation_metadata()),
            api_key_id=caller().key_id,
        )
        return renders.render_to_proto(render)

    async def WatchRender(self, request, context):
        events = await self._scheduler.watch(caller().account, request.render_id, after_seq=request.after_seq)
        await context.send_initial_metadata(())  # HTTP clients see the answer begin although nothing may happen yet
        async with aclosing(events):
            async for event in events:
                yield renders.event_to_proto(request.render_id, event)

    async def GetRenderTrace(self, request, context):
        return traces.trace_to_proto(await self._scheduler.trace(caller().account, request.render_id))

    async def GetVideo(self, request, context):
        video = await self._scheduler.video(
            caller().account, request.render_id, offset=request.offset, length=request.length
        )
        await context.send_initial_metadata(renders.video_headers(video.sha256))
        async with aclosing(video.bytes) as parts:
            async for part in parts:
                yield renders.body_to_proto(video.media_type, part)

    async def GetVideoAddress(self, request, context):
        address = await self._scheduler.video_address(
            caller().account, request.render_id, valid_seconds=request.valid_seconds
        )
        return render_service_pb2.VideoAddress(url=address.url, expires_at=timestamp(address.expires_at))

    async def GetPreview(self, request, context):
        picture = await self._scheduler.preview(caller().account, request.render_id, request.number)
        return renders.body_to_proto(renders.PREVIEW_MEDIA_TYPE, picture)

    async def GetThumbnail(self, request, context):
        picture = await self._scheduler.thumbnail(caller().account, request.render_id)
        await context.send_initial_metadata(renders.KEPT_FOR_A_DAY)
        return renders.body_to_proto(renders.PREVIEW_MEDIA_TYPE, picture)

    async def DeleteRender(self, request, context):
        await self._scheduler.delete(caller().account, request.render_id)
        return renders.deleted_to_proto(request.render_id)


class RuntimeServicer(runtime_service_pb2_grpc.RuntimeServiceServicer):
    """Runtimes of the fleet."""

    def __init__(self, fleet: FleetView) -> None:
        self._fleet = fleet

    async def GetFamilyStatus(self, request, context):
        return runtimes.family_to_proto(*await self._fleet.family(request.slug, request.version))

    async def WatchFamily(self, request, context):
        views = await self._fleet.watch(request.slug, request.version)
        async with aclosing(views):
            async for view in views:
                yield runtimes.family_to_proto(*view)

    async def StartRuntime(self, request, context):
        started = await self._fleet.start(
            request.slug,
            request.version,
            runtimes.pin(request.gpu_type, request.region),
            keep_warm=request.run_until_stopped,
            idle_release_seconds=request.idle_release_seconds if request.HasField("idle_release_seconds") else None,
        )
        return runtimes.started_to_proto(*started)

    async def StopRuntime(self, request, context):
        stopped = await self._fleet.stop(request.slug, request.version, runtimes.pin(request.gpu_type, request.region))
        return runtimes.stopped_to_proto(*stopped)

    async def GetCapacity(self, request, context):
        return runtimes.capacity_to_proto(await self._fleet.capacity())


class IntakeServicer(intake_service_pb2_grpc.IntakeServiceServicer):
    """Bodies that other services want to have checked."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def CheckInput(self, request, context):
        return intake.checked_to_proto(await self._intake.order(body(request.input), request.slug, account=None))
