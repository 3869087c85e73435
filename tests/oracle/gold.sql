-- Gold, from the silver views and the business date A.

CREATE MACRO ratio(numerator, denominator) AS
    CASE WHEN denominator <> 0 THEN CAST(numerator AS DOUBLE) / CAST(denominator AS DOUBLE) END;

CREATE VIEW gold_usage_daily AS
SELECT usage_date, org_id, service, region,
    count(*) AS events,
    CAST(sum(cost_usd) AS DECIMAL(28, 6)) AS cost_usd,
    CAST(coalesce(sum(value) FILTER (metric = 'requests'), 0) AS DECIMAL(30, 6)) AS requests,
    CAST(coalesce(sum(value) FILTER (metric = 'cpu_hours'), 0) AS DECIMAL(30, 6)) AS cpu_hours,
    CAST(coalesce(sum(value) FILTER (metric = 'storage_gb_hours'), 0) AS DECIMAL(30, 6)) AS storage_gb_hours,
    CAST(sum(genai_tokens) AS BIGINT) AS genai_tokens,
    CAST(sum(carbon_kg) AS DECIMAL(30, 9)) AS carbon_kg,
    count(carbon_kg) AS carbon_events,
    CAST(coalesce(sum(cost_usd) FILTER (carbon_kg IS NOT NULL), 0) AS DECIMAL(28, 6)) AS carbon_cost_usd,
    count(*) FILTER (value IS NULL) AS events_without_value
FROM silver_usage_events
GROUP BY ALL;

-- From the events, not from the daily mart: the sums of sums must come to the same.
CREATE VIEW gold_org_daily_usage_by_service AS
SELECT org_id, usage_date, service,
    count(*) AS events,
    CAST(sum(cost_usd) AS DECIMAL(28, 6)) AS cost_usd,
    CAST(coalesce(sum(value) FILTER (metric = 'requests'), 0) AS DECIMAL(30, 6)) AS requests,
    CAST(coalesce(sum(value) FILTER (metric = 'cpu_hours'), 0) AS DECIMAL(30, 6)) AS cpu_hours,
    CAST(coalesce(sum(value) FILTER (metric = 'storage_gb_hours'), 0) AS DECIMAL(30, 6)) AS storage_gb_hours,
    CAST(sum(genai_tokens) AS BIGINT) AS genai_tokens,
    CAST(sum(carbon_kg) AS DECIMAL(30, 9)) AS carbon_kg,
    count(carbon_kg) AS carbon_events,
    CAST(coalesce(sum(cost_usd) FILTER (carbon_kg IS NOT NULL), 0) AS DECIMAL(28, 6)) AS carbon_cost_usd,
    count(*) FILTER (value IS NULL) AS events_without_value
FROM silver_usage_events
GROUP BY ALL;

CREATE VIEW gold_revenue_by_org_month AS
WITH months AS (
    SELECT org_id, month,
        count(*) AS invoices,
        count(*) FILTER (is_credit_note) AS credit_notes,
        CAST(sum(subtotal_usd) AS DECIMAL(28, 6)) AS subtotal_usd,
        CAST(sum(credits_usd) AS DECIMAL(28, 6)) AS credits_usd,
        CAST(sum(taxes_usd) AS DECIMAL(28, 6)) AS taxes_usd,
        CAST(sum(revenue_usd) AS DECIMAL(28, 6)) AS revenue_usd,
        CAST(sum(invoiced_usd) AS DECIMAL(28, 6)) AS invoiced_usd,
        list_sort(list(DISTINCT currency)) AS currencies,
        bool_or(fx_suspect) AS has_fx_suspect
    FROM silver_billing_monthly
    GROUP BY org_id, month
)
SELECT m.*,
    CASE WHEN m.subtotal_usd > 0 THEN ratio(m.credits_usd, m.subtotal_usd) END AS credit_ratio,
    CASE WHEN before.revenue_usd > 0 AND NOT before.has_fx_suspect AND NOT m.has_fx_suspect
         THEN 100 * ratio(m.revenue_usd - before.revenue_usd, before.revenue_usd) END AS mom_growth_pct
FROM months m
LEFT JOIN months before ON before.org_id = m.org_id AND before.month + INTERVAL 1 MONTH = m.month;

CREATE VIEW gold_tickets_by_org_date AS
WITH dated AS (
    SELECT *, CAST(created_at AS DATE) AS date, coalesce(CAST(resolved_at AS DATE) <= a, false) AS is_resolved
    FROM silver_support_tickets, business_date
    WHERE CAST(created_at AS DATE) <= a
)
SELECT org_id, date, severity,
    count(*) AS tickets,
    count(*) FILTER (is_resolved) AS resolved,
    count(*) FILTER (NOT is_resolved) AS open,
    count(*) FILTER (sla_breached) AS sla_breached,
    ratio(count(*) FILTER (sla_breached), count(*)) AS sla_breach_rate,
    ratio(sum(csat), count(csat)) AS avg_csat,
    CAST(from_micros(half_up(micros(sum(resolution_hours) FILTER (is_resolved)), count(*) FILTER (is_resolved)))
         AS DECIMAL(20, 6)) AS avg_resolution_hours
FROM dated
GROUP BY org_id, date, severity;

CREATE VIEW gold_customer_summary AS
WITH usage AS (
    SELECT org_id, sum(cost_usd) AS cost_usd, min(usage_date) AS first_usage_date, max(usage_date) AS last_usage_date
    FROM silver_usage_events GROUP BY org_id
), revenue AS (
    SELECT org_id, sum(revenue_usd) AS revenue_usd FROM silver_billing_monthly GROUP BY org_id
), states AS (
    SELECT org_id, state, count(*) AS resources FROM silver_resources WHERE state IS NOT NULL GROUP BY org_id, state
), resources AS (
    SELECT org_id, map_from_entries(list({k: state, v: resources} ORDER BY state)) AS by_state
    FROM states GROUP BY org_id
), people AS (
    SELECT org_id, count(*) AS users, count(*) FILTER (active) AS active_users FROM silver_users GROUP BY org_id
), tickets AS (
    SELECT org_id, count(*) AS tickets,
        count(*) FILTER (severity = 'critical' AND NOT coalesce(CAST(resolved_at AS DATE) <= a, false)) AS open_critical
    FROM silver_support_tickets, business_date WHERE CAST(created_at AS DATE) <= a GROUP BY org_id
), surveys AS (
    SELECT org_id, arg_max(nps_score_reported, survey_date) AS last_nps,
        ratio(sum(nps_score_reported), count(*)) AS mean_nps
    FROM silver_nps_surveys WHERE nps_score_reported IS NOT NULL GROUP BY org_id
)
SELECT o.org_id, o.org_name, o.industry, o.plan_tier, o.lifecycle_stage,
    CAST(coalesce(u.cost_usd, 0) AS DECIMAL(28, 6)) AS usage_cost_usd,
    CAST(coalesce(r.revenue_usd, 0) AS DECIMAL(28, 6)) AS revenue_usd,
    coalesce(s.by_state, CAST(map {} AS MAP(VARCHAR, BIGINT))) AS resources_by_state,
    coalesce(p.users, 0) AS users, coalesce(p.active_users, 0) AS active_users,
    coalesce(t.tickets, 0) AS tickets, coalesce(t.open_critical, 0) AS open_critical_tickets,
    n.last_nps, n.mean_nps, u.first_usage_date, u.last_usage_date
FROM silver_customers_orgs o
LEFT JOIN usage u USING (org_id)
LEFT JOIN revenue r USING (org_id)
LEFT JOIN resources s USING (org_id)
LEFT JOIN people p USING (org_id)
LEFT JOIN tickets t USING (org_id)
LEFT JOIN surveys n USING (org_id);
