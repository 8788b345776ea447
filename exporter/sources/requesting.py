"""Asks a web server for one JSON answer: credentials, retries, limits, and its faults in words without secrets."""

from __future__ import annotations

import base64
import contextlib
import email.utils
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import Meta

from exporter.config.types import Secret
from exporter.contracts import Clock, Deadline
from exporter.errors import SourceDataError, SourceDenied, SourceError, SourceTimeout, SourceUnavailable

if TYPE_CHECKING:
    import requests

_PASSING = {408, 425, 429, 500, 502, 503, 504}
_CHUNK = 65_536
_SLOWEST = 30.0


class Basic(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    username: Annotated[str, Meta(description="User name.")]
    password: Annotated[Secret, Meta(description="Password, best as !env NAME or !file PATH.")]


class Auth(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to say who asks."""

    bearer: Annotated[Secret | None, Meta(description="Token of `Authorization: Bearer`.")] = None
    bearer_file: Annotated[
        str | None, Meta(description="File with such a token, read again at every request, as tokens are renewed.")
    ] = None
    basic: Annotated[Basic | None, Meta(description="User name and password.")] = None

    def __post_init__(self) -> None:
        if sum(way is not None for way in (self.bearer, self.bearer_file, self.basic)) != 1:
            raise ValueError("auth needs one of bearer, bearer_file and basic")


@dataclass(frozen=True, slots=True)
class Answer:
    """A status below 400 (or 404, 410), the body, and the headers that a reader needs; `next` is the Link header's."""

    status: int
    body: bytes
    etag: str | None
    modified: str | None
    next: str | None


@dataclass(frozen=True, slots=True)
class Limits:
    timeout: float
    retries: int
    size: int


class Client:
    """A session with one server; *sleep* waits between retries.  Raises only SourceErrors."""

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, Secret],
        auth: Auth | None,
        limits: Limits,
        clock: Clock,
        sleep: Callable[[float], None],
    ) -> None:
        self._url = url
        self._headers = headers
        self._auth = auth
        self._limits = limits
        self._clock = clock
        self._sleep = sleep
        self._session: requests.Session | None = None
        self._pause_until = 0.0

    def get(self, url: str, params: Mapping[str, str], headers: Mapping[str, str], deadline: Deadline) -> Answer:
        """The answer to GET *url*; tried again, with growing random pauses, while the fault may pass."""
        import tenacity  # noqa: PLC0415 - only who asks a server pays for it

        pause = self._pause_until - self._clock.monotonic()
        if pause >= deadline.remaining():
            raise SourceUnavailable(f"{place(url)}: the server asked to be left alone for {pause:.0f} s more")
        if pause > 0:
            self._sleep(pause)
        jitter = tenacity.wait_random_exponential(multiplier=0.5, max=_SLOWEST)

        def wait(state: tenacity.RetryCallState) -> float:
            return max(jitter(state), self._pause_until - self._clock.monotonic())

        def over(state: tenacity.RetryCallState) -> bool:
            return state.attempt_number > self._limits.retries or state.upcoming_sleep >= deadline.remaining()

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_Passing), wait=wait, stop=over, sleep=self._sleep, reraise=True
        )
        try:
            return retrying(self._once, url, params, headers, deadline)
        except _Passing as passing:
            raise passing.error from None

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    # --- one request -------------------------------------------------------------------------------

    def _once(self, url: str, params: Mapping[str, str], headers: Mapping[str, str], deadline: Deadline) -> Answer:
        import requests  # noqa: PLC0415
        import urllib3  # noqa: PLC0415

        where = place(url)
        left = deadline.remaining()
        if not left:
            raise SourceTimeout(f"{where}: the time of this poll is over")
        session = self._session = self._session or _session(set(self._headers))
        own = {**headers, **(self._secrets() if _origin(url) == _origin(self._url) else {})}
        try:
            with session.get(
                url,
                params=dict(params),
                headers=own,
                auth=_as_it_is,
                timeout=max(0.001, min(self._limits.timeout, left)),
                stream=True,
            ) as response:
                self._judge(response, where)
                return self._answer(response, where, deadline)
        except (requests.Timeout, urllib3.exceptions.TimeoutError):
            raise _Passing(SourceTimeout(f"{where}: no answer in time")) from None
        except requests.exceptions.SSLError:
            raise SourceUnavailable(f"{where}: its TLS certificate or protocol is not accepted") from None
        except requests.exceptions.TooManyRedirects:
            raise SourceDataError(f"{where}: redirects without end") from None
        except (
            requests.ConnectionError,
            urllib3.exceptions.HTTPError,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            raise _Passing(SourceUnavailable(f"{where}: {_reason(error)}")) from None
        except (requests.RequestException, ValueError, OSError) as error:  # their words may hold headers or the query
            raise SourceDataError(f"{where}: this request cannot be made ({type(error).__name__})") from None

    def _answer(self, response: requests.Response, where: str, deadline: Deadline) -> Answer:
        body = self._body(response, where, deadline) if response.status_code == 200 else b""
        link = response.links.get("next", {}).get("url")
        tag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
        return Answer(response.status_code, body, tag, modified, link)

    def _judge(self, response: requests.Response, where: str) -> None:
        """Raises for every status that brings no answer."""
        status = response.status_code
        if status in {401, 403, 407}:
            raise SourceDenied(f"{where}: HTTP {status}: check auth and headers")
        if status in _PASSING or status >= 500:
            self._pause_until = self._clock.monotonic() + self._retry_after(response.headers.get("Retry-After"))
            error = SourceUnavailable(f"{where}: HTTP {status}")
            raise _Passing(error) if status in _PASSING else error
        if status not in {200, 204, 304, 404, 410}:
            raise SourceDataError(f"{where}: HTTP {status}: the server does not accept this request")

    def _retry_after(self, header: str | None) -> float:
        """Seconds that a Retry-After header asks for; 0 if it says nothing readable."""
        if header is None:
            return 0.0
        if header.strip().isdecimal():
            return float(header)
        with contextlib.suppress(ValueError, TypeError):
            return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - self._clock.wall())
        return 0.0

    def _body(self, response: requests.Response, where: str, deadline: Deadline) -> bytes:
        """The whole body, unpacked; a server that drips has no more time than others."""
        body = bytearray()
        while chunk := response.raw.read1(_CHUNK, decode_content=True):
            body += chunk
            if len(body) > self._limits.size:
                raise SourceDataError(
                    f"{where}: the answer has more than {self._limits.size} bytes; use paging, or raise largest_answer"
                )
            if deadline.passed:
                raise SourceTimeout(f"{where}: the answer was not complete in time")
        return bytes(body)

    def _secrets(self) -> dict[str, str]:
        """The headers that only the configured server may see."""
        headers = {name: value.reveal() for name, value in self._headers.items()}
        if self._auth is None:
            return headers
        if self._auth.basic is not None:
            pair = f"{self._auth.basic.username}:{self._auth.basic.password.reveal()}"
            return headers | {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
        token = self._auth.bearer.reveal() if self._auth.bearer else _token(self._auth.bearer_file or "")
        return headers | {"Authorization": f"Bearer {token}"}


class _Passing(Exception):
    """A fault that may be over at the next try."""

    def __init__(self, error: SourceError) -> None:
        self.error = error
        super().__init__()


def decode(body: bytes, where: str) -> Any:
    """The JSON *body*; also such that holds a bare NaN, which is no JSON but is written all the same."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError):
        pass
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        kind = "HTML" if body.lstrip()[:1] == b"<" else "an empty answer" if not body.strip() else "something else"
        raise SourceDataError(f"{where}: expected JSON, found {kind}") from None


def place(url: str) -> str:
    """*url* without what may be secret: user, password, query."""
    try:
        parts = urlsplit(url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    except ValueError:
        return "the URL"


def _origin(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return "", "", None


def _token(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        raise SourceDenied(f"bearer_file {path}: {getattr(error, 'strerror', None) or 'is no text'}") from None


def _as_it_is(request: Any) -> Any:
    """An `auth` of requests that adds nothing, so that no ~/.netrc does."""
    return request


def _reason(error: BaseException) -> str:
    """The words of the operating system at the bottom of *error*; those above it may hold the query."""
    seen: BaseException | None = error
    words = "the connection broke"
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            words = seen.strerror
        inner = next((arg for arg in seen.args if isinstance(arg, BaseException)), None)
        seen = getattr(seen, "reason", None) or inner or seen.__cause__ or seen.__context__
        if not isinstance(seen, BaseException):
            break
    return words


def _session(secret: set[str]) -> requests.Session:
    """A session that shows *secret* headers to no other server, also when redirected."""
    import requests  # noqa: PLC0415

    class Session(requests.Session):
        def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
            old, new = response.request.url or "", prepared_request.url or ""
            if self.should_strip_auth(old, new):  # type: ignore[no-untyped-call]
                for name in {*secret, "Authorization"}:
                    prepared_request.headers.pop(name, None)

    session = Session()
    session.headers.update({"Accept": "application/json", "User-Agent": "model-exporter"})
    session.max_redirects = 5
    return session
