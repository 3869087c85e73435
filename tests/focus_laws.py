"""The six laws of a FOCUS export, in SQL of their own over the files and the oracle's silver: what landed, and nothing of ours."""

from __future__ import annotations

from oracle import Oracle

_BILLED = """SELECT *, subtotal - coalesce(credits, 0) + coalesce(taxes, 0) AS payable FROM silver_billing_monthly"""
_USED = "SELECT *, CAST(date_trunc('month', usage_date) AS DATE) AS month FROM silver_usage_events"
_CARRIED = "SELECT DISTINCT org_id, month FROM silver_billing_monthly WHERE subtotal >= 0"

# Law → what the files say by key, and what landed says; both sides' keys are compared, absent is 0.
LAWS = {
    "1 invoice totals": (
        "SELECT InvoiceId, sum(BilledCost) FROM charges WHERE InvoiceId IS NOT NULL GROUP BY ALL",
        f"SELECT invoice_id, sum(payable) FROM ({_BILLED}) GROUP BY ALL",
    ),
    "1 in the invoice's currency": (
        "SELECT (InvoiceId, BillingCurrency), 1 FROM charges WHERE InvoiceId IS NOT NULL GROUP BY ALL",
        """SELECT (invoice_id, currency), 1 FROM silver_billing_monthly
           SEMI JOIN (SELECT InvoiceId AS invoice_id FROM charges) USING (invoice_id)""",
    ),
    "2 invoiced in USD": (
        """SELECT (BillingAccountId, month), sum(PricingCurrencyEffectiveCost) FROM charges
           WHERE InvoiceId IS NOT NULL GROUP BY ALL""",
        "SELECT (org_id, month), sum(invoiced_usd) FROM silver_billing_monthly GROUP BY ALL",
    ),
    "2 revenue in USD": (
        """SELECT (BillingAccountId, month), sum(PricingCurrencyEffectiveCost) FROM charges
           WHERE InvoiceId IS NOT NULL AND ChargeCategory <> 'Tax' GROUP BY ALL""",
        "SELECT (org_id, month), sum(revenue_usd) FROM silver_billing_monthly GROUP BY ALL",
    ),
    "3 usage of a day": (
        """SELECT (BillingAccountId, day, x_ServiceRaw), sum(PricingCurrencyEffectiveCost) FROM charges
           WHERE x_Events IS NOT NULL GROUP BY ALL""",
        "SELECT (org_id, usage_date, service), sum(cost_usd) FROM silver_usage_events GROUP BY ALL",
    ),
    "3 carbon of a day": (
        "SELECT (BillingAccountId, day, x_ServiceRaw), sum(x_CarbonKg) FROM charges WHERE x_Events IS NOT NULL GROUP BY ALL",
        "SELECT (org_id, usage_date, service), sum(carbon_kg) FROM silver_usage_events GROUP BY ALL",
    ),
    "3 tokens of a day": (
        "SELECT (BillingAccountId, day, x_ServiceRaw), sum(x_GenaiTokens) FROM charges WHERE x_Events IS NOT NULL GROUP BY ALL",
        "SELECT (org_id, usage_date, service), sum(genai_tokens) FROM silver_usage_events GROUP BY ALL",
    ),
    "3 quantity of a metric": (
        """SELECT (BillingAccountId, day, x_ServiceRaw, x_Metric), sum(ConsumedQuantity) FROM charges
           WHERE x_Events IS NOT NULL GROUP BY ALL""",
        "SELECT (org_id, usage_date, service, metric), sum(value) FROM silver_usage_events GROUP BY ALL",
    ),
    "4 adjustments": (
        f"""SELECT (org_id, month), sum(PricingCurrencyEffectiveCost)
           FROM (SELECT *, BillingAccountId AS org_id FROM charges) SEMI JOIN ({_CARRIED}) USING (org_id, month)
           WHERE ChargeCategory = 'Adjustment' AND x_Events IS NULL GROUP BY ALL""",
        f"""SELECT (org_id, month), sum(usd) FROM (
               SELECT org_id, month, subtotal_usd AS usd FROM silver_billing_monthly
               UNION ALL SELECT org_id, month, -cost_usd FROM ({_USED}))
           SEMI JOIN ({_CARRIED}) USING (org_id, month) GROUP BY ALL""",
    ),
    "5 open charges": (
        "SELECT (BillingAccountId, month), sum(PricingCurrencyEffectiveCost) FROM charges WHERE InvoiceId IS NULL GROUP BY ALL",
        f"SELECT (org_id, month), sum(cost_usd) FROM ({_USED}) ANTI JOIN ({_CARRIED}) USING (org_id, month) GROUP BY ALL",
    ),
    "6 each event once": (
        "SELECT (BillingAccountId, day), sum(x_Events) FROM charges WHERE x_Events IS NOT NULL GROUP BY ALL",
        "SELECT (org_id, usage_date), count(*) FROM silver_usage_events GROUP BY ALL",
    ),
}  # fmt: skip


def broken_laws(oracle: Oracle, files: str) -> list[str]:
    """Return where Parquet files of charges (a glob) do not add up to what landed."""
    charges = f"""
        WITH charges AS (
            SELECT *, CAST(BillingPeriodStart AS DATE) AS month, CAST(ChargePeriodStart AS DATE) AS day
            FROM read_parquet('{files}', union_by_name = true))"""
    broken = []
    for law, (said, landed) in LAWS.items():
        compared = oracle.sql(f"""{charges}
            SELECT CAST(coalesce(a.key, b.key) AS VARCHAR) AS key, a.x AS said, b.x AS landed
            FROM ({said}) a(key, x) FULL JOIN ({landed}) b(key, x) ON a.key = b.key""").to_pylist()
        if not any(row["landed"] for row in compared):
            broken.append(f"{law}: nothing has landed that it could be told by")
        broken += [
            f"{law}: {row['key']}: {row['said']} instead of {row['landed']}"
            for row in compared
            if (row["said"] or 0) != (row["landed"] or 0)
        ]
    return broken
