"""Which warn rules a clean-keyed CSV row breaks: the truth that the pipeline's flags are compared with."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from statistics import median

from .sources import Row

_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
_CENT = Decimal("0.000001")


@dataclass(frozen=True)
class Surroundings:
    """What a row's flags depend on beside the row itself."""

    snapshot_at: datetime
    signup_dates: Mapping[str, str]
    usd_medians: Mapping[str, Decimal] = field(default_factory=dict)


def usd(row: Row) -> Decimal:
    """The subtotal of an invoice in USD, to six places, half away from zero."""
    return (Decimal(row["subtotal"]) * Decimal(row["exchange_rate_to_usd"])).quantize(_CENT, ROUND_HALF_UP)


def usd_medians(invoices: Iterable[Row]) -> dict[str, Decimal]:
    """The median absolute subtotal of each month's USD invoices."""
    amounts = defaultdict[str, list[Decimal]](list)
    for row in invoices:
        if row["currency"] == "USD":
            amounts[row["month"]].append(abs(usd(row)))
    return {month: median(values) for month, values in amounts.items()}


def flags(source: str, row: Row, around: Surroundings) -> list[str]:
    """The names of the warn rules that an accepted row of this source breaks."""
    checks = {
        "customers_orgs": _customers_orgs,
        "users": _users,
        "resources": _resources,
        "billing_monthly": _billing_monthly,
        "support_tickets": _support_tickets,
        "marketing_touches": _marketing_touches,
        "nps_surveys": _nps_surveys,
    }
    return [name for name, is_broken in checks[source](row, around).items() if is_broken]


def _customers_orgs(row: Row, around: Surroundings) -> dict[str, bool]:
    """A score on -100 ... 100; the enterprise mark against the plan."""
    contradicts = (row["is_enterprise"] == "True") != (row["plan_tier"] == "enterprise")
    return {
        "signup_date_missing": not row["signup_date"],
        "nps_score_out_of_range": bool(row["nps_score"]) and abs(float(row["nps_score"])) > 100,
        "is_enterprise_contradicts_plan": bool(row["is_enterprise"] and row["plan_tier"]) and contradicts,
    }


def _users(row: Row, around: Surroundings) -> dict[str, bool]:
    """ISO dates compare as text."""
    signup = around.signup_dates.get(row["org_id"], "")
    return {
        "email_invalid": not _ADDRESS.fullmatch(row["email"]),
        "last_login_missing": not row["last_login"],
        "last_login_before_created": bool(row["last_login"]) and row["last_login"] < row["created_at"],
        "created_before_signup": bool(signup) and row["created_at"] < signup,
        "active_missing": not row["active"],
    }


def _resources(row: Row, around: Surroundings) -> dict[str, bool]:
    """Tags are split at the first colon."""
    try:
        tags = [tag.split(":", 1) for tag in json.loads(row["tags_json"] or "[]")]
    except ValueError:
        return {"tags_unparseable": True}
    distinct = {(key, value) for key, value in tags}
    return {"tag_key_repeated": len({key for key, _ in distinct}) < len(distinct)}


def _billing_monthly(row: Row, around: Surroundings) -> dict[str, bool]:
    """Decimals, so that nothing hangs on a binary fraction."""
    is_usd, is_credit_note = row["currency"] == "USD", Decimal(row["subtotal"]) < 0
    middle = around.usd_medians.get(row["month"])
    return {
        "is_credit_note": is_credit_note,
        "credit_note_with_tax": is_credit_note and Decimal(row["taxes"]) > 0,
        "usd_rate_off_one": is_usd and abs(Decimal(row["exchange_rate_to_usd"]) - 1) > Decimal("0.005"),
        "fx_suspect": not is_usd and middle is not None and abs(usd(row)) < middle * Decimal("0.05"),
    }


def _support_tickets(row: Row, around: Surroundings) -> dict[str, bool]:
    """A score outside of the scale is not also a score on an open ticket: it is no score."""
    in_scale = row["csat"] in ("1.0", "2.0", "3.0", "4.0", "5.0")
    resolved = datetime.fromisoformat(row["resolved_at"]).replace(tzinfo=UTC) if row["resolved_at"] else None
    return {
        "csat_out_of_scale": bool(row["csat"]) and not in_scale,
        "csat_on_open_ticket": in_scale and resolved is None,
        "resolved_after_snapshot": resolved is not None and resolved > around.snapshot_at,
    }


def _marketing_touches(row: Row, around: Surroundings) -> dict[str, bool]:
    """A conversion needs a click."""
    return {"converted_without_click": row["converted"] == "True" and row["clicked"] != "True"}


def _nps_surveys(row: Row, around: Surroundings) -> dict[str, bool]:
    """A survey's score is a whole number of 0 ... 10."""
    reported = row["nps_score"]
    return {"nps_score_out_of_scale": bool(reported) and float(reported) not in range(11)}
