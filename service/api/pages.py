"""The pages for people: `/` and `/docs`, with all they need; nothing is loaded from elsewhere."""

import importlib.util
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from fastapi.responses import FileResponse, RedirectResponse, Response

from service.errors import NotFound

WEB: Final = Path(__file__).resolve().parents[1] / "web"
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer"}
_OURS: Final = {"docs.js": "text/javascript", "style.css": "text/css", "icon.svg": "image/svg+xml"}
_SWAGGER: Final = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def index() -> Response:
    """Where to go from here."""
    return FileResponse(WEB / "index.html", media_type="text/html", headers=_HEADERS)


@router.get("/docs")
async def docs() -> Response:
    """Swagger UI on `/openapi.json`; asks for the key where one is needed."""
    return FileResponse(WEB / "docs.html", media_type="text/html", headers=_HEADERS)


@router.get("/favicon.ico")
async def favicon() -> Response:
    """The icon has another name; browsers ask for this one."""
    return RedirectResponse("/web/icon.svg", status_code=301)


@router.get("/web/{name}")
async def asset(name: str) -> Response:
    """A file of the pages, out of a fixed list."""
    if name in _OURS:
        return FileResponse(WEB / name, media_type=_OURS[name], headers=_HEADERS)
    if name in _SWAGGER:
        headers = {**_HEADERS, "Cache-Control": "public, max-age=86400"}
        return FileResponse(swagger_folder() / name, media_type=_SWAGGER[name], headers=headers)
    raise NotFound("there is no such file")


def swagger_folder() -> Path:
    """Where the package `fastapi-offline` has Swagger UI's files; only its files are used, none of its code."""
    spec = importlib.util.find_spec("fastapi_offline")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "static"
