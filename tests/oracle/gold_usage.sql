-- Gold: what was used, where, when and at what cost to the planet.

CREATE VIEW gold_usage_hourly AS
SELECT date_trunc('hour', event_time) AS usage_hour, usage_date, org_id, service, region,
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

CREATE VIEW gold_resource_daily_usage AS
SELECT usage_date, resource_id, org_id, service, region,
    count(*) AS events, CAST(sum(cost_usd) AS DECIMAL(28, 6)) AS cost_usd, max(event_time) AS last_used_at
FROM silver_usage_events
GROUP BY ALL;

CREATE VIEW gold_genai_tokens_by_org_date AS
WITH days AS (
    SELECT org_id, usage_date,
        CAST(sum(genai_tokens) AS BIGINT) AS genai_tokens,
        CAST(coalesce(sum(value) FILTER (metric = 'requests'), 0) AS DECIMAL(30, 6)) AS requests,
        CAST(sum(cost_usd) AS DECIMAL(28, 6)) AS cost_usd,
        CAST(coalesce(sum(cost_usd) FILTER (genai_tokens IS NOT NULL), 0) AS DECIMAL(28, 6)) AS token_cost_usd
    FROM silver_usage_events
    WHERE service = 'genai'
    GROUP BY ALL
)
SELECT *, CAST(from_micros(away(1000 * micros(token_cost_usd), genai_tokens)) AS DECIMAL(28, 6)) AS cost_per_1k_tokens
FROM days;

-- The dates that the usage covers: from the first one to the business date. Here and below, a period's covered days.
CREATE MACRO covered_days(period_start, next_start, first_date, as_of) AS
    greatest(0, least(next_start - 1, as_of) - greatest(period_start, first_date) + 1);

-- Growth in % of cost ÷ days over cost ÷ days before; nothing to grow from where that was not positive.
CREATE MACRO growth_pct(cost, days, cost_before, days_before) AS
    CASE WHEN cost_before > 0 AND days > 0 AND days_before > 0
         THEN 100 * ratio(CAST(cost AS DECIMAL(34, 6)) * days_before - CAST(cost_before AS DECIMAL(34, 6)) * days,
                          CAST(cost_before AS DECIMAL(34, 6)) * days) END;

CREATE VIEW gold_usage_trends AS
WITH calendar AS (
    SELECT DISTINCT usage_date, period_type,
        CAST(date_trunc(period_type, usage_date) AS DATE) AS period_start,
        CAST(date_trunc(period_type, usage_date) + to_months(CASE period_type WHEN 'month' THEN 1 WHEN 'quarter' THEN 3
             ELSE 0 END) + to_days(CASE period_type WHEN 'day' THEN 1 WHEN 'week' THEN 7 ELSE 0 END) AS DATE)
            AS next_start
    FROM silver_usage_events, (VALUES ('day'), ('week'), ('month'), ('quarter')) AS periods(period_type)
), bounds AS (
    SELECT min(usage_date) AS first_date, any_value(a) AS a FROM silver_usage_events, business_date
), sums AS (
    SELECT period_type, period_start, next_start,
        coalesce(service, 'ALL') AS service, coalesce(region, 'ALL') AS region,
        count(*) AS events,
        CAST(sum(cost_usd) AS DECIMAL(28, 6)) AS cost_usd,
        CAST(coalesce(sum(value) FILTER (metric = 'requests'), 0) AS DECIMAL(30, 6)) AS requests,
        CAST(coalesce(sum(value) FILTER (metric = 'cpu_hours'), 0) AS DECIMAL(30, 6)) AS cpu_hours,
        CAST(coalesce(sum(value) FILTER (metric = 'storage_gb_hours'), 0) AS DECIMAL(30, 6)) AS storage_gb_hours,
        CAST(sum(genai_tokens) AS BIGINT) AS genai_tokens,
        CAST(sum(carbon_kg) AS DECIMAL(30, 9)) AS carbon_kg,
        count(carbon_kg) AS carbon_events,
        CAST(coalesce(sum(cost_usd) FILTER (carbon_kg IS NOT NULL), 0) AS DECIMAL(28, 6)) AS carbon_cost_usd,
        count(*) FILTER (value IS NULL) AS events_without_value,
        coalesce(sum(cost_usd) FILTER (usage_date <= a), 0) AS covered_cost
    FROM silver_usage_events JOIN calendar USING (usage_date), bounds
    -- The NULLs of the grouping sets are no values: silver has no event without service or region.
    GROUP BY GROUPING SETS (
        (period_type, period_start, next_start, service, region), (period_type, period_start, next_start, service),
        (period_type, period_start, next_start, region), (period_type, period_start, next_start))
), covered AS (
    SELECT *, CAST(covered_days(period_start, next_start, first_date, a) AS BIGINT) AS covered_days
    FROM sums, bounds
), compared AS (
    SELECT c.*, before.covered_cost AS cost_before, before.covered_days AS days_before,
        sum(c.covered_cost) OVER (
            PARTITION BY c.period_type, c.service, c.region ORDER BY c.period_start
            RANGE BETWEEN INTERVAL 7 DAY PRECEDING AND INTERVAL 1 DAY PRECEDING) AS week_cost
    FROM covered c
    LEFT JOIN covered before ON before.period_type = c.period_type AND before.next_start = c.period_start
        AND before.service = c.service AND before.region = c.region
)
SELECT period_type, period_start, service, region, events, cost_usd, requests, cpu_hours, storage_gb_hours,
    genai_tokens, carbon_kg, carbon_events, carbon_cost_usd, events_without_value, covered_days,
    CAST(quotient(covered_cost, covered_days) AS DECIMAL(28, 6)) AS cost_per_day,
    CASE WHEN period_type <> 'day' THEN growth_pct(covered_cost, covered_days, cost_before, days_before)
         WHEN period_start - 7 >= first_date THEN growth_pct(covered_cost, covered_days, week_cost, 7)
    END AS growth_pct,
    covered_days < next_start - period_start AS is_partial
FROM compared;

CREATE VIEW gold_service_performance AS
WITH bounds AS (
    SELECT min(usage_date) AS first_date, any_value(a) AS a FROM silver_usage_events, business_date
), months AS (
    SELECT CAST(date_trunc('month', usage_date) AS DATE) AS month, service,
        CAST(sum(cost_usd) AS DECIMAL(28, 6)) AS cost_usd,
        count(*) AS events,
        count(DISTINCT org_id) AS active_orgs,
        coalesce(sum(cost_usd) FILTER (usage_date <= a), 0) AS covered_cost
    FROM silver_usage_events, bounds
    GROUP BY ALL
), covered AS (
    SELECT *, CAST(month + INTERVAL 1 MONTH AS DATE) AS next_month,
        CAST(covered_days(month, next_month, first_date, a) AS BIGINT) AS covered_days
    FROM months, bounds
), grown AS (
    SELECT c.*, growth_pct(c.covered_cost, c.covered_days, before.covered_cost, before.covered_days) AS growth_pct
    FROM covered c LEFT JOIN covered before ON before.next_month = c.month AND before.service = c.service
)
SELECT month, service, cost_usd, events, active_orgs,
    100 * ratio(cost_usd, sum(cost_usd) OVER (PARTITION BY month)) AS cost_share_pct,
    rank() OVER (PARTITION BY month ORDER BY cost_usd DESC) AS cost_rank,
    covered_days, covered_days < next_month - month AS is_partial,
    CAST(quotient(covered_cost, covered_days) AS DECIMAL(28, 6)) AS cost_per_day,
    growth_pct,
    CASE WHEN growth_pct > 10 THEN 'top' WHEN growth_pct > 2 THEN 'strong' WHEN growth_pct >= -2 THEN 'average'
         WHEN growth_pct >= -10 THEN 'under' WHEN growth_pct < -10 THEN 'low' END AS tier
FROM grown;

CREATE VIEW gold_carbon_footprint AS
WITH months AS (
    SELECT CAST(date_trunc('month', usage_date) AS DATE) AS month, org_id, service, region,
        CAST(sum(carbon_kg) AS DECIMAL(30, 9)) AS carbon_kg,
        count(*) AS events,
        count(carbon_kg) AS carbon_events,
        CAST(coalesce(sum(cost_usd) FILTER (carbon_kg IS NOT NULL), 0) AS DECIMAL(28, 6)) AS carbon_cost_usd
    FROM silver_usage_events
    GROUP BY ALL
)
SELECT *, 100 * ratio(carbon_events, events) AS coverage_pct,
    -- Carbon counts in billionths, cost in millionths; the answer in billionths again.
    CAST(try_cast(away(CAST(replace(CAST(carbon_kg AS VARCHAR), '.', '') AS HUGEINT) * 1000000,
                       micros(carbon_cost_usd)) AS DECIMAL(29, 0)) * CAST(0.000000001 AS DECIMAL(9, 9))
         AS DECIMAL(30, 9)) AS carbon_kg_per_usd
FROM months;

-- Facts meet the resource as it is now; a state that nobody told is neither running nor inactive.
CREATE VIEW gold_resource_utilization AS
WITH used AS (
    SELECT resource_id,
        count(*) FILTER (usage_date BETWEEN a - 29 AND a) AS events_30d,
        count(*) FILTER (usage_date BETWEEN a - 13 AND a) AS events_14d,
        sum(cost_usd) FILTER (usage_date BETWEEN a - 29 AND a) AS cost_30d,
        sum(cost_usd) FILTER (usage_date BETWEEN a - 6 AND a) AS cost_7d,
        max(event_time) AS last_used_at
    FROM silver_usage_events, business_date
    GROUP BY resource_id
)
SELECT r.resource_id, r.org_id, r.service, r.region, r.state,
    coalesce(u.events_30d, 0) AS events_30d,
    CAST(coalesce(u.cost_30d, 0) AS DECIMAL(28, 6)) AS cost_30d_usd,
    u.last_used_at,
    coalesce(r.state = 'running', false) AND coalesce(u.events_14d, 0) = 0 AS is_idle,
    CAST(CASE WHEN r.state <> 'running' THEN coalesce(u.cost_7d, 0) ELSE 0 END AS DECIMAL(28, 6))
        AS inactive_cost_7d_usd,
    CAST(CASE WHEN r.state <> 'running' THEN coalesce(u.cost_30d, 0) ELSE 0 END AS DECIMAL(28, 6))
        AS inactive_cost_30d_usd
FROM silver_resources r LEFT JOIN used u USING (resource_id);
