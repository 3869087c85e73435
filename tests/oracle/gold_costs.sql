-- Gold: what is odd about the costs, whose they are, and whether they were billed.

-- Tables here: the marts of customers ask for the anomalies again.
CREATE TABLE baselines AS
WITH days AS (
    SELECT org_id, usage_date, service, CAST(sum(cost_usd) AS DECIMAL(28, 6)) AS cost_usd
    FROM silver_usage_events GROUP BY ALL
), before AS (
    SELECT *, list(cost_usd ORDER BY usage_date DESC) OVER (
        PARTITION BY org_id, service ORDER BY usage_date
        RANGE BETWEEN INTERVAL 56 DAY PRECEDING AND INTERVAL 1 DAY PRECEDING) AS costs
    FROM days
), newest AS (
    SELECT * REPLACE (coalesce(costs[1:28], []) AS costs) FROM before
)
SELECT *, CASE WHEN len(costs) >= 7 THEN list_sort(costs) END AS sorted FROM newest;

CREATE TABLE judged_days AS
WITH expected AS (
    SELECT *, CAST(median_of(sorted) AS DECIMAL(28, 6)) AS expected_usd FROM baselines
), spread AS (
    SELECT *, CAST(greatest(
            median_of(list_sort(list_transform(sorted, lambda cost: CAST(abs(cost - expected_usd) AS DECIMAL(28, 6))))),
            0.01) AS DECIMAL(28, 6)) AS mad_usd,
        CAST(cost_usd - expected_usd AS DECIMAL(28, 6)) AS impact_usd,
        CAST(len(sorted) AS HUGEINT) AS n,
        CAST(list_sum(list_transform(sorted, lambda cost: micros(cost))) AS HUGEINT) AS total,
        CAST(list_sum(list_transform(sorted, lambda cost: micros(cost) * micros(cost))) AS HUGEINT) AS squares
    FROM expected
)
SELECT org_id, usage_date, service, cost_usd, len(costs) AS baseline_days, expected_usd,
    CASE WHEN n IS NOT NULL THEN mad_usd END AS mad_usd, impact_usd,
    coalesce(0.6745 * impact_usd > 6 * mad_usd AND impact_usd >= 10 AND impact_usd >= 2 * expected_usd, false)
        AS is_anomaly,
    0.6745 * CAST(impact_usd AS DOUBLE) / CASE WHEN n IS NOT NULL THEN CAST(mad_usd AS DOUBLE) END AS mad_score,
    -- In whole millionths: (x − Σ/n) ÷ sqrt((nQ − Σ²) / (n (n − 1))).
    CASE WHEN n * squares > total * total
         THEN CAST(n * micros(cost_usd) - total AS DOUBLE) / CAST(n AS DOUBLE)
            / sqrt(CAST(n * squares - total * total AS DOUBLE) / CAST(n * (n - 1) AS DOUBLE)) END AS z_score,
    cost_usd > nearest_rank(sorted, 99) AS above_p99
FROM spread;

CREATE VIEW gold_cost_anomalies AS
WITH told AS (
    SELECT e.* FROM silver_usage_events e
    JOIN judged_days j USING (org_id, usage_date, service) WHERE j.is_anomaly
), largest AS (
    SELECT org_id, usage_date, service, event_id, cost_usd FROM told
    QUALIFY row_number() OVER (PARTITION BY org_id, usage_date, service ORDER BY cost_usd DESC, event_id) = 1
), sums AS (
    SELECT org_id, usage_date, service, dimension, value, CAST(sum(cost_usd) AS DECIMAL(28, 6)) AS cost_usd
    FROM (
        SELECT org_id, usage_date, service, 'region' AS dimension, region AS value, cost_usd FROM told
        UNION ALL
        SELECT org_id, usage_date, service, 'resource_id', coalesce(resource_id, '(none)'), cost_usd FROM told
        UNION ALL
        SELECT org_id, usage_date, service, 'metric', metric, cost_usd FROM told
    )
    GROUP BY ALL
), drivers AS (
    SELECT org_id, usage_date, service,
        list({dimension: dimension, value: value, cost_usd: cost_usd} ORDER BY cost_usd DESC, dimension, value)[1:3]
            AS drivers
    FROM sums GROUP BY ALL
)
SELECT j.*,
    CASE WHEN is_anomaly AND 2 * l.cost_usd >= j.cost_usd THEN 'single_event' WHEN is_anomaly THEN 'broad' END
        AS cause,
    CASE WHEN is_anomaly AND 2 * l.cost_usd >= j.cost_usd THEN l.event_id END AS single_event_id,
    d.drivers
FROM judged_days j
LEFT JOIN largest l USING (org_id, usage_date, service)
LEFT JOIN drivers d USING (org_id, usage_date, service);

-- The file of a spike is left out: of equal lines in two files the oracle knows no first.
CREATE VIEW gold_cost_spikes AS
WITH dated AS (
    SELECT *, CAST(date_trunc('month', usage_date) AS DATE) AS month FROM silver_usage_events
), medians AS (
    SELECT month, service, metric, CAST(median_of(list_sort(list(cost_usd))) AS DECIMAL(18, 6)) AS median_usd
    FROM dated GROUP BY ALL
)
SELECT event_id, usage_date, month, event_time, org_id, resource_id, service, region, metric, cost_usd, median_usd,
    CAST(cost_usd - median_usd AS DECIMAL(18, 6)) AS excess_usd
FROM dated JOIN medians USING (month, service, metric)
WHERE cost_usd > 5 * median_usd AND cost_usd - median_usd >= 10;

CREATE VIEW gold_cost_allocation AS
WITH keys AS (
    SELECT DISTINCT unnest(map_keys(tags)) AS tag_key FROM silver_resources
), tagged AS (
    SELECT resource_id, tag.key AS tag_key, CASE WHEN len(tag.value) = 1 THEN tag.value[1] ELSE '(conflict)' END AS tag_value
    FROM (SELECT resource_id, unnest(map_entries(tags)) AS tag FROM silver_resources)
)
SELECT CAST(date_trunc('month', e.usage_date) AS DATE) AS month, k.tag_key, coalesce(t.tag_value, '(none)') AS tag_value,
    count(*) AS events, CAST(sum(e.cost_usd) AS DECIMAL(28, 6)) AS cost_usd
FROM silver_usage_events e CROSS JOIN keys k
LEFT JOIN tagged t ON t.resource_id = e.resource_id AND t.tag_key = k.tag_key
GROUP BY ALL;

CREATE VIEW gold_revenue_monthly AS
WITH sums AS (
    SELECT month,
        count(*) AS invoices,
        count(*) FILTER (is_credit_note) AS credit_notes,
        count(*) FILTER (fx_suspect) AS fx_suspect_invoices,
        CAST(sum(subtotal_usd) AS DECIMAL(28, 6)) AS subtotal_usd,
        CAST(sum(credits_usd) AS DECIMAL(28, 6)) AS credits_usd,
        CAST(sum(taxes_usd) AS DECIMAL(28, 6)) AS taxes_usd,
        CAST(sum(revenue_usd) AS DECIMAL(28, 6)) AS revenue_usd,
        CAST(sum(invoiced_usd) AS DECIMAL(28, 6)) AS invoiced_usd,
        count(DISTINCT org_id) AS orgs_billed
    FROM silver_billing_monthly GROUP BY month
), by_currency AS (
    SELECT month, map_from_entries(list({k: currency, v: revenue_usd} ORDER BY currency)) AS revenue_usd_by_currency
    FROM (SELECT month, currency, CAST(sum(revenue_usd) AS DECIMAL(28, 6)) AS revenue_usd
          FROM silver_billing_monthly GROUP BY month, currency)
    GROUP BY month
)
SELECT s.*, CAST(quotient(s.revenue_usd, s.orgs_billed) AS DECIMAL(28, 6)) AS arpa_usd,
    c.revenue_usd_by_currency,
    CASE WHEN before.revenue_usd > 0
         THEN 100 * ratio(s.revenue_usd - before.revenue_usd, before.revenue_usd) END AS mom_growth_pct
FROM sums s JOIN by_currency c USING (month)
LEFT JOIN sums before ON before.month + INTERVAL 1 MONTH = s.month;

-- usage_days are of all organisations: else nobody without usage could be billing_only.
CREATE VIEW gold_cost_billing_reconciliation AS
WITH used AS (
    SELECT org_id, CAST(date_trunc('month', usage_date) AS DATE) AS month, sum(cost_usd) AS cost_usd
    FROM silver_usage_events GROUP BY ALL
), days AS (
    SELECT CAST(date_trunc('month', usage_date) AS DATE) AS month, count(DISTINCT usage_date) AS usage_days
    FROM silver_usage_events GROUP BY ALL
), billed AS (
    SELECT org_id, month, sum(subtotal_usd) AS subtotal_usd, bool_or(fx_suspect) AS has_fx_suspect
    FROM silver_billing_monthly GROUP BY ALL
), refused AS (
    SELECT org_id, CAST(date_trunc('month', event_time) AS DATE) AS month, sum(cost_usd) AS cost_usd
    FROM event_outcomes WHERE outcome = 'quarantined' AND is_object
    GROUP BY ALL
), sides AS (
    SELECT org_id, month,
        CAST(u.cost_usd AS DECIMAL(28, 6)) AS usage_cost_usd,
        CAST(b.subtotal_usd AS DECIMAL(28, 6)) AS billed_subtotal_usd,
        b.has_fx_suspect,
        CAST(coalesce(b.subtotal_usd, 0) AS DECIMAL(28, 6)) - CAST(coalesce(u.cost_usd, 0) AS DECIMAL(28, 6))
            AS difference,
        greatest(abs(coalesce(b.subtotal_usd, 0)), abs(coalesce(u.cost_usd, 0))) AS larger
    FROM used u FULL JOIN billed b USING (org_id, month)
)
SELECT s.org_id, s.month, s.usage_cost_usd, s.billed_subtotal_usd,
    CAST(coalesce(r.cost_usd, 0) AS DECIMAL(28, 6)) AS refused_cost_usd,
    coalesce(d.usage_days, 0) AS usage_days,
    CAST(s.difference AS DECIMAL(28, 6)) AS difference_usd,
    100 * ratio(s.difference, s.larger) AS difference_pct,
    CASE WHEN d.usage_days IS NULL THEN 'no_usage_data'
         WHEN 100 * d.usage_days < 90 * day(last_day(s.month)) THEN 'partial_usage'
         WHEN s.billed_subtotal_usd IS NULL THEN 'usage_only'
         WHEN s.usage_cost_usd IS NULL THEN 'billing_only'
         WHEN s.has_fx_suspect THEN 'currency_suspect'
         WHEN s.billed_subtotal_usd <= 0 THEN 'credit_note'
         WHEN 20 * abs(s.difference) <= s.larger THEN 'matched'
         WHEN s.difference > 0 THEN 'over_billed'
         ELSE 'under_billed' END AS status
FROM sides s LEFT JOIN days d USING (month)
LEFT JOIN refused r ON r.org_id = s.org_id AND r.month = s.month;
