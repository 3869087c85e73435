"""Tell people: a line of the log, an HTTP POST, a mail. At least once, with an idempotency key, stubborn within bounds.

A secret stands in conf/ only as ${NAME} and is looked up when a target is used; no message or error shows it.
"""

from __future__ import annotations

import json
import logging
import os
import smtplib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any

import requests
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from ..common.errors import CloudlakeError, ConfigurationError
from ..common.receivers import SECRET, EmailTarget, LogTarget, Notifications, WebhookTarget, is_safe_address

LOG = logging.getLogger("cloudlake.notifications")
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 5.0


@dataclass(frozen=True)
class Notification:
    """What is told: a key by which a receiver knows it again, a line, and the facts."""

    key: str
    subject: str
    facts: Mapping[str, Any]


class DeliveryError(CloudlakeError):
    """A target did not take a notification; the message says why, and shows no secret."""


class _Transient(Exception):
    """A fault that may pass: no connection, a timeout, a server's error."""


def deliver(notification: Notification, target: str, settings: Notifications) -> None:
    """Hand a notification to a target; a fault that may pass is met with growing, random pauses and another attempt.

    Raises:
        DeliveryError: the target did not take it.
        ConfigurationError: the target needs an environment variable that is not set.
    """
    send = _sender(target, settings)
    stubbornly = Retrying(
        stop=stop_after_attempt(settings.attempts),
        wait=wait_random_exponential(_FIRST_WAIT, _LONGEST_WAIT),
        retry=retry_if_exception_type(_Transient),
    )
    try:
        stubbornly(send, notification)
    except RetryError as error:
        raise DeliveryError(f"{target}: {error.last_attempt.exception()}; {settings.attempts} attempt(s)") from None


def _sender(name: str, settings: Notifications) -> Callable[[Notification], None]:
    target, timeout = settings.targets[name], settings.timeout_seconds
    if isinstance(target, LogTarget):
        return _log
    if isinstance(target, WebhookTarget):
        url = _resolved(target.url, name, "url")
        if not is_safe_address(url):
            raise ConfigurationError(
                f"conf/lake.yaml: notifications.targets.{name}.url: what {target.url} holds is neither https://… nor an "
                "address of this machine; nothing was sent"
            )
        headers = {key: _resolved(value, name, f"headers.{key}") for key, value in target.headers.items()}
        return lambda notification: _post(notification, name, url, headers, timeout)
    password = _resolved(target.password, name, "password") if target.password else None
    return lambda notification: _mail(notification, name, target, password, timeout)


def _resolved(text: str, target: str, field: str) -> str:
    """Return a setting, from the environment where it stands as ${NAME}."""
    found = SECRET.fullmatch(text)
    if found is None:
        return text
    value = os.environ.get(found[1])
    if not value:
        raise ConfigurationError(
            f"conf/lake.yaml: notifications.targets.{target}.{field}: the environment variable {found[1]} is not set; "
            "export it where the stream and cloudlake alerts run"
        )
    return value


def _log(notification: Notification) -> None:
    LOG.warning("alert: %s [%s]", " ".join(notification.subject.split()), notification.key)


def _post(notification: Notification, name: str, url: str, headers: Mapping[str, str], timeout: float) -> None:
    body = json.dumps({"id": notification.key, "subject": notification.subject, **notification.facts}, default=str)
    told = {**headers, "Content-Type": "application/json", "Idempotency-Key": notification.key}
    try:
        # streamed, so that an answer's body, which nobody reads, can't keep us waiting
        with requests.post(
            url, data=body.encode(), headers=told, timeout=timeout, allow_redirects=False, stream=True
        ) as response:
            pass
    except (requests.ConnectionError, requests.Timeout) as error:
        raise _Transient("no answer in time" if isinstance(error, requests.Timeout) else "no connection") from None
    except (requests.RequestException, ValueError) as error:
        raise DeliveryError(f"{name}: {type(error).__name__}: the address or a header can't be used") from None
    if response.status_code >= 500 or response.status_code in (408, 429):
        raise _Transient(f"it answers {response.status_code}")
    if not response.ok or response.is_redirect:
        raise DeliveryError(
            f"{name}: it refuses the notification with {response.status_code}; check its url and headers"
        )


def _mail(notification: Notification, name: str, target: EmailTarget, password: str | None, timeout: float) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"] = target.sender, ", ".join(target.recipients)
    mail["Subject"] = " ".join(notification.subject.split())
    mail["Message-ID"] = f"<{notification.key}@cloudlake>"
    mail["X-Idempotency-Key"] = notification.key
    mail.set_content("".join(f"{key}: {value}\n" for key, value in notification.facts.items()))
    try:
        with smtplib.SMTP(target.host, target.port, timeout=timeout) as server:
            if target.starttls:
                server.starttls()
            if target.user and password:
                server.login(target.user, password)
            server.send_message(mail)
    except smtplib.SMTPAuthenticationError:
        raise DeliveryError(f"{name}: the server does not accept user and password") from None
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        if any(code < 500 for code in codes):
            raise _Transient(f"the server puts the recipients off with {codes[0]}") from None
        raise DeliveryError(f"{name}: the server refuses the recipients with {codes[0]}") from None
    except smtplib.SMTPResponseException as error:
        if error.smtp_code < 500:
            raise _Transient(f"the server puts the mail off with {error.smtp_code}") from None
        raise DeliveryError(f"{name}: the server refuses the mail with {error.smtp_code}") from None
    except (OSError, smtplib.SMTPException) as error:
        raise _Transient(f"no connection ({type(error).__name__})") from None
