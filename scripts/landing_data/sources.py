"""The seven CSV sources: columns, keys, how many rows, and how their rows can be dirty."""

from __future__ import annotations

from dataclasses import dataclass, field

from .options import Options

Row = dict[str, str]  # column -> the cell as written; an empty cell is NULL

SERVICES = ("compute", "storage", "database", "networking", "analytics", "genai")
REGIONS = ("us-east", "us-west", "eu-west", "eu-central", "sa-east", "ap-south", "ap-northeast")


@dataclass(frozen=True)
class Source:
    """One CSV source.

    `broken` lists (column, cell, reason): writing that cell has the row quarantined for that reason.
    `contested` is a column and two of its values: the second row of a conflicting pair takes the one that
    the first does not have. `own_dirt` names the kinds that only this source knows.
    """

    columns: tuple[str, ...]
    key: tuple[str, ...]
    rows_per_org: float
    contested: tuple[str, str, str]
    broken: tuple[tuple[str, str, str], ...] = ()
    spelled: tuple[str, ...] = ()
    own_dirt: tuple[str, ...] = ()
    is_master: bool = field(default=False)

    def kinds(self) -> list[str]:
        """The kinds of dirt that this source can have."""
        general = ["duplicate_rows", "conflicting_rows", "short_rows", "broken_rules", *self.own_dirt]
        if self.key != ("org_id",):
            general.append("unknown_orgs")
        if self.spelled:
            general.append("row_spellings")
        return general


SOURCES: dict[str, Source] = {
    "customers_orgs": Source(
        columns=(
            "org_id",
            "org_name",
            "industry",
            "hq_region",
            "plan_tier",
            "is_enterprise",
            "signup_date",
            "sales_rep",
            "lifecycle_stage",
            "marketing_source",
            "nps_score",
        ),
        key=("org_id",),
        rows_per_org=1,
        contested=("sales_rep", "rep_a", "rep_b"),
        broken=(
            ("signup_date", "2025-13-45", "signup_date_invalid"),
            ("plan_tier", "platinum", "plan_tier_unknown"),
            ("hq_region", "moon-base", "hq_region_unknown"),
        ),
        spelled=("hq_region", "plan_tier", "lifecycle_stage", "marketing_source"),
        is_master=True,
    ),
    "users": Source(
        columns=("user_id", "org_id", "email", "role", "active", "created_at", "last_login"),
        key=("user_id",),
        rows_per_org=10,
        contested=("role", "admin", "analyst"),
        broken=(
            ("role", "wizard", "role_unknown"),
            ("created_at", "2025-02-30", "created_at_invalid"),
            ("active", "maybe", "active_invalid"),
            ("last_login", "never", "last_login_invalid"),
        ),
        spelled=("role",),
        own_dirt=("bad_emails", "missing_values"),
        is_master=True,
    ),
    "resources": Source(
        columns=("resource_id", "org_id", "service", "region", "created_at", "state", "tags_json"),
        key=("resource_id",),
        rows_per_org=5,
        contested=("state", "running", "stopped"),
        broken=(
            ("service", "teleport", "service_unknown"),
            ("region", "moon-base", "region_unknown"),
            ("created_at", "soon", "created_at_invalid"),
        ),
        spelled=("service", "region", "state"),
        own_dirt=("bad_tags",),
        is_master=True,
    ),
    "billing_monthly": Source(
        columns=(
            "invoice_id",
            "org_id",
            "month",
            "subtotal",
            "credits",
            "taxes",
            "currency",
            "exchange_rate_to_usd",
        ),
        key=("invoice_id",),
        rows_per_org=0,  # one for each billed month
        contested=("credits", "1.00", "2.00"),
        broken=(
            ("exchange_rate_to_usd", "0", "exchange_rate_to_usd_not_positive"),
            ("exchange_rate_to_usd", "", "exchange_rate_to_usd_missing"),
            ("currency", "ZZZ", "currency_not_iso4217"),
            ("month", "2025-06-15", "month_not_first_day"),
            ("subtotal", "", "subtotal_missing"),
            ("taxes", "", "taxes_missing"),
            ("exchange_rate_to_usd", "-1.05", "exchange_rate_to_usd_not_positive"),
            ("subtotal", "12,50 EUR", "subtotal_invalid"),
        ),
    ),
    "support_tickets": Source(
        columns=(
            "ticket_id",
            "org_id",
            "category",
            "severity",
            "created_at",
            "resolved_at",
            "csat",
            "sla_breached",
        ),
        key=("ticket_id",),
        rows_per_org=12.5,
        contested=("category", "billing", "security"),
        broken=(
            ("created_at", "", "created_at_missing"),
            ("resolved_at", "1999-01-01", "resolved_before_created"),
            ("severity", "apocalyptic", "severity_unknown"),
            ("created_at", "2025-06-31", "created_at_invalid"),
        ),
        spelled=("severity", "category"),
    ),
    "marketing_touches": Source(
        columns=("touch_id", "org_id", "campaign", "channel", "timestamp", "clicked", "converted"),
        key=("touch_id",),
        rows_per_org=18.75,
        contested=("campaign", "welcome", "genai_launch"),
        broken=(
            ("timestamp", "", "touched_at_missing"),
            ("clicked", "perhaps", "clicked_invalid"),
            ("channel", "carrier_pigeon", "channel_unknown"),
        ),
        spelled=("channel",),
    ),
    "nps_surveys": Source(
        columns=("org_id", "survey_date", "nps_score", "comment"),
        key=("org_id", "survey_date"),
        rows_per_org=1.15,
        contested=("nps_score", "20.0", "40.0"),
        broken=(
            ("survey_date", "", "survey_date_missing"),
            ("nps_score", "ten", "nps_score_invalid"),
        ),
    ),
}

MASTERS = tuple(name for name, source in SOURCES.items() if source.is_master)


def landed_rows(name: str, options: Options) -> int:
    """How many rows one delivery of this source has, injected ones included."""
    if name == "billing_monthly":
        return options.orgs * len(options.months)
    return max(1, int(SOURCES[name].rows_per_org * options.orgs + 0.5))


def planned_dirt(name: str, options: Options) -> dict[str, int]:
    """How many rows of each kind of dirt one delivery of this source gets (for conflicting_rows: pairs)."""
    rows = landed_rows(name, options)
    return {kind: options.count(kind, rows) for kind in SOURCES[name].kinds()}


def distinct_rows(name: str, options: Options) -> int:
    """How many rows of a delivery are left when the injected second copies are taken away."""
    dirt = planned_dirt(name, options)
    return max(1, landed_rows(name, options) - dirt["duplicate_rows"] - dirt["conflicting_rows"])


def bystanders(name: str, options: Options) -> int:
    """How many keys of a master nothing refers to.

    Only these are refused, so that a refused organisation never drags its users and invoices with it; twice
    as many as are refused in one delivery, so that with snapshots it is not always the same ones.
    """
    dirt = planned_dirt(name, options)
    refused = sum(
        dirt.get(kind, 0) for kind in ("conflicting_rows", "short_rows", "broken_rules", "unknown_orgs")
    )
    return min(2 * refused, distinct_rows(name, options) // 2)
