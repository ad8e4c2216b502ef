"""Answers every request with its method, path and body, over the bindings of wasi:http."""

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports.streams import StreamError_Closed
from wit_world.imports.types import (
    Fields, IncomingBody, IncomingRequest, Method_Other, OutgoingBody, OutgoingResponse, ResponseOutparam,
)


def read(request: IncomingRequest) -> bytes:
    body = request.consume()
    parts = []
    with body.stream() as stream:
        while True:
            try:
                parts.append(stream.blocking_read(65536))
            except Err as err:
                if isinstance(err.value, StreamError_Closed):
                    break
                raise
    IncomingBody.finish(body)
    return b"".join(parts)


def name(method) -> str:
    if isinstance(method, Method_Other):
        return method.value
    return type(method).__name__.removeprefix("Method_").upper()


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        answer = f"{name(request.method())} {request.path_with_query()}\n".encode() + read(request)
        headers = [("content-type", b"text/plain; charset=utf-8"), ("x-guest", b"py-http")]
        response = OutgoingResponse(Fields.from_list(headers))
        body = response.body()
        ResponseOutparam.set(response_out, Ok(response))
        with body.write() as stream:
            for start in range(0, len(answer), 4096):  # one blocking write takes no more
                stream.blocking_write_and_flush(answer[start : start + 4096])
        OutgoingBody.finish(body, None)
