"""The pages for people: `/` and `/docs`, with all they need; nothing is loaded from elsewhere."""

import importlib.util
from functools import cache
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from fastapi.responses import FileResponse, RedirectResponse, Response

from service.errors import NotFound

WEB: Final = Path(__file__).resolve().parents[1] / "web"
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-cache",
}
_SWAGGER_HEADERS: Final = _HEADERS | {
    "Content-Security-Policy": _POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
}
_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_SWAGGER: Final = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def index() -> Response:
    """A classifier of one's own, from a browser."""
    return FileResponse(WEB / "index.html", media_type="text/html", headers=_HEADERS)


@router.get("/docs")
async def docs() -> Response:
    """Swagger UI on `/openapi.json`; asks for the key where one is needed."""
    return FileResponse(WEB / "docs.html", media_type="text/html", headers=_SWAGGER_HEADERS)


@router.get("/favicon.ico")
async def favicon() -> Response:
    """The icon has another name; browsers ask for this one."""
    return RedirectResponse("/web/icon.svg", status_code=301)


@router.get("/web/{name}")
async def asset(name: str) -> Response:
    """A file of the pages: one of those in the folder, told by its name and never by a path."""
    if media_type := _ours().get(name):
        return FileResponse(WEB / name, media_type=media_type, headers=_HEADERS)
    if name in _SWAGGER:
        headers = {**_HEADERS, "Cache-Control": "public, max-age=86400"}
        return FileResponse(swagger_folder() / name, media_type=_SWAGGER[name], headers=headers)
    raise NotFound("there is no such file")


@cache
def _ours() -> dict[str, str]:
    """The media type of each file that the pages load."""
    return {path.name: _TYPES[path.suffix] for path in WEB.iterdir() if path.suffix in _TYPES}


def swagger_folder() -> Path:
    """Where the package `fastapi-offline` has Swagger UI's files; only its files are used, none of its code."""
    spec = importlib.util.find_spec("fastapi_offline")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "static"
