"""What stands before every route: who may ask, from which page, and with how much.

Without a token, only names of this machine are answered, so that no page of another site reaches
the service by a name that it owns. A request that another site's page sends is refused, and no
answer says that other sites may read it.
"""

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.exceptions import HTTPException

MOST_BYTES = 64 * 2**20
"""The size of a request's body."""
OPEN = ("/healthz",)
"""Paths that everybody may ask for."""

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def is_loopback(host: str) -> bool:
    """Returns whether a host is this machine, seen from itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Guard:
    """An ASGI application before another.

    Attributes:
        app: the other.
        token: which every request must have, as a bearer, as the password of a user, as a cookie,
            or in the query of the page, /?token=..., and of a WebSocket; "" for none, on loopback.
    """

    app: Any
    token: str = ""
    most_bytes: int = MOST_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, or passes on."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        refused = self.refused(scope, headers)
        if refused is not None:
            await _refuse(scope, send, *refused)
            return
        limited = _Limited(receive, self.most_bytes)
        asked = self.token and scope["path"] == "/" and b"token=" in scope.get("query_string", b"")
        guarded = _Headed(send, self.token if asked else "")
        guarded = guarded if scope["type"] == "http" else send
        await self.app(scope, limited if scope["type"] == "http" else receive, guarded)

    def refused(self, scope: Scope, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """Returns the status and the words with which a request is refused, or None."""
        host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        if not self.token and not is_loopback(host):
            return 403, "this host is not served without a token"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            return 403, "requests from pages of other sites are refused"
        if headers.get("sec-fetch-site") == "cross-site" and scope.get("method") != "GET":
            return 403, "requests from pages of other sites are refused"
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self.most_bytes:
            return 413, f"more than {self.most_bytes} bytes"
        if self.token and scope["path"] not in OPEN and not self._has_token(scope, headers):
            return 401, "a token is needed: Authorization: Bearer ..."
        return None

    def _has_token(self, scope: Scope, headers: Mapping[str, str]) -> bool:
        kind, _, value = headers.get("authorization", "").partition(" ")
        given = [value] if kind.lower() == "bearer" else []
        if kind.lower() == "basic":
            try:
                given = [base64.b64decode(value).decode().partition(":")[2]]
            except (binascii.Error, UnicodeDecodeError):
                given = []
        cookies = dict(
            part.strip().partition("=")[::2] for part in headers.get("cookie", "").split(";")
        )
        given += [cookies[COOKIE]] if COOKIE in cookies else []
        if scope["type"] == "websocket" or scope["path"] == "/":
            given += parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [])
        return any(hmac.compare_digest(each.encode(), self.token.encode()) for each in given)


COOKIE = "jaxdiff_token"


class _Limited:
    """A body that is counted as it comes: its length need not be said before."""

    def __init__(self, receive: Receive, most: int):
        self.receive, self.left = receive, most

    async def __call__(self) -> dict[str, Any]:
        message = await self.receive()
        self.left -= len(message.get("body", b""))
        if self.left < 0:
            raise HTTPException(413, "the body is larger than it may be")
        return message


class _Headed:
    """Answers with headers that keep browsers from guessing types, and from frames elsewhere.

    With a token, the browser is given it as a cookie that no script and no other site reads.
    """

    def __init__(self, send: Send, token: str = ""):
        self.send, self.token = send, token

    async def __call__(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            extra = [
                (b"x-content-type-options", b"nosniff"),
                (b"x-frame-options", b"SAMEORIGIN"),
                (b"referrer-policy", b"no-referrer"),
            ]
            if self.token:
                cookie = f"{COOKIE}={self.token}; Path=/; HttpOnly; SameSite=Strict"
                extra.append((b"set-cookie", cookie.encode()))
            kept = [
                (name, value)
                for name, value in message.get("headers", [])
                if not name.lower().startswith(b"access-control-")
            ]
            message = {**message, "headers": [*kept, *extra]}
        await self.send(message)


async def _refuse(scope: Scope, send: Send, status: int, words: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 4000 + status, "reason": words})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="jaxdiff"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": words.encode()})
