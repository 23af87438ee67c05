"""Makes the recorded-style answers beside this file, one or more for each row of the table of known shapes.

Run it only to add a sample: the files are kept, so that tests do not depend on the encoder at hand.
"""

from __future__ import annotations

import io
import json
from base64 import b64encode, urlsafe_b64encode
from itertools import zip_longest
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

HERE = Path(__file__).parent
HOST = "http://pictures.invalid"


def picture(name: str, color: tuple[int, int, int], **options: Any) -> bytes:
    """Draw a small picture, keep it as a file, give its bytes."""
    path = HERE / name
    image = Image.new("RGB", (24, 16), color)
    ImageDraw.Draw(image).ellipse((4, 2, 19, 13), fill=(255 - color[0], color[1], 90))
    buffer = io.BytesIO()
    image.save(buffer, path.suffix[1:].replace("jpg", "jpeg"), **options)
    path.write_bytes(buffer.getvalue())
    return buffer.getvalue()


PNG = picture("picture.png", (200, 30, 40))
JPEG = picture("picture.jpg", (20, 130, 60), quality=80)
WEBP = picture("picture.webp", (30, 60, 210), quality=80)
PNG_TEXT, JPEG_TEXT, WEBP_TEXT = (b64encode(data).decode() for data in (PNG, JPEG, WEBP))
PREVIEW_TEXT = b64encode(picture("preview.png", (128, 128, 128))).decode()
PNG_URL, JPEG_URL, WEBP_URL = (
    f"data:image/{kind};base64,{text}"
    for kind, text in (("png", PNG_TEXT), ("jpeg", JPEG_TEXT), ("png", WEBP_TEXT))  # the last one's claim is wrong
)


def compact(value: Any) -> str:
    """JSON without blanks, other scripts as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def stream(*events: Any, done: bool = True, end: str = "\n", named: bool = False) -> bytes:
    """Server-Sent Events; ``named`` gives each an event line from its type or object."""
    blocks = []
    for event in events:
        name = event.get("type") or event.get("object") if named and isinstance(event, dict) else None
        lines = ([f"event: {name}"] if name else []) + [f"data: {event if isinstance(event, str) else compact(event)}"]
        blocks.append(end.join([*lines, "", ""]))
    return ("".join(blocks) + (f"data: [DONE]{end}{end}" if done else "")).encode()


def chunk(content: Any = None, *, index: int = 0, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    """A chat.completion.chunk."""
    if content is not None:
        delta["content"] = content
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1760000000,
        "model": "m",
        "choices": [choice],
    }


def completion(**message: Any) -> dict[str, Any]:
    """A chat.completion document."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1760000000, "model": "m", "choices": [choice]}


def pieces(text: str, size: int) -> list[str]:
    """The text cut every ``size`` characters."""
    return [text[start : start + size] for start in range(0, len(text), size)]


def chat() -> dict[str, bytes]:
    """C1 to C10."""
    url = f"{HOST}/v1/files/image/users-1-generated-2-image.jpg?sig=a%2Bb&exp=1"
    picture_part = {"type": "image_url", "image_url": {"url": PNG_URL}}
    thinking = f"<think>先看看 ![预览]({HOST}/thinking/preview.png)\n[WebSearch] {HOST}/thinking/page.jpg\n</think>\n"
    second = f"![image]({HOST}/two.png)"
    lines = [chunk(f"![image]({PNG_URL})"), chunk(f"\n![image]({HOST}/b.webp)", finish="stop")]
    words = "完成！"
    return {
        "c1_grok2api_base64.sse": stream(chunk(f"![image]({PNG_URL})", role="assistant", finish="stop"), named=True),
        "c1_two_pictures_crlf.sse": stream(
            chunk("", role="assistant"),
            chunk(f"![image]({PNG_URL})\n![image]({JPEG_URL})", finish="stop"),
            end="\r\n",
            named=True,
        ),
        "c2_grok2api_url.sse": stream(
            chunk(f"![image]({url.replace('&', '&amp;')})", role="assistant", finish="stop"), named=True
        ),
        "c2_relative_url.sse": stream(
            chunk("![image](/v1/files/image/7.png)\n", role="assistant"), chunk(finish="stop")
        ),
        "c3_thinking.sse": stream(
            *(chunk(piece) for piece in pieces(thinking, 9)), chunk(f"![image]({JPEG_URL})"), chunk(finish="stop")
        ),
        "c3_reasoning_content.sse": stream(
            chunk(reasoning_content=f"I will look at {HOST}/thinking/a.png first"),
            chunk(reasoning_content=f"![draft]({HOST}/thinking/b.png)"),
            chunk(f"{words}![image]({WEBP_URL})", finish="stop"),
        ),
        "c4_split_base64.sse": stream(
            *(chunk(piece) for piece in pieces(f"{words}![image]({PNG_URL}) 请看", 11)), chunk(finish="stop")
        ),
        "c4_split_url.sse": stream(
            *(chunk(piece) for piece in pieces(f"Here: {second} and done", 3)), chunk(finish="stop")
        ),
        "c5_two_choices.sse": stream(
            *(
                chunk(piece, index=index)
                for both in zip_longest(pieces(f"![image]({PNG_URL})", 40), pieces(f"![image]({JPEG_URL})", 40))
                for index, piece in enumerate(both)
                if piece is not None
            ),
            chunk(index=0, finish="stop"),
            chunk(index=1, finish="stop"),
        ),
        "c5_interleaved.sse": stream(
            chunk("![image](http://pictures.invalid/f", index=0),
            chunk("![image](http://pictures.invalid/s", index=1),
            chunk("irst.png)", index=0),
            chunk("econd.png)", index=1),
            chunk(index=0, finish="stop"),
            chunk(index=1, finish="stop"),
        ),
        "c6_delta_images.sse": stream(
            ": OPENROUTER PROCESSING",
            chunk("Here you are", role="assistant"),
            chunk("", images=[picture_part]),
            chunk("", finish="stop"),
        ).replace(b"data: : OPEN", b": OPEN"),
        "c6_message_images.json": compact(completion(content="Done.", images=[picture_part, picture_part])).encode(),
        "c7_plain_json.json": json.dumps(completion(content=f"{words}\n\n![image]({JPEG_URL})"), indent=2).encode(),
        "c8_json_lines.txt": ("\n".join(map(compact, lines)) + "\n[DONE]\n").encode(),
        "c8_back_to_back.txt": ("".join(map(compact, lines)) + "[DONE]").encode(),
        "c8_pretty.txt": ("\n".join(json.dumps(line, indent=2) for line in lines) + "\n\n[DONE]").encode(),
        "c8_two_documents.txt": "\n".join(
            compact(completion(content=f"![image]({value})")) for value in (PNG_URL, JPEG_URL)
        ).encode(),
        "c9_parts.json": compact(
            completion(
                content=[
                    {"type": "text", "text": words},
                    picture_part,
                    {"type": "thinking", "thinking": f"{HOST}/x.png"},
                ]
            )
        ).encode(),
        "c9_output_image.json": compact(
            completion(content=[{"type": "output_image", "image_url": JPEG_URL}, {"type": "text", "text": words}])
        ).encode(),
        "c9_gemini_inline.sse": stream(
            chunk([{"text": "Sure"}, {"inlineData": {"mimeType": "image/jpeg", "data": PNG_TEXT}}]),
            chunk([{"inline_data": {"mime_type": "image/webp", "data": WEBP_TEXT}}], finish="stop"),
        ),
        "c9_gemini_native.json": compact(
            {
                "candidates": [
                    {
                        "content": {
                            "parts": [
                                {"text": "thinking of it", "thought": True},
                                {"inlineData": {"mimeType": "image/png", "data": PREVIEW_TEXT}, "thought": True},
                                {"inlineData": {"mimeType": "image/png", "data": PNG_TEXT}},
                            ]
                        },
                        "finishReason": "STOP",
                    }
                ]
            }
        ).encode(),
        "c10_error_event.sse": stream(
            chunk("", role="assistant"),
            {"error": {"message": "Upstream request failed", "type": "server_error", "code": "upstream_error"}},
        ),
        "c10_error_string.sse": stream({"error": "No available tokens, please retry later"}, done=False),
        "c10_error_after_picture.sse": stream(
            chunk(f"![image]({PNG_URL})"), {"error": {"message": "generation 2 failed", "type": "server_error"}}
        ),
        "no_done_finished.sse": stream(chunk(f"![image]({PNG_URL})"), done=False),
        "no_done_cut.sse": stream(chunk("![ima"), chunk(f"ge]({PNG_URL[:60]}"), done=False) + b'data: {"choices":[{"in',
        "words_only.sse": stream(chunk("I cannot edit this picture, sorry."), chunk(finish="stop")),
        "prose_urls.sse": stream(
            chunk(
                f"See https://docs.invalid/page?x=1 and {HOST}/found.webp?token=1, or <img alt='x' src='{HOST}/tag'>.",
                finish="stop",
            )
        ),
    }


def responses() -> dict[str, bytes]:
    """R1 to R4."""
    text = f"完成 ![image]({PNG_URL})"
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [
            {"type": "output_text", "text": text, "annotations": [{"type": "url_citation", "url": f"{HOST}/cited.png"}]}
        ],
    }
    drawn = {"id": "ig_1", "type": "image_generation_call", "status": "completed", "result": JPEG_TEXT}
    reasoning = {
        "id": "rs_1",
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": f"{HOST}/thought.png"}],
    }
    whole = {"id": "resp_1", "object": "response", "status": "completed", "error": None}
    delta = {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0}
    other = {**delta, "item_id": "msg_2", "output_index": 1}
    partial = {"type": "response.image_generation_call.partial_image", "item_id": "ig_1", "output_index": 0}
    error = {"code": "server_error", "message": "The model failed to draw."}
    return {
        "r1_response.json": compact({**whole, "output": [reasoning, message, drawn]}).encode(),
        "r1_result_list.json": compact({**whole, "output": [{**drawn, "result": [PNG_TEXT]}]}).encode(),
        "r2_repeated_text.sse": stream(
            {"type": "response.created", "response": {**whole, "status": "in_progress", "output": []}},
            *({**delta, "delta": piece} for piece in pieces(text, 30)),
            {
                "type": "response.output_text.done",
                "item_id": "msg_1",
                "output_index": 0,
                "content_index": 0,
                "text": text,
            },
            {
                "type": "response.content_part.done",
                "item_id": "msg_1",
                "output_index": 0,
                "part": message["content"][0],
            },
            {"type": "response.output_item.done", "output_index": 0, "item": message},
            {"type": "response.completed", "response": {**whole, "output": [message]}},
            done=False,
            named=True,
        ),
        "r2_two_items.sse": stream(
            {**delta, "delta": f"![image]({HOST}/on"},
            {**other, "delta": f"![image]({HOST}/tw"},
            {**delta, "delta": "e.png)"},
            {**other, "delta": "o.png)"},
            {"type": "response.completed", "response": {**whole, "output": []}},
            done=False,
            named=True,
        ),
        "r3_partial_images.sse": stream(
            {"type": "response.image_generation_call.in_progress", "item_id": "ig_1", "output_index": 0},
            {**partial, "partial_image_index": 0, "partial_image_b64": PREVIEW_TEXT},
            {**partial, "partial_image_index": 1, "partial_image_b64": PREVIEW_TEXT},
            {"type": "response.output_item.done", "output_index": 0, "item": {**drawn, "status": "generating"}},
            {"type": "response.completed", "response": {**whole, "output": [drawn]}},
            done=False,
            named=True,
        ),
        "r3_cut_after_previews.sse": stream(
            {**partial, "partial_image_index": 0, "partial_image_b64": PREVIEW_TEXT}, done=False, named=True
        ),
        "r4_failed.sse": stream(
            {"type": "response.created", "response": {**whole, "status": "in_progress", "output": []}},
            {"type": "response.failed", "response": {**whole, "status": "failed", "error": error, "output": []}},
            done=False,
            named=True,
        ),
        "r4_error_event.sse": stream(
            {
                "type": "error",
                "code": "rate_limit_exceeded",
                "message": "Rate limit reached. Please try again in 20s.",
                "param": None,
            },
            done=False,
            named=True,
        ),
    }


def edits() -> dict[str, bytes]:
    """E1 to E5."""
    wrapped = "\n".join(pieces(JPEG_TEXT, 76))
    safe = urlsafe_b64encode(WEBP).decode().rstrip("=")
    usage = {"total_tokens": 100, "input_tokens": 50, "output_tokens": 50}
    edit_partial = {"type": "image_edit.partial_image", "b64_json": PREVIEW_TEXT, "size": "1024x1024"}
    edit_done = {"type": "image_edit.completed", "b64_json": PNG_TEXT, "created_at": 1760000000, "usage": usage}
    empty = {"type": "image_generation.partial_image", "b64_json": "", "url": "", "index": 0}
    drawn = {"type": "image_generation.completed", "usage": usage}
    part = {"type": "image_edit.partial_succeeded", "model": "image-01"}
    return {
        "e1_b64.json": compact(
            {"created": 1760000000, "data": [{"b64_json": PNG_TEXT, "revised_prompt": f"see {HOST}/no.png"}]}
        ).encode(),
        "e1_variants.json": compact(
            {"created": 1760000000, "data": [{"b64_json": wrapped}, {"b64_json": safe}, {"b64_json": PNG_URL}]}
        ).encode(),
        "e1_url.json": compact(
            {
                "created": 1,
                "data": [{"url": f"{HOST}/a?sig=1&amp;x=2", "mime_type": "image/jpeg"}, {"url": "/v1/files/b"}],
            }
        ).encode(),
        "e2_completed.sse": stream(
            {**edit_partial, "partial_image_index": 0},
            {**edit_partial, "partial_image_index": 1},
            edit_done,
            done=False,
            named=True,
        ),
        "e2_completed_done.sse": stream({**edit_partial, "partial_image_index": 0}, edit_done, named=True),
        "e3_progress.sse": stream(
            {**empty, "progress": 0},
            {**empty, "progress": 50},
            {**empty, "progress": 50, "index": 1},
            {**drawn, "index": 0, "b64_json": JPEG_TEXT},
            {**drawn, "index": 1, "base64": WEBP_TEXT},
            {**drawn, "index": 2, "b64_json": "", "url": f"{HOST}/third"},
            named=True,
        ),
        "e4_minimax.sse": stream(
            {**part, "image_index": 0, "url": f"{HOST}/0?e=1"},
            {**part, "image_index": 1, "url": f"{HOST}/1?e=1"},
            {"type": "image_edit.completed", "model": "image-01", "usage": {"generated_images": 2}},
            named=True,
        ),
        "e4_one_failed.sse": stream(
            {**part, "image_index": 0, "url": f"{HOST}/0?e=1"},
            {
                "type": "image_edit.partial_failed",
                "image_index": 1,
                "error": {"code": "InternalError", "message": "failed"},
            },
            {"type": "image_edit.completed", "usage": {"generated_images": 1}},
            named=True,
        ),
        "e5_error_string.json": compact({"created": 1, "data": ["error"]}).encode(),
        "e5_one_of_two.json": compact({"created": 1, "data": [{"b64_json": PNG_TEXT}, {"b64_json": "error"}]}).encode(),
    }


def surprises() -> dict[str, bytes]:
    """Answers that bug reports of other tools show: rows C11 to C16 of the table."""

    def told(text: str | None, reason: str = "stop", **beside: Any) -> bytes:
        message = {"role": "assistant", "content": text}
        return compact({"choices": [{"index": 0, "message": message, "finish_reason": reason, **beside}]}).encode()

    def drawn(parts: list[Any], **beside: Any) -> bytes:
        return compact({"candidates": [{"content": {"role": "model", "parts": parts}, **beside}]}).encode()

    full, thumb, escaped = f"{HOST}/full", f"{HOST}/thumb.webp", HOST.replace("/", "\\/")
    inline = {"inlineData": {"mimeType": "image/png", "data": PNG_TEXT}, "thought": True}
    return {
        "c11_embedded_and_links.json": told(f"![x]({full})\n[download]({HOST}/d.png) origin: {HOST}/source.png"),
        "c11_links_only.json": told(f"Here is your picture: [download]({HOST}/d.png)"),
        "c12_linked_markdown.json": told(f"[![x]({thumb})]({full})"),
        "c12_linked_tag.json": told(f'<a href="{full}" target="_blank"><img src="{thumb}"></a>'),
        "c13_list_escaped.json": told(f'{{"images":["{escaped}\\/one","{escaped}\\/two"]}}'),
        "c13_fence.json": told(f'Done:\n```json\n{{"data": [{{"url": "{full}"}}]}}\n```'),
        "c14_only_thought.json": drawn([{"text": "plan", "thought": True}, inline], finishReason="STOP"),
        "c14_thought_and_picture.json": drawn(
            [inline, {"inlineData": {"mimeType": "image/jpeg", "data": JPEG_TEXT}}], finishReason="STOP"
        ),
        "c15_web_page.html": b"<!doctype html><html><head><title>Relay</title></head><body><div id=root></div></html>",
        "c16_native.json": told(None, native_finish_reason="PROHIBITED_CONTENT"),
        "c16_length.json": told("Let me think about", "length"),
        "c16_finish_message.json": drawn(
            [],
            finishReason="IMAGE_OTHER",
            finishMessage="Unable to show the generated image.",
        ),
        "c16_incomplete.json": compact(
            {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": []}
        ).encode(),
        "c16_prompt_feedback.json": compact({"promptFeedback": {"blockReason": "OTHER"}}).encode(),
    }


def errors() -> dict[str, bytes]:
    """Bodies of error statuses."""
    page = "<!DOCTYPE html><html><head><title>502 Bad Gateway</title><style>h1{color:red}</style></head>"
    hidden = {"error": {"message": "No available tokens", "type": "server_error", "code": "internal_error"}}
    unknown = {"error": {"message": "Unknown parameter: 'response_format'.", "type": "invalid_request_error"}}
    blocked = {"error": {"message": "Your request was rejected by the safety system.", "code": "moderation_blocked"}}
    return {
        "error_502.html": f"{page}<body><center><h1>502 Bad Gateway</h1></center><hr>nginx</body></html>".encode(),
        "error_500_hidden_limit.json": compact(hidden).encode(),
        "error_400_parameter.json": compact({"error": {**unknown["error"], "param": "response_format"}}).encode(),
        "error_400_content.json": compact(blocked).encode(),
    }


def main() -> None:
    """Write all samples."""
    for name, body in (chat() | responses() | edits() | surprises() | errors()).items():
        (HERE / name).write_bytes(body)


if __name__ == "__main__":
    main()
