"""A small server that speaks OpenAI's and Anthropic's protocols, events included, and counts its own tokens.

Every answer is WORDS. A prompt of ``slowly`` is answered until the event ``release`` is set: then the rest of
the stream comes. As the real ones do, OpenAI's stream tells its usage only if it is asked to.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

WORDS = ("The ", "answer ", "is ", "42.")
TOKENS_IN, TOKENS_OUT = 1_000, 500


class Models:
    """``app`` is the ASGI application; every call uses TOKENS_IN and TOKENS_OUT."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.app = Starlette(
            routes=[
                Route("/v1/chat/completions", self._completions, methods=["POST"]),
                Route("/v1/messages", self._messages, methods=["POST"]),
            ]
        )

    async def _completions(self, request: Request) -> Response:
        asked = await request.json()
        if asked.get("stream"):
            return _events(self._paced(asked, _chunks(asked)))
        choice = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "".join(WORDS)},
        }
        return JSONResponse(
            {**_completion(asked, "chat.completion"), "choices": [choice], "usage": _openai_usage()}
        )

    async def _messages(self, request: Request) -> Response:
        asked = await request.json()
        if asked.get("stream"):
            return _events(self._paced(asked, _message_events(asked)))
        text = [{"type": "text", "text": "".join(WORDS)}]
        return JSONResponse({**_message(asked, TOKENS_OUT), "content": text, "stop_reason": "end_turn"})

    async def _paced(self, asked: Mapping[str, Any], events: list[str]) -> AsyncIterator[str]:
        slowly = asked["messages"][-1]["content"] == "slowly"
        for number, event in enumerate(events):
            if slowly and number == len(events) // 2:
                await self.release.wait()
            yield event


def _events(events: AsyncIterator[str]) -> Response:
    return StreamingResponse(events, media_type="text/event-stream")


def _event(data: object, name: str = "") -> str:
    return (f"event: {name}\n" if name else "") + f"data: {json.dumps(data)}\n\n"


def _completion(asked: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1_700_000_000, "model": asked["model"]}


def _openai_usage() -> dict[str, int]:
    return {
        "prompt_tokens": TOKENS_IN,
        "completion_tokens": TOKENS_OUT,
        "total_tokens": TOKENS_IN + TOKENS_OUT,
    }


def _chunks(asked: Mapping[str, Any]) -> list[str]:
    base = {**_completion(asked, "chat.completion.chunk"), "usage": None}
    deltas = [{"role": "assistant", "content": ""}, *({"content": word} for word in WORDS), {}]
    chunks = [
        {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}]}
        for delta in deltas
    ]
    if (asked.get("stream_options") or {}).get("include_usage"):
        chunks.append({**base, "choices": [], "usage": _openai_usage()})
    return [*map(_event, chunks), "data: [DONE]\n\n"]


def _message(asked: Mapping[str, Any], tokens_out: int) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": asked["model"],
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": TOKENS_IN, "output_tokens": tokens_out},
    }


def _message_events(asked: Mapping[str, Any]) -> list[str]:
    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": _message(asked, 1)},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
            for word in WORDS
        ),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": ended, "usage": {"output_tokens": TOKENS_OUT}},
        {"type": "message_stop"},
    ]
    return [_event(event, event["type"]) for event in events]
