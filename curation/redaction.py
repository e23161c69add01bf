"""What must not be shown: signatures, keys, tokens and passwords in URLs, and in messages that contain some.

A secret is recognised by where it stands (before an "@"), by a word in the name of its parameter ("api_token",
"secretAccessKey"), or by its looks: long, and with letters and digits in no order that a person would write.
Names that usually identify a video ("v", "id") may have such values; so may hexadecimal digests in paths.
All of it takes time in proportion to the length of the text.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from urllib.parse import quote, unquote, unquote_plus

REDACTED = "REDACTED"
CHANGES = 0.25  # of the kind of character, per character: 0.4 and more in tokens, under 0.2 in names that people write
NESTED = 4  # levels of percent-encoding that are looked into

# --- signatures: parameters that differ each time the same URL is signed ----------------------------------------------

_SIGNATURE = re.compile(
    r"x-(amz|goog|ms|oss|cos)-.+|(l|url)?_?sig(nature)?|key-pair-id|awsaccesskeyid|googleaccessid|hdn(ea|ts|tl)|__token__",
    re.IGNORECASE,
)
# These belong to a signature if there is one, or an expiry; alone they may distinguish two videos.
_TOKEN = re.compile(
    r"((access|auth|id|refresh|security|session|bearer|csrf|download)[_-]?)?token|policy|sign|hmac|jwt", re.IGNORECASE
)
_HASH = re.compile(r"st|hash|md5", re.IGNORECASE)  # only if there is an expiry
_EXPIRY = re.compile(r"(expires?|expiry|expiration|exp|ts|timestamp)=.*|e=\d{10,13}", re.IGNORECASE | re.DOTALL)
_AZURE = re.compile(r"s[etprv]|spr|sip|sk[tesv]|sk[ot]id", re.IGNORECASE)  # only if there is a `sig`


def signature_parameters(parameters: Sequence[str]) -> list[bool]:
    """For each of a query's `name=value`, whether it belongs to a signature.

    Requests are identified by the others, so the answer must stay as it is.

    >>> signature_parameters(["id=1", "token=a", "expires=1700000000"])
    [False, True, True]
    """
    names = [_name(parameter) for parameter in parameters]
    expires = any(map(_EXPIRY.fullmatch, parameters))
    signing = [_SIGNATURE, _TOKEN, _HASH] if expires else [_SIGNATURE]
    if not any(p.fullmatch(n) for n in names for p in signing):
        return [False] * len(names)
    companions = [*signing, _TOKEN, *([_AZURE] if "sv" in names else [])]
    return [
        any(p.fullmatch(name) for p in companions) or bool(_EXPIRY.fullmatch(parameter))
        for name, parameter in zip(names, parameters, strict=True)
    ]


def _name(parameter: str) -> str:
    return unquote_plus(parameter.partition("=")[0])


# --- names and values -------------------------------------------------------------------------------------------------

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SECRET_WORD = re.compile(
    r"\w*(token|tokn|secret|passw(or)?d|passphrase|passcode|signature|credentials?|hmac|jwt|cookies?)|l?sig|sign|hdn\w*"
    r"|auth|\w+auth|authorization|authentication|(auth|access|client|o?auth2?|security)code|tok|tkn|tk|key|pass|pwd|psw"
    r"|pw|cred|creds|bearer|[ht]?otp|mfa|tfa|sid|\w*sess(ion)?(id)?|csrf|xsrf|saml\w*|assertion|policy|sas|apikeys?"
    r"|(access|api|app|auth|account|admin|aes|cdn|client|consumer|crypt|enc|licen[cs]e|master|private|pub(lic)?|read"
    r"|resource|rl|rsa|secret|service|shared?|sign(ing)?|ssh|storage|stream|subscription|user|write)key(id)?",
    re.ASCII,
)
_IDENTIFYING_WORD = re.compile(
    r"v|vi|vid|id|ids|ident|video|videos|file|files|filename|clip|clips|media|asset|guid|uuid|hash|sha\d*|md\d|digest|checksum"
    r"|etag|list|playlist|channel|watch|embed|doc|document|item|slug|title|ref|d|e|p|mediaid|videoid|fileid",
    re.ASCII,
)
_PREFIXES = (
    *("sk-", "sk_", "pk_", "rk_", "ghp_", "gho_", "ghs_", "ghu_", "github_pat_", "glpat-", "xoxa-", "xoxb-", "xoxp-"),
    *("xoxr-", "xoxs-", "hf_", "npm_", "pypi-", "shpat_", "dop_v1_", "AKIA", "ASIA", "AIza", "ya29.", "SG."),
)
_TOKEN_PREFIX = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, _PREFIXES))})[\w.-]{{12,400}}", re.ASCII)
_JWT = re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*", re.ASCII)
_OPAQUE = re.compile(r"[A-Za-z0-9+/_=.~!*-]{20,}", re.ASCII)
_HEX = re.compile(r"[0-9a-f-]+|[0-9A-F-]+")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_CHANGE = re.compile(r"(?<=[a-z])[A-Z0-9]|(?<=[A-Z])\d|(?<=\d)[A-Za-z]")


@functools.lru_cache(4096)
def is_secret_name(name: str) -> bool:
    """Whether a parameter, option or header of that name holds a secret: one of its words says so.

    >>> [is_secret_name(name) for name in ("api_token", "secretAccessKey", "rlkey", "X-Amz-Security-Token", "token2")]
    [True, True, True, True, True]
    >>> [is_secret_name(name) for name in ("v", "page", "max_tokens", "keyword", "author", "key_frames")]
    [False, False, False, False, False, False]
    """
    words = [word.lower() for word in _WORDS.findall(name[:200])]
    named = [word for word in words if not word.isdecimal()]
    # "key" is only the last word of what is one: a "key_frames" is not.
    secret = [word for word in named[:-1] if word not in ("key", "sign", "policy", "tk")] + named[-1:]
    return any(map(_SECRET_WORD.fullmatch, secret)) or bool(_SECRET_WORD.fullmatch("".join(named)))


def looks_secret(value: str) -> bool:
    """Whether `value` is long and without order, as tokens are: judged by how often the kind of character changes.

    >>> looks_secret("9aT4kQz7Lw2XvB8mNc5R"), looks_secret("how-to-bake-bread-in-12-minutes-2024")
    (True, False)
    """
    if not _OPAQUE.fullmatch(value) or _UUID.fullmatch(value):
        return False
    sample = value[:400]
    return len(_CHANGE.findall(sample)) >= CHANGES * len(sample)


def _is_digest(value: str) -> bool:
    """Whether `value` is a hexadecimal digest or a UUID."""
    return len(value) <= 64 and bool(_HEX.fullmatch(value))


def _hides(name: str, value: str) -> bool:
    """Whether `name=value` holds a secret."""
    if not value or value == REDACTED:
        return False
    if is_secret_name(name):
        return True
    identifying = any(_IDENTIFYING_WORD.fullmatch(word.lower()) for word in _WORDS.findall(name[:200])[-1:])
    return looks_secret(value) and not (identifying and len(value) <= 64)


# --- texts ------------------------------------------------------------------------------------------------------------

_WORD = re.compile(r"[^\s'\"<>`]+")
_SUSPICIOUS = re.compile(r"[=@%/]")
_SEPARATOR = re.compile(r"([?#&;,|]|\\u0026|\\n)")
_NESTED_URL = re.compile(r"%(?:25)*(?:2F|3A|3D|40)", re.IGNORECASE)
_HEADER = re.compile(
    r"(\b(?:proxy-)?authorization\\?[\"']?\s{0,3}[:=]\s{0,3}\\?[\"']?(?:[A-Za-z]{1,20}\s{1,3})?|\bbearer\s{1,3})"
    r"(?=[^\s\"',;<>]{0,400}\d)[^\s\"',;<>]{6,}",
    re.IGNORECASE,
)
_NAMED_HEADER = re.compile(
    r"(?<![\w-])((?:x|api|auth|access|client|private|session|set|subscription)-(?:[a-z]{1,20}-){0,3}"
    r"(?:key|token|secret|password|cookie):\s{0,3})[^\s\"',;<>]+",
    re.IGNORECASE,
)
_MEMBER = re.compile(r"(([\"'])([\w.-]{1,80})\\?\2\s{0,3}:\s{0,3}\\?([\"']))((?:[^\"'\\]|\\[^\"'])+)(?=\\?\4)")
_NAMELESS = ("mailto", "sip", "sips", "xmpp", "acct", "im")  # schemes whose "@" follows no password
_HOST = re.compile(r"(localhost|[\w-]+(\.[\w-]+)*:\d{2,5}|([\w-]+\.)+[\w-]+|\[[\da-fA-F:.]+\])(?![\w.-])")


def is_redacted(uri: str) -> bool:
    """Whether `redact` has removed something from `uri`, so that it cannot be fetched."""
    return REDACTED in uri


def redact(text: str) -> str:
    """`text`, a URI or a message that contains some, with signatures, keys, tokens and users replaced by REDACTED.

    >>> redact("cannot open https://me:pw@host/a?key=s3cret&page=2")
    'cannot open https://REDACTED@host/a?key=REDACTED&page=2'
    """
    return _redact(text, NESTED)


def _redact(text: str, levels: int) -> str:
    if "eyJ" in text:
        text = _JWT.sub(REDACTED, text)
    if any(prefix in text for prefix in _PREFIXES):
        text = _TOKEN_PREFIX.sub(lambda match: REDACTED if _is_key(match[0]) else match[0], text)
    lowered = text.lower()
    if "authorization" in lowered or "bearer" in lowered:
        text = _HEADER.sub(rf"\1{REDACTED}", text)
    if any(f"-{name}:" in lowered for name in ("key", "token", "secret", "password", "cookie")):
        text = _NAMED_HEADER.sub(rf"\1{REDACTED}", text)
    if '":' in text or "':" in text or '" :' in text or "' :" in text:
        text = _MEMBER.sub(lambda match: match[1] + (REDACTED if is_secret_name(match[3]) else match[5]), text)
    return _WORD.sub(lambda match: _redact_word(match[0], levels), text)


def _is_key(word: str) -> bool:
    return bool(re.search(r"\d", word)) and bool(re.search("[A-Z]", word) or looks_secret(word))


def _redact_word(word: str, levels: int) -> str:
    """`word`, without spaces and quotes, redacted: a URL, a part of one, or just a word."""
    if not _SUSPICIOUS.search(word):
        return word
    if "@" in word:
        word = _without_users(word)
    pieces = _SEPARATOR.split(word)
    parameters = pieces[::2]
    signed = signature_parameters(parameters) if "=" in word else [False] * len(parameters)
    for place, (parameter, is_signature) in enumerate(zip(parameters, signed, strict=True)):
        name, equals, value = parameter.partition("=")
        if equals and "/" not in name:
            pieces[2 * place] = _redact_parameter(name, value, is_signature, levels)
        else:
            pieces[2 * place] = "/".join(_path(parameter.split("/"), levels))
    return "".join(pieces)


def _redact_parameter(name: str, value: str, is_signature: bool, levels: int) -> str:
    if value and (is_signature or _hides(_name(name), unquote(value) if "%" in value else value)):
        return f"{name}={REDACTED}"
    if "/" in value or "=" in value:
        value = "/".join(_path(value.split("/"), levels))
    return f"{name}={_decoded(value, levels)}"


def _decoded(value: str, levels: int) -> str:
    """`value`, redacted in its decoded form if it is percent-encoded: a URL inside a URL."""
    if "%" not in value or not levels or not _NESTED_URL.search(value):
        return value
    plain = unquote(value)
    inner = _redact(plain, levels - 1)
    return value if inner == plain else quote(inner, safe="")


def _path(steps: list[str], levels: int) -> Iterator[str]:
    """The segments of a path; those redacted that are a token, follow the name of one, or are `name=token`."""
    before = ""
    for place, step in enumerate(steps):
        name, equals, value = step.partition("=")
        lowered = name.lower()
        if equals and value and (is_secret_name(name) or lowered == "exp" or _hides(name, value)):
            yield f"{name}={REDACTED}"
        elif _is_path_token(before, step, last=place == len(steps) - 1):
            yield REDACTED
        else:
            yield _decoded(step, levels)
        before = lowered


_DIGIT = re.compile(r"\d")
_FILE = re.compile(r".+\.[A-Za-z0-9]{1,5}", re.DOTALL)
_PUBLIC = re.compile(r"(drive|docs)\.google\.com|(stream|image)\.mux\.com")  # hosts whose ids look like tokens


def _is_path_token(before: str, step: str, last: bool) -> bool:
    if len(step) < 6 or not _DIGIT.search(step) or (last and _FILE.fullmatch(step)):
        return False
    if 2 < len(before) < 40 and is_secret_name(before):
        return True
    if len(step) < 30 or _is_digest(step) or _PUBLIC.fullmatch(before) or _IDENTIFYING_WORD.fullmatch(before):
        return False
    return looks_secret(unquote(step))


def _without_users(word: str) -> str:
    """`word` with the user and password of each URL in it replaced. Both may contain "@", "/" and the like."""
    before, *rest = word.split("//")
    if not rest:
        return _without_bare_user(word)
    last = max(place for place, piece in enumerate(rest) if "@" in piece) if any("@" in p for p in rest) else -1
    for place, piece in enumerate(rest):
        authority = re.split(r"[/?#]", piece, maxsplit=1)[0]
        host, colon, port = authority.rpartition(":")
        if "@" in authority:
            rest[place] = f"{REDACTED}@{piece[authority.rfind('@') + 1 :]}"
        elif colon and not port.isdecimal() and not host.startswith("[") and place <= last:
            # Not a port: the password goes on behind a "/", "?" or "#".
            rest[place] = f"{REDACTED}@{piece[piece.rfind('@') + 1 :]}" if "@" in piece else REDACTED
    return "//".join([before, *rest])


def _without_bare_user(word: str) -> str:
    """`user:password@host`, as proxies are often written, without the user."""
    start = max(word.rfind(c, 0, max(word.find(":"), 0)) for c in "=,|([{") + 1
    left, at, host = word[start:].rpartition("@")
    scheme, colon, secret = left.partition(":")
    if at and colon and secret and scheme[:1].isalpha() and scheme.lower() not in _NAMELESS and _HOST.match(host[:300]):
        return f"{word[:start]}{REDACTED}@{host}"
    return word
