"""Reads records of a JSON API over HTTP: page by page, only what is new, and nothing twice where that can be told.

With `since` each sweep over the pages asks for what changed after the newest record, less a look-back; records of
the look-back that were delivered before are known by 64-bit digests in the cursor.  Without it every sweep reads all
pages again, and delivers those whose body changed; repeated records have no effect behind the join.
"""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import urljoin

import msgspec
import numpy as np
import xxhash
from msgspec import Meta

from exporter.config.types import Duration, Secret
from exporter.contracts import Clock, Cursor, Deadline, Floats, Poll, Refusals
from exporter.errors import SourceDataError, SourceTimeout, SourceUnavailable
from exporter.sources.mapping import Mapper
from exporter.sources.overlap import LARGEST, Digests, row_digests
from exporter.sources.records import Column, Records
from exporter.sources.requesting import Answer, Auth, Client, Limits, decode, place
from exporter.sources.tables import did_you_mean, walk
from exporter.sources.times import Times

_LOG = logging.getLogger(__name__)
_MOST_PAGES = 10_000
_FUTURE = 300.0
_PLACE_AND_DIGEST = np.dtype([("time", "<f8"), ("digest", "<u8")])


class PageNumber(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    parameter: Annotated[str, Meta(description="Query parameter that holds the number.")] = "page"
    start: Annotated[int, Meta(ge=0, description="Number of the first page.")] = 1
    size: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="Records of a full page; a shorter one is the last. Else an empty one is."),
    ] = None
    size_parameter: Annotated[str | None, Meta(description="Query parameter that asks for that size.")] = None


class PageCursor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    field: Annotated[str, Meta(description="Dotted path in the answer to the cursor of the next page.")]
    parameter: Annotated[str, Meta(description="Query parameter that takes it.")]


class Paging(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way from a page to the next."""

    next: Annotated[str | None, Meta(description="Dotted path in the answer to the URL of the next page.")] = None
    page: Annotated[PageNumber | None, Meta(description="Pages have numbers.")] = None
    cursor: Annotated[PageCursor | None, Meta(description="The answer names a cursor for the next page.")] = None
    link: Annotated[bool, Meta(description='The Link header names the next page (RFC 8288, rel="next").')] = False

    def __post_init__(self) -> None:
        if sum((self.next is not None, self.page is not None, self.cursor is not None, self.link)) != 1:
            raise ValueError("paging needs one of next, page, cursor and link")


class Since(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to ask only for what is new."""

    parameter: Annotated[
        str, Meta(description="Query parameter that takes the time from which on records are wanted.")
    ]
    field: Annotated[str, Meta(description="Dotted path in a record to the time that moves when it changes.")]
    format: Annotated[Literal["iso", "s", "ms"], Meta(description="How the parameter writes a time.")] = "iso"
    look_back: Annotated[
        Duration, Meta(description="How much earlier each sweep asks, for records that appear late.", extra={"ge": 0})
    ] = Duration(300)


class _State(msgspec.Struct, kw_only=True):
    """What the cursor says; a sweep is one way through all pages.

    `at` is the next page (a number, a cursor, a URL; None: the first), `ask` the time asked for in this sweep, `high`
    the newest one seen.  `seen` and `fresh` are the packed times and digests of records delivered by the last and this
    sweep, `pages` and `now` the digests of their bodies; `asked` those of this sweep's requests.
    """

    at: str | int | None = None
    number: int = 0
    ask: float | None = None
    high: float | None = None
    seen: str = ""
    fresh: str = ""
    pages: list[str] = []
    now: list[str] = []
    asked: list[str] = []
    validators: dict[str, str] = {}


class Http:
    """A Source of one JSON API; see the module for its promises."""

    class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """What to ask for, how, and where the records are in the answer."""

        url: Annotated[str, Meta(description="Address of the first page.", pattern="^https?://")]
        records: Annotated[
            str | None,
            Meta(description="Dotted path in the answer to the list of records. Default: the answer itself."),
        ] = None
        params: Annotated[dict[str, str], Meta(description="Query parameters of every request.")] = {}
        headers: Annotated[dict[str, Secret], Meta(description="Headers for this server only, such as API keys.")] = {}
        auth: Annotated[Auth | None, Meta(description="Bearer token, or user and password.")] = None
        paging: Annotated[
            Paging | None, Meta(description="How to get from a page to the next. Default: one page.")
        ] = None
        since: Annotated[Since | None, Meta(description="How to ask only for new records. Default: all of them.")] = (
            None
        )
        timeout: Annotated[Duration, Meta(description="Longest wait for the server at a time.", extra={"gt": 0})] = (
            Duration(10)
        )
        retries: Annotated[int, Meta(ge=0, le=10, description="Further tries after a fault that may pass.")] = 3
        largest_answer: Annotated[int, Meta(ge=1, description="Bytes of an answer that are accepted.")] = 64 * 2**20

        def __post_init__(self) -> None:
            if "@" in self.url.split("://", 1)[-1].partition("/")[0]:
                raise ValueError("the url must not hold a user or password; write them under auth")

    def __init__(
        self,
        config: Config,
        mapper: Mapper,
        *,
        name: str,
        clock: Clock,
        lookback: float | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """*lookback* limits a first start to the last so many seconds, given a `since`; *sleep* is for tests."""
        self._config = config
        self._mapper = mapper
        self._name = name
        self._clock = clock
        self._lookback = lookback
        self._times = Times(mapper.spec.timezone)
        self._where = place(config.url)
        limits = Limits(float(config.timeout), config.retries, config.largest_answer)
        self._client = Client(
            config.url, headers=config.headers, auth=config.auth, limits=limits, clock=clock, sleep=sleep
        )

    def poll(self, cursor: Cursor | None, deadline: Deadline) -> Poll:
        """The records of the next page that are new; raises a SourceError."""
        state = self._first() if cursor is None else msgspec.convert(cursor, _State)
        if deadline.passed:
            raise SourceTimeout("the time of this poll is over")
        url, params = self._request(state)
        asked = _digest(repr((url, sorted(params.items()))).encode())
        if asked in state.asked or len(state.asked) >= _MOST_PAGES:
            raise SourceDataError(
                f"{self._where}: the pages have no end: page {state.number} leads back to an earlier one"
            )
        answer = self._client.get(url, params, self._conditions(state, asked), deadline)
        if answer.status in {204, 304, 404, 410}:
            return self._without_records(answer, state)
        body = decode(answer.body, self._where)
        found = self._list(body)
        digest = _digest(answer.body)
        self._refuse_standstill(state, digest, found)
        following = self._next(state, url, body, found, answer)
        records, state = self._new(found, digest, state)
        batch = None if records is None else self._mapper.batch(records)
        if following is None:
            return Poll(batch, _cursor(self._restarted(state, _validators(answer, asked))))
        state = msgspec.structs.replace(state, at=following, number=state.number + 1, asked=[*state.asked, asked])
        return Poll(batch, _cursor(state), more=True)

    def close(self) -> None:
        self._client.close()

    # --- asking ------------------------------------------------------------------------------------

    def _first(self) -> _State:
        if self._lookback is None:
            return _State()
        if self._config.since is None:
            _LOG.warning("source %s: without `since` the first start reads all that the API gives", self._name)
            return _State()
        return _State(ask=self._clock.wall() - self._lookback)

    def _request(self, state: _State) -> tuple[str, Mapping[str, str]]:
        """The URL and query parameters of the page that *state* stands at."""
        paging, since = self._config.paging, self._config.since
        if paging is not None and (paging.next or paging.link) and isinstance(state.at, str):
            return state.at, {}
        params = dict(self._config.params)
        if since is not None and state.ask is not None:
            params[since.parameter] = _written(state.ask, since.format)
        if paging is not None and paging.page is not None:
            params[paging.page.parameter] = str(paging.page.start if state.at is None else state.at)
            if paging.page.size_parameter and paging.page.size:
                params[paging.page.size_parameter] = str(paging.page.size)
        if paging is not None and paging.cursor is not None and state.at is not None:
            params[paging.cursor.parameter] = str(state.at)
        return self._config.url, params

    def _conditions(self, state: _State, asked: str) -> dict[str, str]:
        """Headers that spare an unchanged answer; with paging it would be needed for the way to the next page."""
        if self._config.paging is not None or state.validators.get("request") != asked:
            return {}
        names = {"etag": "If-None-Match", "modified": "If-Modified-Since"}
        return {header: state.validators[name] for name, header in names.items() if name in state.validators}

    def _without_records(self, answer: Answer, state: _State) -> Poll:
        """The end of a sweep, or its break: page numbers end in 404, and old page cursors go out of date."""
        if answer.status in {404, 410}:
            if not state.number:
                raise SourceUnavailable(f"{self._where}: HTTP {answer.status}: nothing is there; check the url")
            numbered = self._config.paging is not None and self._config.paging.page is not None
            if not numbered:
                _LOG.warning("source %s: a page is gone (HTTP %d); starting again", self._name, answer.status)
                return Poll(None, _cursor(_begun_again(state)))
        return Poll(None, _cursor(self._restarted(state, state.validators)))

    # --- reading -----------------------------------------------------------------------------------

    def _list(self, body: Any) -> list[Any]:
        path = self._config.records
        found = walk(body, path.split(".")) if path else body
        if not isinstance(found, list):
            known = [str(key) for key in body][:20] if isinstance(body, dict) else []
            shown = ", ".join(key for key in known if key.isidentifier() and len(key) < 40)
            problem = f"no list at {path!r}{did_you_mean(path, known)}" if path else "the answer is no list"
            hint = f" (the answer has {shown})" if shown else ""
            raise SourceDataError(f"{self._where}: {problem}; set records to the path of the list{hint}")
        return found

    def _next(self, state: _State, url: str, body: Any, found: list[Any], answer: Answer) -> str | int | None:
        """Where the next page is, or None behind the last."""
        paging = self._config.paging
        if paging is None:
            return None
        if paging.page is not None:
            full = len(found) >= (paging.page.size or 1)
            return (paging.page.start + state.number + 1) if full else None
        if paging.cursor is not None:
            value = walk(body, paging.cursor.field.split("."))
            return value if isinstance(value, str | int) and value not in {"", False} else None
        link = answer.next if paging.link else walk(body, (paging.next or "").split("."))
        return urljoin(url, link) if isinstance(link, str) and link else None

    def _refuse_standstill(self, state: _State, digest: str, found: list[Any]) -> None:
        if found and state.now and state.now[-1] == digest:
            raise SourceDataError(f"{self._where}: page {state.number} repeats the one before; check paging")

    def _new(self, found: list[Any], digest: str, state: _State) -> tuple[Records | None, _State]:
        """The records of a page that were not delivered before, and the state behind them."""
        unchanged = state.number < len(state.pages) and state.pages[state.number] == digest
        state = msgspec.structs.replace(state, now=[*state.now, digest])
        if unchanged and self._config.since is None:
            return None, state
        kept = [index for index, record in enumerate(found) if isinstance(record, dict)]
        records = [found[index] for index in kept]
        columns: dict[str, Column] = {
            path: [walk(record, way) for record in records]
            for path, way in ((path, path.split(".")) for path in self._mapper.paths)
        }
        refused = Refusals()
        for index in range(len(found)) if len(kept) < len(found) else ():
            if not isinstance(found[index], dict):
                refused.add("not_an_object", self._place(state, index))
        if self._config.since is not None:
            rows, state = self._unseen(records, columns, self._config.since, state)
            columns = {path: [column[row] for row in rows] for path, column in columns.items()}
            kept = [kept[row] for row in rows]
        if not kept and not refused.counts:
            return None, state
        return Records(columns, len(kept), lambda row: self._place(state, kept[row]), refused), state

    def _place(self, state: _State, index: int) -> str:
        return f"{self._where}, page {state.number + 1}, record {index + 1}"

    def _unseen(
        self, records: list[Any], columns: Mapping[str, Column], since: Since, state: _State
    ) -> tuple[Sequence[int], _State]:
        """Which of *records* are wanted and new, and the state that remembers them."""
        if not records:
            return [], state
        moments = [walk(record, since.field.split(".")) for record in records]
        times, bad = self._times.seconds(moments)
        times = np.array(times)
        times[bad] = np.nan  # the mapping will say what is wrong with it
        digests = row_digests([moments, *columns.values()])
        unseen = ~np.isin(digests, _unpacked(state.seen)["digest"])
        if state.ask is not None:
            unseen &= ~(times < np.floor(state.ask))
        sure = times[times <= self._clock.wall() + _FUTURE]
        high = max([state.high] if state.high is not None else [], default=-np.inf)
        high = max(high, float(sure.max())) if len(sure) else high
        fresh = _remembered(_unpacked(state.fresh), times, digests, high - since.look_back)
        new = msgspec.structs.replace(state, fresh=fresh, high=high if np.isfinite(high) else None)
        return unseen.nonzero()[0].tolist(), new

    def _restarted(self, state: _State, validators: dict[str, str]) -> _State:
        """The next sweep."""
        since = self._config.since
        if since is None:
            return _State(pages=state.now or state.pages, validators=validators)
        ask = state.ask if state.high is None else max(state.high - since.look_back, state.ask or -np.inf)
        return _State(ask=ask, high=state.high, seen=state.fresh or state.seen, validators=validators)


def _begun_again(state: _State) -> _State:
    """The same sweep from its first page, knowing what it delivered so far."""
    seen = np.concatenate([_unpacked(state.seen), _unpacked(state.fresh)])[-LARGEST:]
    pages = [*state.now, *state.pages[len(state.now) :]]
    return _State(ask=state.ask, high=state.high, seen=base64.b64encode(seen.tobytes()).decode(), pages=pages)


def _cursor(state: _State) -> Cursor:
    cursor: Cursor = msgspec.to_builtins(state)
    return cursor


def _digest(text: bytes) -> str:
    return xxhash.xxh3_64_hexdigest(text)


def _validators(answer: Answer, asked: str) -> dict[str, str]:
    given = {"etag": answer.etag, "modified": answer.modified}
    return {"request": asked} | {name: value for name, value in given.items() if value}


def _written(seconds: float, form: str) -> str:
    """*seconds* as a query parameter, rounded down so that nothing is missed."""
    if form == "iso":
        return datetime.fromtimestamp(int(np.floor(seconds)), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return str(int(np.floor(seconds * (1000 if form == "ms" else 1))))


def _unpacked(packed: str) -> Any:
    return np.frombuffer(base64.b64decode(packed), _PLACE_AND_DIGEST)


def _remembered(before: Any, times: Floats, digests: Digests, floor: float) -> str:
    """*before* and the new records, as far as they lie at or above *floor*; at most `overlap.LARGEST`, the newest."""
    new = np.empty(len(times), _PLACE_AND_DIGEST)
    new["time"], new["digest"] = np.nan_to_num(times, nan=np.inf, posinf=np.inf), digests
    both = np.concatenate([before, new])
    both = both[both["time"] >= np.floor(floor)] if np.isfinite(floor) else both
    if len(both) > LARGEST:
        both = both[np.argsort(both["time"], kind="stable")[-LARGEST:]]
    return base64.b64encode(both.tobytes()).decode()
