"""The state of a generation at a given moment, computed from its stored times, and APIMart's representation of it.

No timer runs and nothing is remembered here. So after a restart, or a day later, the answer is the same as in an
uninterrupted run.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from typing import Any

from airflow_provider_apimart.emulator.state.store import Generation

#: The share of a job that is spent waiting for a machine.
PENDING_SHARE = 0.1
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

#: ``error.message`` of a task that fails or is rejected, by ``?language=``.
MESSAGES: dict[str, tuple[str, str]] = {
    "en": ("Video generation failed, please try again", "blocked by safety review"),
    "zh": ("视频生成失败, 请重试", "内容未通过安全审核"),
    "ja": ("動画の生成に失敗しました。もう一度お試しください", "安全性審査によりブロックされました"),
    "ko": ("비디오 생성에 실패했습니다. 다시 시도해 주세요", "안전 검토에 의해 차단되었습니다"),
    "ru": ("Не удалось создать видео, попробуйте ещё раз", "заблокировано проверкой безопасности"),  # noqa: RUF001
    "fr": ("La génération de la vidéo a échoué, veuillez réessayer", "bloqué par le contrôle de sécurité"),
    "de": ("Die Videoerzeugung ist fehlgeschlagen, bitte erneut versuchen", "durch die Sicherheitsprüfung blockiert"),
    "id": ("Pembuatan video gagal, silakan coba lagi", "diblokir oleh tinjauan keamanan"),
    "pt": ("A geração do vídeo falhou, tente novamente", "bloqueado pela revisão de segurança"),
    "es": ("La generación del vídeo falló, inténtelo de nuevo", "bloqueado por la revisión de seguridad"),
}
EMPTY_TEXT = "No videos found in the response. The prompt may violate the Prohibited Use Policy"
#: Marks in a prompt that decide how its generation ends, for manual experiments.
PROMPT_OUTCOMES = {"[[fail]]": "failed", "[[reject]]": "rejected", "[[empty]]": "empty", "[[cancel]]": "cancelled"}
#: Marks that decide what is wrong with its video.
PROMPT_DEFECTS = {
    "[[black]]": "black",
    "[[frozen]]": "frozen",
    "[[silent]]": "silent",
    "[[short]]": "length",
    "[[corrupt]]": "corrupt",
}


def new_id(now: float) -> str:
    """Return a task id in the service's form: ``task_`` and a ULID."""
    value = (int(now * 1000) << 80) | secrets.randbits(80)
    return "task_" + "".join(_CROCKFORD[(value >> shift) & 31] for shift in range(125, -1, -5))


def job_seconds(generation_id: str, base: float, *, vary: bool) -> float:
    """Return how long this job takes: the base, or up to 30 % more, always the same for one id."""
    if not vary:
        return base
    digest = hashlib.sha256(generation_id.encode()).digest()
    return base * (1 + 0.3 * digest[0] / 255)


def prompt_outcome(prompt: str) -> str:
    """Return the outcome that a mark in the prompt requests; ``completed`` without a mark."""
    return next((outcome for mark, outcome in PROMPT_OUTCOMES.items() if mark in prompt.lower()), "completed")


def prompt_defect(prompt: str) -> str | None:
    """Return the defect that a mark in the prompt requests."""
    return next((defect for mark, defect in PROMPT_DEFECTS.items() if mark in prompt.lower()), None)


def status_of(generation: Generation, now: float) -> tuple[str, int]:
    """Return (status, progress)."""
    if now >= generation.finish_at:
        names = {"empty": "completed", "rejected": "failed"}
        return names.get(generation.outcome, generation.outcome), 100
    # A job that takes no time must not fail if the clock was set back.
    share = (now - generation.created) / max(generation.finish_at - generation.created, 1e-9)
    if share < PENDING_SHARE:
        return "pending", 0
    return "processing", max(1, min(99, int(share * 100)))


def usd(micros: int) -> float:
    """Return micro-dollars as the dollars that the API shows."""
    return micros / 1_000_000


@dataclass(frozen=True)
class UrlSigner:
    """Makes and checks the names under which videos are served.

    A name holds the generation, the sample and the serial number of the URL, and it is signed. So only the expiry of
    URLs has to be stored.
    """

    secret: str

    def _signature(self, generation_id: str, serial: int, sample: int) -> str:
        text = f"{generation_id}-{serial}-{sample}".encode()
        return hmac.new(self.secret.encode(), text, hashlib.sha256).hexdigest()[:24]

    def name(self, generation: Generation, sample: int) -> str:
        """Return the file name of one sample of a generation."""
        parts = (generation.id, str(generation.url_serial), str(sample))
        return "-".join((*parts, self._signature(generation.id, generation.url_serial, sample))) + ".mp4"

    def read(self, name: str) -> tuple[str, int, int] | None:
        """Return (generation id, serial, sample), or ``None`` for a name that was not signed here."""
        parts = name.removesuffix(".mp4").split("-")
        if len(parts) != 4 or not (parts[1].isdigit() and parts[2].isdigit()) or not name.endswith(".mp4"):
            return None
        generation_id, serial, sample = parts[0], int(parts[1]), int(parts[2])
        good = hmac.compare_digest(self._signature(generation_id, serial, sample), parts[3])
        return (generation_id, serial, sample) if good else None


def video_urls(generation: Generation, signer: UrlSigner, base_url: str) -> list[str]:
    """Return the URLs of a generation's samples."""
    return [f"{base_url}/media/{signer.name(generation, n)}" for n in range(generation.spec["samples"])]


def _error(generation: Generation, language: str) -> dict[str, Any]:
    failed, rejected = MESSAGES.get(language, MESSAGES["en"])
    if generation.outcome == "rejected":
        message = (
            rejected if language in MESSAGES and language != "en" else f"PUBLIC_ERROR_UNSAFE_GENERATION: {rejected}"
        )
        known: dict[str, Any] = {"code": "content_rejected", "message": message, "type": "content_policy"}
    else:
        known = {"code": "task_failed", "message": failed, "param": "", "type": "task_failed"}
    return {**known, **(generation.error or {})}


def task_view(
    generation: Generation,
    now: float,
    urls: list[str],
    *,
    language: str = "en",
    split_samples: bool = False,
) -> dict[str, Any]:
    """Return ``data`` of ``GET /v1/tasks/{id}``, field for field as recorded.

    :param urls: the URLs of the samples; used only once the generation is completed.
    :param language: the value of ``?language=``; it affects only ``error.message``.
    :param split_samples: one entry of ``videos`` for each sample.
    """
    status, progress = status_of(generation, now)
    data: dict[str, Any] = {
        "id": generation.id,
        "status": status,
        "progress": progress,
        "created": int(generation.created),
        "estimated_time": max(1, round(generation.finish_at - generation.created)),
    }
    if progress < 100:
        return data
    completed = int(generation.finish_at)
    paid = generation.cost_micros if status == "completed" else 0
    data |= {
        "completed": completed,
        "actual_time": completed - data["created"],
        "cost": usd(paid),
        "credits_cost": usd(paid * 10),
    }
    if status != "completed":
        data["error"] = _error(generation, language)
    elif generation.outcome == "empty":
        data["error_message"] = (generation.error or {}).get("message", EMPTY_TEXT)
        data["result"] = {"videos": []}
    else:
        groups = [[url] for url in urls] if split_samples else [urls]
        # In recorded answers, expires_at is exactly a day after the (whole) second of completion.
        expires_at = (
            int(generation.url_expires_at) if generation.url_expires_at is not None else completed + int(generation.ttl)
        )
        data["result"] = {"videos": [{"url": group, "expires_at": expires_at} for group in groups]}
    return data


def wall_clock() -> float:
    """Return the emulator's time: unix seconds, which stay valid after a restart."""
    return time.time()
