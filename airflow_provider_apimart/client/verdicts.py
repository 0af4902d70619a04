"""Decides whether a failure refuses the input, or says that the model is gone. The only place that reads this in texts.

A refusal of the prompt or of an image is final, because sending the same again is not expected to help. Everything
else is an ordinary failure, which is not charged and which the next try may get past; so is whatever the table does not
know. A wrong "refused" ends a task that a retry would have saved. A wrong "not refused" costs one more attempt, which
is not charged. So the evidence is taken in this order:

1. ``error.code`` and ``error.type``, if they name the verdict.
2. Messages about temporary problems: timeouts, overload, and Veo's filters on what it has *made* (audio above all).
   The filters act at random: the same prompt often succeeds the next time.
3. Plain refusals of the input, as phrases. No single word decides: "moderation service timed out" and "failed to fetch
   copyright metadata" refuse nothing.

Quoted text does not count, because APIMart and the services behind it echo the user's prompt. The table was made from
the messages in ``tests/client/failure_messages.py``.
"""

# ruff: noqa: RUF001 - the table holds Chinese punctuation on purpose.
from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from enum import StrEnum


def _late(pattern: str, flags: int = 0) -> Callable[[], re.Pattern[str]]:
    """Return a function that compiles a pattern on its first call: most processes never read a failure."""
    return functools.cache(lambda: re.compile(pattern, flags))


class Verdict(StrEnum):
    """What a failure means."""

    #: The prompt or an image was refused.
    REFUSED = "refused"
    #: The problem is temporary, or concerns the output and not the request.
    PASSING = "passing"
    UNKNOWN = "unknown"


_REFUSED_CODES = frozenset({
    "content_blocked", "content_filter", "content_moderation", "content_policy", "content_policy_violation",
    "content_rejected", "content_violation", "input_moderation", "moderation_blocked", "policy_violation",
    "prohibited_content", "prompt_blocked", "safety_violation", "sensitive_words_detected",
})  # fmt: skip
_PASSING_CODES = frozenset({
    "audio_filtered", "audio_generation_filtered", "moderation_timeout", "moderation_unavailable", "output_moderation",
    "public_error_audio_filtered", "rate_limit_error", "rate_limit_exceeded",
})  # fmt: skip

#: Google's support codes and what they stand for: its page "Responsible AI and usage guidelines for Veo".
_CATEGORIES: dict[str, tuple[str, ...]] = {
    "child": ("58061214", "17301594"),
    "celebrity": ("29310472", "15236754"),
    "video safety violation": ("64151117", "42237218"),
    "dangerous content": ("62263041",),
    "hate": ("57734940", "22137204"),
    "other": ("74803281", "29578790", "42876398"),
    "people or faces": ("39322892",),
    "personal information": ("92201652",),
    "prohibited content": ("89371032", "49114662", "63429089", "72817394", "60599140"),
    "third-party content": ("35561574", "35561575"),
    "sexual": ("90789179", "43188360"),
    "toxic": ("78610348",),
    "violence": ("61493863", "56562880"),
    "vulgar": ("32635315",),
}
SUPPORT_CODES = {code: category for category, codes in _CATEGORIES.items() for code in codes}

# About the output: a noun for it, and soon after that what was done to it.
_DONE = r"(?:filtered|blocked|removed|flagged|rejected|withheld|violat\w*|unsafe|restricted|moderat\w*)"
_PASSING = _late(
    rf"""
    \b(?:issue|problem|error)s?\ with\ (?:the\ )?audio | \b(?:output|generated)\ audio\b
    | (?<![a-z])audio[ _](?:generation[ _])?(?:was[ _])?(?:fail|filter|block) | \bother\ processing\ issues
    | \baudio\b(?:\ \w+){{0,6}}\ (?:was|is|were|has\ been|have\ been)\ {_DONE}
    | \b(?:output|generated|resulting)\ (?:video|image|content|media|clip|result)s?\b[^.;]{{0,60}}\b{_DONE}
    | \boutput\w*sensitivecontentdetected
    | (?<!input\ )\b(?:videos?|outputs?|samples?|all\ images)\ (?:(?:was|were|has\ been|have\ been)\ )?{_DONE}
    | \btimed?[ -]?out\b | \bdeadline[ _]exceeded | \btemporar(?:y|ily)\b | \bunavailable\b | \boverload | \bbusy\b
    | \brate[ _-]?limit | \btoo\ many\ requests | \bthrottl | \bresource[ _]exhausted | \bhigh\ (?:traffic|demand)
    | \b(?:try|retry)\ (?:again\ )?later | \bretry\ shortly | \b(?:internal|service|server|gateway|network)[ _]error
    | \binternal\ server\ error | \bbad\ gateway | \bconnection\ (?:reset|refused|closed)
    | \bfailed\ to\ (?:fetch|download|load|reach)
    | 超时 | 稍后 | 请重试 | 繁忙 | 过载 | 饱和 | 限流 | 过于频繁 | 不可用 | (?:服务|系统|内部|网络)(?:异常|错误) | 音频
    | (?:生成的|输出的?)(?:视频|内容|图片|结果)
    | タイムアウト | しばらくして | 시간\ 초과 | 나중에\ 다시 | таймаут | тайм-аут | \bпозже\b | tiempo\ de\ espera
    | zeitüberschreitung | hết\ thời\ gian
    """,
    re.VERBOSE,
)
_RULES = (
    r"(?:content|usage|safety|moderation|prohibited\ use|acceptable\ use|community|responsible\ ai|google|vertex"
    r"|agent\ platform|openai|our|third[- ]party)"
)
_PEOPLE = (
    r"(?:real\ (?:people|person)|celebrit|public\ figure|prominent\ (?:people|person)|likeness|minors\b"
    r"|(?:of|with|depicting|feature|featuring)\ children\b)"
)
_CANNOT = (
    r"(?:can't|cannot|can\ not|couldn't|could\ not|won't|(?:unable|not\ able|not\ allowed)\ to"
    r"|(?:do|does|is|are)(?:n't|\ not)\ (?:allow|permit)\w*)"
)
_REFUSED = _late(
    rf"""
    \bpublic_error_(?:unsafe|sexual|violence|danger|nsfw|minor_upload|prominent_people|content_policy|ip_input)
    | \bcontent[ _](?:policy[ _]violation|violation|rejected|refused|blocked)\b
    | \b(?:blocked|rejected|refused|declined|denied|flagged)\ (?:by|due\ to|because\ of|for|under)\b[^.;:]{{0,30}}
      \b(?:safety|moderation|responsible\ ai|content\ (?:polic|filter|check|review)|usage\ (?:polic|guideline))
    | \bviolat\w*\b[^.;]{{0,40}}\b{_RULES}\b[^.;]{{0,40}}
      \b(?:polic(?:y|ies)|guidelines|practices|principles|standards)
    | \binput\ images?\ (?:violat|was\ (?:blocked|rejected|refused|flagged))
    | \bprompt\ (?:(?:was|is)\ )?(?:blocked|flagged|rejected|refused)
    | \b(?:safety|moderation|content)\ (?:\w+\ )?(?:rejected|blocked|refused|flagged)\ (?:the|your)
      \ (?:prompt|input|image)
    | \b(?:prompt\ blocked|block_?reason)\b[^.;]{{0,20}}\bprohibited_content
    | \bcontains?\ (?:\w+\ ){{0,2}}(?:sensitive|prohibited|forbidden)\ words
    | \b{_CANNOT}\b[^.;]{{0,60}}\b{_PEOPLE}
    | \b(?:prompt|input|image|photo)s?\ (?:\w+\ ){{0,2}}contains?\b[^.;]{{0,40}}
      \b(?:{_PEOPLE}|sensitive\ (?:words|content|information)|prohibited|forbidden)
    | \binput\ (?:\w+\ ){{0,3}}related\ to\ copyright | \binput\w*sensitivecontentdetected
    | \bprompt\ (?:couldn't|could\ not|can't|cannot)\ be\ submitted
    | \btry\ (?:rephrasing|rewording) | \b(?:rephrase|reword)\ (?:the|your)\ prompt
    | \bsupport\ codes?\W{{0,6}}\d{{8}}\b
    | (?:\bcodes?\W{{0,6}}|[(\[]|\A\W*)(?:{"|".join(SUPPORT_CODES)})\b(?![./-]\w|\w)
    | (?:提示词?|输入|图片|图像|参考图|首帧|素材|内容)[^。；;,，]{{0,12}}
      (?:违规|违反|敏感(?:词|内容|信息)|不合规|涉嫌|审[核查][未不]通过|未通过[^。；;,，]{{0,6}}审[核查])
    | 违反[^。；;]{{0,20}}(?:政策|准则|规定|规范|条例|原则|策略)
    | 检测到敏感(?:词|内容|信息) | 不符合[^。；;]{{0,8}}(?:政策|准则|规定|规范|条例|原则)
    | (?:内容|安全)审[核查][未不]通过 | (?:包含|含有|命中)敏感词
    | 触发[^。；;]{{0,6}}(?:安全|内容|敏感)[^。；;]{{0,6}}(?:策略|过滤|审核|机制)
    | (?:包含|含有|涉及|出现)[^。；;,，]{{0,8}}(?:真人|名人|公众人物|未成年) | 涉嫌[^。；;,，]{{0,4}}违规
    | (?:无法|不能|不支持|禁止|不允许)[^。；;]{{0,16}}(?:真人|名人|公众人物|未成年)
    | (?:ポリシー|ガイドライン|规约)[^。]{{0,10}}违反 | (?:정책|가이드라인)[^.]{{0,10}}위반
    | наруша\w*\ [^.]{{0,40}}(?:политик|правил) | vi\ phạm\ [^.]{{0,20}}chính\ sách
    | \b(?:viola|violan|infringe|incumple)\b[^.]{{0,40}}(?:polític|directrices|normas|diretrizes)
    | \b(?:enfreint|viole)\b[^.]{{0,40}}(?:politique|règle|consigne|directive)
    | verstößt\ gegen[^.]{{0,40}}richtlinie | gegen[^.]{{0,40}}richtlinien?\ verstößt
    | \bviola\ [^.]{{0,20}}(?:norme|linee\ guida|politiche) | narusza\ [^.]{{0,20}}(?:zasad|regulamin)
    | politika\w*\ ihlal | melanggar\ (?:kebijakan|pedoman)
    """,
    re.VERBOSE,
)

_TRADITIONAL = str.maketrans("違規審過詞內圖請後", "违规审过词内图请后")
_QUOTES = str.maketrans("’‘", "''")
#: The messages in JSON text, or in a dict printed by Python.
_TOLD = _late(
    r"""(?P<mark>["']?)\b
    (?:message|msg|errors?|reasons?|details?|error_message|fail_reason|raiMediaFilteredReasons|status|code|type)
    (?P=mark)\s*:\s*\[?\s*(?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)')""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_WHOLE = _late(r"""\s*(?:"[^"]*"|'[^']*')\s*""")
#: A prompt echoed without quotation marks. It extends to the end of the text, because nothing marks its own end.
_ECHOED = _late(r"\b(?:for|of|with) (?:the |your |this )?prompt *[:=].*|\bprompt *=.*", re.DOTALL | re.IGNORECASE)
_QUOTED = (
    _late(r'".*"|".*\Z', re.DOTALL),
    _late(r"(?<!\w)'.*'(?!\w)", re.DOTALL),
    _late(r"“.*”|「.*」|『.*』|«.*»|`.*`", re.DOTALL),
)


def verdict(code: str | None, kind: str | None, message: str | None) -> Verdict:
    """Return what a failure means.

    :param code: ``error.code``, as text.
    :param kind: ``error.type``.
    """
    names = _names(code, kind)
    text = _plain(message or "")
    # A message may consist of the identifier alone.
    names.add(re.sub(r"[\s.-]+", "_", text.strip(" .")))
    if names & _PASSING_CODES:
        return Verdict.PASSING
    if names & _REFUSED_CODES:
        return Verdict.REFUSED
    if _PASSING().search(text):
        return Verdict.PASSING
    # Google's identifiers come as the code in some errors, and inside the message in others.
    refused = any(_REFUSED().search(each) for each in (text, *names))
    return Verdict.REFUSED if refused else Verdict.UNKNOWN


# --- models that are gone ----------------------------------------------------------------------------------------

#: Codes of new-api and related gateways: a relay that has no (or no longer a) supplier of the model.
_NO_MODEL_CODES = frozenset({"model_not_found", "model_deprecated", "model_retired", "model_not_available"})
_NO_CHANNEL = _late(r"\bno available channels?\b|无可用渠道|没有可用渠道")
# "Temporarily unavailable" is no end.
_ENDED = r"(?:no\ longer\ (?:available|supported|offered|served)|retired|deprecated|discontinued|shut\ down|sunset)"
_IS = r"(?:is|are|was|were|has\ been|have\ been)"
_GONE = _late(
    rf"""
    \bmodels?\b(?:[^.;]|\.(?=\w)){{0,160}}?\b(?:{_IS}\ (?:now\ )?{_ENDED}|does\ not\ exist|has\ ended)\b
    | \bmodels?[/:\ ]{{0,2}}(?:[\w./:-]*\ )?(?:(?:is|was)\ )?not\ found\b
    | 模型[^。；;]{{0,60}}(?:已下线|已停用|已下架|不存在)
    """,
    re.VERBOSE,
)
#: The same as the whole message's beginning. A 400 can quote the prompt, in which a model may have retired.
_GONE_AT_ONCE = _late(
    rf"(?:the\ |this\ |requested\ )*models?[:/]?\ ?(?:[\w/.:-]*\d[\w/.:-]*\ )?{_IS}\ (?:now\ )?{_ENDED}\b", re.VERBOSE
)
_ENDED_AT_ALL = _late(r"\bis no longer available\b")
_SOMETHING_ELSE = _late(r"\b(?:endpoint|route|path|url|api|page|site|host|version)\b")
#: A frame that is gone is the row's own trouble. (A name such as "image-to-video", and "image model", are a model's.)
_AN_INPUT = _late(
    r"(?<![\w/.-])(?:\w+_)?(?:images?|frames?|assets?|files?|uploads?|videos?|tasks?)(?:_\w+)?"
    r"(?![\w/-]|\.\w|\ models?\b)"
)
#: The code of a failed task whose result the relay could not fetch. It alone says nothing about the model.
_FETCH_FAILED = "fail_to_fetch_task"
_INNER_404 = _late(r"\b404\b|\bnot_found\b")
#: The inner answer as a text in quotation marks, which otherwise do not count. It has to begin with the model.
_QUOTED_INNER = _late(
    r"""(?:\b404\b|\bnot_found\b)[^"']{0,40}["']
    (?:this\ |the\ |publisher\ )*models?\b[^"']{0,160}\bis\ no\ longer\ available""",
    re.VERBOSE,
)


class Availability(StrEnum):
    """What an error says about the model."""

    #: The model has ended.
    GONE = "gone"
    #: No supplier of the model at the moment.
    NO_CHANNEL = "no_channel"


def model_verdict(status: int, code: str | None, kind: str | None, message: str | None) -> Availability | None:
    """Return what a refused submission says about its model; ``None`` if it says nothing.

    :param status: the HTTP status that counts. A 5xx is never taken for the end of a model: a relay answers it while
        its suppliers are down, too.
    """
    names, text = _names(code, kind), _plain(message or "").strip()
    if status == 503 and (_NO_CHANNEL().search(text) or names & _NO_MODEL_CODES):
        return Availability.NO_CHANNEL
    if status in (400, 403, 404, 410) and (names & _NO_MODEL_CODES or _GONE_AT_ONCE().match(text)):
        return Availability.GONE
    if status not in (404, 410):
        return None
    if _AN_INPUT().search(text):
        return None
    ended = _GONE().search(text) or (_ENDED_AT_ALL().search(text) and not _SOMETHING_ELSE().search(text))
    return Availability.GONE if ended else None


def task_lost_its_model(code: str | None, kind: str | None, message: str | None) -> bool:
    """Return whether a failed task failed because its model is gone.

    Either the code says so, or it is ``fail_to_fetch_task`` with an inner 404 that says "is no longer available".
    ``fail_to_fetch_task`` alone is an ordinary failure.
    """
    names, text = _names(code, kind), _plain(message or "").strip()
    if names & _NO_MODEL_CODES:
        return True
    if _FETCH_FAILED not in names and not text.startswith(_FETCH_FAILED):
        return False
    if _INNER_404().search(text) and (_ENDED_AT_ALL().search(text) or _GONE().search(text)):
        return True
    return _QUOTED_INNER().search(re.sub(r"\s+", " ", (message or "").translate(_QUOTES)).lower()) is not None


def _names(*given: str | None) -> set[str]:
    return {re.sub(r"[\s.-]+", "_", name.strip().lower()) for name in given if name}


def category(message: str | None) -> str | None:
    """Return what Google's support code in a message stands for, such as ``celebrity``."""
    found = (SUPPORT_CODES.get(number) for number in re.findall(r"\b\d{8}\b", message or ""))
    return next(filter(None, found), None)


def _plain(message: str) -> str:
    """Return a message's own words: in lower case, on one line, without what it quotes."""
    text = own_words(message.translate(_QUOTES)).translate(_TRADITIONAL)
    return re.sub(r"\s+", " ", text).lower()


def own_words(text: str, depth: int = 3) -> str:
    """Return a message without quoted text, but with the messages of JSON that it carries.

    Quoted text extends from the first quotation mark to the last, because a prompt may contain some itself.
    """
    told: list[str] = []

    def take(match: re.Match[str]) -> str:
        value = match["double"] if match["double"] is not None else match["single"]
        told.append(own_words(_unescaped(value), depth - 1))
        return " "

    if _WHOLE().fullmatch(text):
        # Quotation marks around the whole text quote nothing.
        return text.strip()[1:-1]
    if depth > 0:
        text = _TOLD().sub(take, text)
    for quoted in _QUOTED:
        text = quoted().sub(" ", text)
    text = _ECHOED().sub(" ", text)
    return ". ".join((text, *told))


def _unescaped(value: str) -> str:
    try:
        return str(json.loads(f'"{value}"', strict=False))
    except ValueError:
        return value.replace("\\'", "'").replace('\\"', '"')
