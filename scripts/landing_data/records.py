"""The record tables: invoices, tickets, touches and surveys, clean but for what was measured."""

from __future__ import annotations

from datetime import timedelta
from math import ceil

from .draws import day_between, exactly, identifier, owners, shared, stream
from .options import Options
from .sources import Row, distinct_rows

CURRENCIES = {"USD": 160, "ARS": 51, "EUR": 29}
# Lowest and highest rate to USD, and its digits.
RATES = {"USD": (0.85, 1.12, 4), "EUR": (1.0, 1.2, 4), "ARS": (0.0013, 0.0016, 6)}
CATEGORIES = ("availability", "billing", "integration", "performance", "security", "usability")
SEVERITIES = {"low": 0.3, "medium": 0.35, "high": 0.25, "critical": 0.1}
CAMPAIGNS = (
    "welcome",
    "upgrade_pro",
    "upgrade_enterprise",
    "genai_launch",
    "webinar_finops",
    "security_week",
)
TOUCH_CHANNELS = ("ads", "email", "event", "in_app")
TOUCH_OUTCOMES = {"clicked converted": 0.036, "converted": 0.06, "clicked": 0.264, "": 0.64}
COMMENTS = (
    "Missing features",
    "Love genAI features",
    "Complex billing",
    "Stable but slow",
    "Too expensive",
    "Great support, quick answers",
    'The page still says "coming soon"',
    "Señales claras, gráficos útiles",
    "Good product.\nBilling needs work.",
)


def billing_monthly(options: Options, orgs: list[str]) -> list[Row]:
    """An invoice for each organisation and month; 5 % credit notes, 57 % no credits, USD never at rate 1."""
    rng = stream(options.seed, "billing_monthly")
    home = dict(zip(orgs, shared(rng, len(orgs), CURRENCIES), strict=True))
    pairs = [(org, month) for org in orgs for month in options.months]
    negative, uncredited = exactly(rng, len(pairs), 0.05), exactly(rng, len(pairs), 0.57)
    invoices = []
    for number, (org, month) in enumerate(pairs):
        currency = rng.choice(list(CURRENCIES)) if rng.random() < 0.1 else home[org]
        subtotal = 20 + 2200 * rng.random() ** 2
        lowest, highest, digits = RATES[currency]
        rate = round(rng.uniform(lowest, highest), digits)
        invoices.append(
            {
                "invoice_id": identifier("inv", options.seed, number),
                "org_id": org,
                "month": month.isoformat(),
                "subtotal": f"{-0.75 * subtotal if negative[number] else subtotal:.2f}",
                "credits": "" if uncredited[number] else f"{rng.uniform(0, 79):.2f}",
                "taxes": f"{0.21 * subtotal:.2f}",
                "currency": currency,
                "exchange_rate_to_usd": f"{1.0001 if currency == 'USD' and rate == 1 else rate:.{digits}f}",
            }
        )
    rng.shuffle(invoices)
    return invoices[: distinct_rows("billing_monthly", options)]


def support_tickets(options: Options, orgs: list[str]) -> list[Row]:
    """Tickets: 24 % open; csat 25 % NULL and 4 % outside of 1 ... 5, whether open or not."""
    rng, rows = stream(options.seed, "support_tickets"), distinct_rows("support_tickets", options)
    dealt = owners(rng, rows, orgs)
    is_open, breached = exactly(rng, rows, 0.24), exactly(rng, rows, 0.095)
    severities = shared(rng, rows, SEVERITIES)
    scores = shared(rng, rows, {"none": 0.25, "outside": 0.04, "inside": 0.71})
    tickets = []
    for number, org in enumerate(dealt):
        created = day_between(rng, options.first_day - timedelta(days=55), options.last_day)
        resolved = created + timedelta(days=rng.randint(0, 19))
        inside, outside = f"{rng.randint(1, 5)}.0", f"{rng.choice((0, 6, 7))}.0"
        tickets.append(
            {
                "ticket_id": identifier("tkt", options.seed, number),
                "org_id": org,
                "category": rng.choice(CATEGORIES),
                "severity": severities[number],
                "created_at": created.isoformat(),
                "resolved_at": "" if is_open[number] else resolved.isoformat(),
                "csat": {"none": "", "outside": outside, "inside": inside}[scores[number]],
                "sla_breached": str(breached[number]),
            }
        )
    return tickets


def marketing_touches(options: Options, orgs: list[str]) -> list[Row]:
    """Touches: 30 % clicked, 10 % converted, 6 % converted without a click; `timestamp` is a date."""
    rng, rows = stream(options.seed, "marketing_touches"), distinct_rows("marketing_touches", options)
    outcomes = shared(rng, rows, TOUCH_OUTCOMES)
    touches = []
    for number, org in enumerate(owners(rng, rows, orgs)):
        touched = day_between(rng, options.first_day - timedelta(days=60), options.last_day)
        touches.append(
            {
                "touch_id": identifier("mkt", options.seed, number),
                "org_id": org,
                "campaign": rng.choice(CAMPAIGNS),
                "channel": rng.choice(TOUCH_CHANNELS),
                "timestamp": touched.isoformat(),
                "clicked": str("clicked" in outcomes[number]),
                "converted": str("converted" in outcomes[number]),
            }
        )
    return touches


def nps_surveys(options: Options, orgs: list[str]) -> list[Row]:
    """One or two surveys for three quarters of the organisations; nine in ten scores outside of 0 ... 10."""
    rng = stream(options.seed, "nps_surveys")
    asked = rng.sample(orgs, ceil(0.75 * len(orgs)))
    rows = min(distinct_rows("nps_surveys", options), 2 * len(asked))
    scores = shared(rng, rows, {"none": 0.21, "inside": 0.079, "outside": 0.711})
    silent = exactly(rng, rows, 0.11)
    start = options.first_day - timedelta(days=50)
    middle = start + (options.last_day - start) / 2
    surveys = []
    for number in range(rows):
        # First surveys fall in the first half and second ones in the other, so no key repeats by chance.
        is_first = number < len(asked)
        day = (
            day_between(rng, start, middle)
            if is_first
            else day_between(rng, middle + timedelta(days=1), options.last_day)
        )
        inside, outside = rng.randint(0, 10), rng.choice((rng.randint(-16, -1), rng.randint(11, 68)))
        surveys.append(
            {
                "org_id": asked[number % len(asked)],
                "survey_date": day.isoformat(),
                "nps_score": {"none": "", "inside": f"{inside}.0", "outside": f"{outside}.0"}[scores[number]],
                "comment": "" if silent[number] else rng.choice(COMMENTS),
            }
        )
    return surveys
