"""The API page: the OpenAPI document as one HTML page, made here. No script, no font, nothing from elsewhere.

It works offline, prints, and reads well aloud; its policy lets a browser load nothing at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

router = APIRouter(include_in_schema=False)

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_SENTENCE_END = re.compile(r"(?<=\.)\s|\n\n")
_METHODS = ("get", "post", "put", "patch", "delete")
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --mark: #2a6f97; }
@media (prefers-color-scheme: dark) { :root { --mark: #8ecae6; } }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 62rem; padding: 1.5rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); text-transform: capitalize; }
a { color: var(--mark); } code, pre { font: 0.9em/1.45 ui-monospace, monospace; }
pre { background: var(--soft); padding: 0.75rem; overflow-x: auto; border-radius: 6px; }
details { border: 1px solid var(--line); border-radius: 6px; margin: 0.6rem 0; padding: 0 0.9rem; }
summary { cursor: pointer; padding: 0.5rem 0; }
summary b { color: var(--mark); display: inline-block; min-width: 4rem; }
summary span { display: block; margin-left: 4.3rem; font-size: 0.9em; opacity: 0.75; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: 0.25rem 0.75rem 0.25rem 0; }
th { font-weight: 600; } td { border-top: 1px solid var(--line); vertical-align: top; } nav a { margin-right: 1rem; }
"""


@router.get("/")
async def root() -> RedirectResponse:
    """Whoever types the address alone is led to the API page."""
    return RedirectResponse("/docs", 307)


@router.get("/docs", response_class=HTMLResponse)
async def docs(request: Request) -> HTMLResponse:
    """The API page."""
    page = getattr(request.app.state, "reference", None)
    if page is None:
        page = request.app.state.reference = render(request.app.openapi())
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
    return HTMLResponse(page, headers=headers)


def render(document: dict[str, Any]) -> str:
    """The page of an OpenAPI document; every text of it is escaped."""
    groups: dict[str, list[str]] = {}
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                operation = item[method]
                groups.setdefault(operation.get("tags", ["other"])[0], []).append(_operation(path, method, operation))
    schemas = document.get("components", {}).get("schemas", {})
    info = document["info"]
    nav = " ".join(f'<a href="#{escape(tag)}">{escape(tag)}</a>' for tag in [*groups, "schemas"])
    body = "".join(f'<h2 id="{escape(tag)}">{escape(tag)}</h2>{"".join(items)}' for tag, items in groups.items())
    models = "".join(_schema(name, schema) for name, schema in sorted(schemas.items()))
    paragraphs = "".join(f"<p>{_inline(text)}</p>" for text in info.get("description", "").split("\n\n"))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(info['title'])} API</h1><p>Version {escape(info['version'])} &middot; "
        f'<a href="/openapi.json">openapi.json</a></p>{paragraphs}<nav>{nav}</nav>'
        f'{body}<h2 id="schemas">schemas</h2>{models}</body></html>'
    )


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    text = operation.get("description", operation.get("summary", ""))
    parts = [f"<p>{_inline(text)}</p>"]
    if operation.get("security"):
        parts.append("<p>Needs <code>Authorization: Bearer</code>.</p>")
    if operation.get("parameters"):
        rows = [
            (
                f"<code>{escape(one['name'])}</code>",
                escape(one["in"]),
                _type(one.get("schema", {})),
                _inline(one.get("description", "")),
            )
            for one in operation["parameters"]
        ]
        parts.append(_table(("parameter", "in", "type", ""), rows))
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<p>Body, <code>{escape(media)}</code>: {_type(content.get('schema', {}))}</p>")
    rows = []
    for status, response in operation.get("responses", {}).items():
        for media, content in (response.get("content") or {"": {}}).items():
            shape = _type(content.get("schema", {})) if media else ""
            rows.append(
                (escape(status), f"<code>{escape(media)}</code>", shape, _inline(response.get("description", "")))
            )
    parts.append(_table(("answer", "media type", "type", ""), rows))
    name = escape(operation.get("operationId", ""))
    gist = f"<span>{_inline(_first_sentence(text))}</span>"
    head = f"<summary><b>{method.upper()}</b> <code>{escape(path)}</code> {gist}</summary>"
    return f'<details id="{name}">{head}{"".join(parts)}</details>'


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = [
        (
            f"<code>{escape(field)}</code>{'' if field in required else ' (optional)'}",
            _type(one),
            _inline(one.get("description", "")),
        )
        for field, one in schema.get("properties", {}).items()
    ]
    table = _table(("member", "type", ""), rows)
    text = f"<p>{_inline(schema.get('description', ''))}</p>"
    return f'<details id="schema-{escape(name)}"><summary><code>{escape(name)}</code></summary>{text}{table}</details>'


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(_type(one) for one in schema[key])
    if "enum" in schema:
        return " | ".join(f"<code>{escape(json.dumps(one))}</code>" for one in schema["enum"])
    if "const" in schema:
        return f"<code>{escape(json.dumps(schema['const']))}</code>"
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    bounds = [f"{key} {schema[key]}" for key in ("minimum", "maximum", "minLength", "maxLength") if key in schema]
    return escape(schema.get("type", "any") + (f" ({', '.join(bounds)})" if bounds else ""))


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{one}</th>" for one in heads)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{lines}</table>"


def _first_sentence(text: str) -> str:
    return _SENTENCE_END.split(text, maxsplit=1)[0]


def _inline(text: str) -> str:
    """Escaped text with what stands between back quotes as code."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if index % 2 else piece for index, piece in enumerate(pieces))
