"""The application: health, schema, one row, many rows, uploads, and the front page with its form."""

from __future__ import annotations

import asyncio
import functools
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from plait.base import __version__
from plait.base.errors import ConfigError, PlaitError, need
from plait.data.labels import label_text
from plait.data.modality import Modality
from plait.encoders.tabular import Tabular
from plait.estimators.base import FusionEstimator
from plait.serving.answers import Answers, Reader
from plait.serving.limits import Guard, Limits, Refused

if TYPE_CHECKING:
    from fastapi import FastAPI


ASSETS = Path(__file__).parent / "assets"
#: Levels of a category that a field suggests.
_SUGGESTED = 200
#: All that the page may load: itself.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def front_page(models: dict[str, FusionEstimator]) -> str:
    """The HTML of the form for all modalities of the models."""
    modalities = {m.name: (m, model) for model in models.values() for m in model.schema_.modalities}
    fields = "\n".join(_fieldset(m, model) for m, model in modalities.values())
    page = (ASSETS / "form.html").read_text(encoding="utf-8")
    title = escape(", ".join(models))
    return page.replace("{{title}}", title).replace("{{fields}}", fields)


def _fieldset(modality: Modality, model: FusionEstimator) -> str:
    legend = f"{escape(modality.name)} <small>{escape(modality.kind)}</small>"
    rows = "\n".join(_labelled(column, field) for column, field in _fields(modality, model))
    return f"<fieldset><legend>{legend}</legend>\n{rows}\n</fieldset>"


def _labelled(column: str, field: str) -> str:
    return f"<label><span>{escape(column)}</span>{field}</label>"


def _fields(modality: Modality, model: FusionEstimator) -> Iterator[tuple[str, str]]:
    """Each column with its field."""
    encoder = model.features_.encoders[modality.name]
    parts = encoder.features if isinstance(encoder, Tabular) else []
    for column in modality.columns:
        name = f'name="{escape(column, quote=True)}"'
        if modality.kind in ("image", "audio", "video"):
            yield column, f'<input type="file" {name} accept="{modality.kind}/*">'
        elif modality.kind in ("text", "code"):
            yield column, f'<textarea {name} rows="3"></textarea>'
        elif modality.kind == "vector":
            yield column, f'<input type="text" {name} placeholder="numbers, with commas">'
        else:
            own = [part for part in parts if part.name == column]
            yield column, _tabular({part.type for part in own}, name, [w for p in own for w in p.vocabulary])


def _tabular(types: set[str], name: str, levels: list[str]) -> str:
    if "boolean" in types:
        return f'<select {name}><option value=""></option><option>yes</option><option>no</option></select>'
    if levels:
        listed = f"levels-{abs(hash(name)):x}"
        options = "".join(f'<option value="{escape(level, quote=True)}">' for level in levels[:_SUGGESTED])
        return f'<input type="text" {name} list="{listed}"><datalist id="{listed}">{options}</datalist>'
    if "date" in types:
        return f'<input type="text" {name} placeholder="2026-01-31">'
    kind = ' inputmode="decimal"' if "number" in types else ""
    return f'<input type="text" {name}{kind}>'


_SAFE = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Content-Security-Policy": POLICY}
_STATIC = {"form.css": "text/css", "form.js": "text/javascript"}
_JSON, _FORM = "application/json", "multipart/form-data"


class Service:
    """Answers requests with one model at a time: rows wait in line, and who waits too long is told."""

    def __init__(self, answers: Answers, limits: Limits) -> None:
        self.answers, self.limits = answers, limits
        self.reader = Reader([model.schema_ for model in answers.models.values()], limits)
        self.line = ThreadPoolExecutor(1, thread_name_prefix="plait-serve")  # a model answers one request at a time
        self.page = front_page(answers.models)

    async def predict(self, rows: list[Any], worth: bool) -> list[dict[str, Any]]:
        """One answer per row.

        Raises:
            Refused: a row cannot be taken, or the answer takes too long.
        """
        work = functools.partial(self._work, rows, worth)
        try:
            return await asyncio.wait_for(
                asyncio.get_running_loop().run_in_executor(self.line, work), self.limits.seconds
            )
        except TimeoutError:
            raise Refused(
                504, f"no answer within {self.limits.seconds:g} seconds (--seconds); send fewer rows"
            ) from None

    def _work(self, rows: list[Any], worth: bool) -> list[dict[str, Any]]:
        frame: pd.DataFrame = self.reader.table(rows)
        return self.answers(frame, worth=worth)

    def described(self) -> dict[str, Any]:
        """What the models take and give."""
        return {
            "targets": [
                {"target": target, "task": model.task_, "classes": [label_text(label) for label in model.labels]}
                for target, model in self.answers.models.items()
            ],
            "columns": [{"column": name, "kind": kind} for name, kind in self.reader.kinds.items()],
            "limits": {"body_bytes": self.limits.body_bytes, "rows": self.limits.rows, "seconds": self.limits.seconds},
        }


def create_app(
    model: FusionEstimator | Mapping[str, FusionEstimator] | str | Path, limits: Limits | None = None
) -> FastAPI:
    """The ASGI application of a fitted model, or of the folder of one (extra ``serve``).

    Example:
        >>> from fastapi.testclient import TestClient
        >>> from plait import FusionClassifier
        >>> table = pd.DataFrame({"size": [1.0, 2.0, 8.0, 9.0] * 10})
        >>> model = FusionClassifier(store="none", epochs=5, members=1).fit(table, ["ant", "ant", "cow", "cow"] * 10)
        >>> client = TestClient(create_app(model))
        >>> client.post("/predict", json={"size": 1.5}).json()["answer"]
        'ant'
    """
    fastapi = need("fastapi", "serve")
    need("multipart", "serve")
    limits = limits or Limits()
    service = Service(Answers(model), limits)
    # Its pages of documentation would load scripts from elsewhere; openapi.json is there.
    app: FastAPI = fastapi.FastAPI(title="plait", version=__version__, docs_url=None, redoc_url=None)
    app.add_middleware(Guard, limits=limits)
    _add_pages(app, service)
    _add_answers(app, service)
    _add_errors(app)
    return app


def _add_pages(app: FastAPI, service: Service) -> None:
    from fastapi.responses import HTMLResponse, Response

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def front() -> HTMLResponse:
        return HTMLResponse(service.page, headers=_SAFE)

    def static(name: str) -> None:
        @app.get(f"/{name}", include_in_schema=False)
        async def asset() -> Response:
            return Response((ASSETS / name).read_bytes(), media_type=_STATIC[name], headers=_SAFE)

    for name in _STATIC:
        static(name)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Whether the service answers, and with what."""
        return {"status": "ok", "plait": __version__, "targets": list(service.answers.models)}

    @app.get("/schema")
    async def schema() -> dict[str, Any]:
        """Targets, columns and limits."""
        return service.described()


def _body(kind: str, example: object) -> dict[str, object]:
    """What OpenAPI says of a request that is read by hand, so that every error is one line."""
    content = {kind: {"schema": {"type": "object"}, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


def _add_answers(app: FastAPI, service: Service) -> None:
    from fastapi import Request

    row = dict.fromkeys(list(service.reader.kinds)[:8])

    async def predict(request: Request, worth: bool = True) -> dict[str, Any]:
        """One row as JSON: columns and cells; what is missing or null is absent. Media: ``data:...;base64,...``."""
        given = await _json(request)
        return (await service.predict([given], worth))[0]

    async def batch(request: Request, worth: bool = False) -> dict[str, Any]:
        """Many rows: ``{"rows": [...]}``."""
        given = await _json(request)
        if not isinstance(given, dict) or not isinstance(given.get("rows"), list):
            raise Refused(422, 'expected {"rows": [...]}, a list of objects')
        return {"answers": await service.predict(given["rows"], worth)}

    async def upload(request: Request, worth: bool = True) -> dict[str, Any]:
        """One row as a form: a field per column, files as files."""
        return (await service.predict([await _form(request)], worth))[0]

    for path, function, kind, example in (
        ("/predict", predict, _JSON, row),
        ("/predict/batch", batch, _JSON, {"rows": [row]}),
        ("/predict/upload", upload, _FORM, row),
    ):
        function.__annotations__["request"] = Request  # which is imported late
        app.post(path, openapi_extra=_body(kind, example))(function)


async def _json(request: Any) -> Any:
    _check_type(request, _JSON)
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the request is no JSON ({str(error)[:120]})") from None


async def _form(request: Any) -> dict[str, Any]:
    """Fields by name; of several files of one name a list."""
    from starlette.exceptions import HTTPException

    _check_type(request, _FORM)
    result: dict[str, Any] = {}
    try:
        async with request.form(max_files=64, max_fields=1000) as form:
            for name, value in form.multi_items():
                cell = value if isinstance(value, str) else await value.read()
                if cell:
                    result[name] = cell if name not in result else [*_listed(result[name]), cell]
    except HTTPException as error:
        raise Refused(400, f"the form cannot be read ({error.detail})") from None
    return result


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _check_type(request: Any, expected: str) -> None:
    result = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if result != expected:
        raise Refused(415, f"the request is {result[:80] or 'of no type'}; expected {expected}")


def _add_errors(app: FastAPI) -> None:
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from starlette.exceptions import HTTPException

    async def answer(request: object, error: Exception) -> JSONResponse:
        if isinstance(error, HTTPException):
            what = "this address" if error.status_code == 404 else "this way of asking"
            said = f"{error.detail}: {what} is not served; /openapi.json says which are"
            return JSONResponse({"error": said}, error.status_code, error.headers)
        if isinstance(error, Refused):
            return JSONResponse({"error": error.message}, error.status)
        if isinstance(error, RequestValidationError):
            said = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            return JSONResponse({"error": said}, 422)
        if isinstance(error, PlaitError):
            return JSONResponse({"error": " ".join(str(error).split())}, 422)
        return JSONResponse({"error": "the service failed at this request; its log says why"}, 500)

    for kind in (HTTPException, Refused, RequestValidationError, PlaitError, Exception):
        app.add_exception_handler(kind, answer)


def serve(
    model: FusionEstimator | Mapping[str, FusionEstimator] | str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: Limits | None = None,
    started: Callable[[str], None] = lambda url: None,
) -> None:
    """Answer requests until stopped (extra ``serve``).

    Args:
        model: fitted, or the folder of one.
        host: address to listen at; by default only this machine can ask.
        port: to listen at; 0 takes a free one.
        limits: what is taken.
        started: called with the service's address as soon as requests are taken.

    Raises:
        ConfigError: the address cannot be listened at.
        ModelError: a folder that is broken, or of another version.
        MissingDependencyError: the extra ``serve`` is not installed.
    """
    uvicorn = need("uvicorn", "serve")
    app = create_app(model, limits)
    try:
        place = socket.create_server((host, port), backlog=1024)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"serve: {host}:{port} cannot be listened at ({error}); take another --port or --host"
        ) from None
    with place:
        started(f"http://{host}:{place.getsockname()[1]}/")
        config = uvicorn.Config(app, log_level="warning", timeout_keep_alive=5, server_header=False, lifespan="off")
        uvicorn.Server(config).run(sockets=[place])
