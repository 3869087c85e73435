-- Gold: what customers are worth, how they are, how both came about.
-- The scores are computed at once for many moments: the business date with the current masters, and the end of each
-- week with the masters in force then.

-- The versions of the masters: what each told snapshot found, until the next one. The first version of a key starts in
-- 1970, unless an earlier snapshot lacked the key.
CREATE TABLE versions AS
WITH times AS (
    SELECT master, snapshot_at, lead(snapshot_at) OVER (PARTITION BY master ORDER BY snapshot_at) AS next_at
    FROM told_snapshots
), firsts AS (
    SELECT master, key, min(snapshot_at) AS first_at FROM told_states GROUP BY ALL
), lacking AS (
    SELECT DISTINCT f.master, f.key
    FROM firsts f JOIN told_snapshots t ON t.master = f.master AND t.snapshot_at < f.first_at
    WHERE NOT EXISTS (FROM told_keys k WHERE k.master = f.master AND k.snapshot_at = t.snapshot_at AND k.key = f.key)
)
SELECT s.master, s.key, s.source_file, s.row_no,
    CASE WHEN s.snapshot_at = f.first_at AND l.key IS NULL THEN TIMESTAMP '1970-01-01' ELSE s.snapshot_at END
        AS valid_from,
    t.next_at AS valid_to
FROM told_states s
JOIN times t USING (master, snapshot_at)
JOIN firsts f USING (master, key)
LEFT JOIN lacking l USING (master, key);

CREATE TABLE moments AS
WITH usage AS (
    SELECT min(usage_date) AS first_date FROM silver_usage_events
), days AS (
    SELECT a AS as_of, true AS is_now FROM business_date
    UNION ALL
    SELECT CAST(unnest(generate_series(date_trunc('week', first_date) + INTERVAL 6 DAY, a, INTERVAL 7 DAY)) AS DATE),
        false
    FROM usage, business_date
)
SELECT row_number() OVER (ORDER BY is_now, as_of) AS moment, as_of, is_now, first_date AS first_usage_date FROM days, usage;

-- In force at the last instant of the day.
CREATE MACRO in_force(valid_from, valid_to, as_of) AS
    valid_from < as_of + INTERVAL 1 DAY AND (valid_to IS NULL OR valid_to >= as_of + INTERVAL 1 DAY);

CREATE TABLE orgs_then AS
SELECT m.*, o.org_id, o.signup_date, o.nps_score FROM moments m, silver_customers_orgs o WHERE m.is_now
UNION ALL
SELECT m.*, r.v.org_id, r.v.signup_date, CASE WHEN r.v.nps_score BETWEEN -100 AND 100 THEN r.v.nps_score END
FROM versions o
JOIN moments m ON NOT m.is_now AND in_force(o.valid_from, o.valid_to, m.as_of)
JOIN read_customers_orgs r USING (source_file, row_no)
WHERE o.master = 'customers_orgs';

CREATE TABLE people_then AS
WITH people AS (
    SELECT m.moment, m.as_of, u.org_id, u.active, u.last_login FROM moments m, silver_users u WHERE m.is_now
    UNION ALL
    SELECT m.moment, m.as_of, r.v.org_id, r.v.active, r.v.last_login
    FROM versions u
    JOIN moments m ON NOT m.is_now AND in_force(u.valid_from, u.valid_to, m.as_of)
    JOIN read_users r USING (source_file, row_no)
    -- Of the weeks before the first snapshot nobody knows who logged in; of A itself one does.
    WHERE u.master = 'users' AND (m.as_of = (SELECT a FROM business_date)
        OR m.as_of >= (SELECT CAST(min(snapshot_at) AS DATE) FROM told_snapshots WHERE master = 'users'))
)
SELECT moment, org_id,
    count(*) FILTER (active) AS active_users,
    count(*) FILTER (active AND CAST(last_login AS DATE) BETWEEN as_of - 29 AND as_of) AS logged_in_30d
FROM people
GROUP BY ALL;

CREATE TABLE usage_then AS
SELECT m.moment, d.org_id,
    max(usage_date) AS last_date,
    count(*) FILTER (usage_date >= as_of - 89) AS frequency,
    sum(net_cost) FILTER (usage_date >= as_of - 29) AS recent_cost,
    sum(net_cost) FILTER (usage_date BETWEEN as_of - 59 AND as_of - 30) AS previous_cost
FROM (SELECT *, CASE WHEN is_anomaly THEN expected_usd ELSE cost_usd END AS net_cost FROM judged_days) d
JOIN moments m ON d.usage_date <= m.as_of
GROUP BY ALL;

CREATE TABLE org_months AS
SELECT org_id, month, CAST(sum(revenue_usd) AS DECIMAL(28, 6)) AS revenue_usd, bool_or(fx_suspect) AS is_suspect
FROM silver_billing_monthly GROUP BY ALL;

-- Recency, frequency, monetary value.
CREATE TABLE rfm AS
WITH billed AS (
    SELECT m.moment, b.month FROM moments m JOIN (SELECT DISTINCT month FROM org_months) b ON b.month <= m.as_of
    QUALIFY row_number() OVER (PARTITION BY m.moment ORDER BY b.month DESC) <= 3
), worth AS (
    SELECT b.moment, o.org_id, quotient(sum(o.revenue_usd), count(*)) AS monetary
    FROM billed b JOIN org_months o USING (month) WHERE NOT o.is_suspect
    GROUP BY ALL
), valued AS (
    SELECT o.*, CAST(o.as_of - u.last_date AS INT) AS recency_days, coalesce(u.frequency, 0) AS frequency,
        CAST(w.monetary AS DECIMAL(28, 6)) AS monetary,
        CAST(coalesce(u.recent_cost, 0) AS DECIMAL(28, 6)) AS recent_net_cost_usd,
        CAST(coalesce(u.previous_cost, 0) AS DECIMAL(28, 6)) AS previous_net_cost_usd
    FROM orgs_then o LEFT JOIN usage_then u USING (moment, org_id) LEFT JOIN worth w USING (moment, org_id)
), placed AS (
    -- Up to CURRENT ROW are all that are no better, equal ones among them; without a value is the worst.
    SELECT *, count(*) OVER (PARTITION BY moment) AS everybody,
        count(*) OVER (PARTITION BY moment ORDER BY frequency RANGE UNBOUNDED PRECEDING) AS not_more_frequent,
        count(*) OVER (PARTITION BY moment ORDER BY monetary NULLS FIRST RANGE UNBOUNDED PRECEDING) AS not_worth_more
    FROM valued
), scored AS (
    SELECT *,
        CASE WHEN recency_days <= 1 THEN 5 WHEN recency_days <= 7 THEN 4 WHEN recency_days <= 14 THEN 3
             WHEN recency_days <= 30 THEN 2 ELSE 1 END AS r,
        CAST((5 * not_more_frequent + everybody - 1) // everybody AS INT) AS f,
        CAST(CASE WHEN monetary IS NULL THEN 1 ELSE (5 * not_worth_more + everybody - 1) // everybody END AS INT) AS m,
        CASE WHEN previous_net_cost_usd > 0
             THEN 100 * ratio(recent_net_cost_usd - previous_net_cost_usd, previous_net_cost_usd) END AS cost_change_pct,
        previous_net_cost_usd > 0 AND 4 * recent_net_cost_usd <= 3 * previous_net_cost_usd AS is_falling
    FROM placed
)
SELECT * EXCLUDE (everybody, not_more_frequent, not_worth_more, is_falling), r + f + m AS rfm_score,
    CASE WHEN r = 1 THEN 'Lost'
         WHEN r <= 3 OR is_falling THEN 'At Risk'
         WHEN signup_date BETWEEN as_of - 29 AND as_of THEN 'New'
         WHEN f >= 4 AND m >= 4 THEN 'Champions'
         WHEN f >= 4 THEN 'Loyal'
         WHEN m >= 4 THEN 'High Value'
         ELSE 'Potential' END AS segment
FROM scored;

-- Health: the five scores, then their weighted sum over those present.
CREATE MACRO clamped(score) AS
    CAST(CASE WHEN score < 0 THEN 0 WHEN score > 100 THEN 100 ELSE score END AS DECIMAL(10, 6));
CREATE MACRO contribution(score, weight, present) AS
    CAST(CAST(away(micros(score) * weight, present * 10000) AS DECIMAL(10, 0)) * 0.01 AS DECIMAL(10, 2));
CREATE MACRO component(name, score, weight, present) AS
    {name: name, score: score, weight: CAST(weight AS INT), contribution: contribution(score, weight, present)};

CREATE TABLE health AS
WITH tickets AS (
    SELECT m.moment, t.org_id,
        count(*) FILTER (CAST(created_at AS DATE) >= as_of - 89) AS tickets,
        count(*) FILTER (CAST(created_at AS DATE) >= as_of - 89 AND sla_breached) AS breached,
        count(*) FILTER (severity IN ('high', 'critical') AND NOT coalesce(CAST(resolved_at AS DATE) <= as_of, false))
            AS severe_open,
        sum(csat) FILTER (CAST(created_at AS DATE) >= as_of - 89 AND CAST(resolved_at AS DATE) <= as_of) AS csat_total,
        count(csat) FILTER (CAST(created_at AS DATE) >= as_of - 89 AND CAST(resolved_at AS DATE) <= as_of) AS csat_count
    FROM silver_support_tickets t JOIN moments m ON CAST(t.created_at AS DATE) <= m.as_of
    GROUP BY ALL
), surveys AS (
    SELECT m.moment, s.org_id, arg_max(s.nps_score, s.survey_date) AS score
    FROM silver_nps_surveys s JOIN moments m ON s.survey_date <= m.as_of
    WHERE s.nps_score IS NOT NULL
    GROUP BY ALL
), newest_months AS (
    SELECT m.moment, o.* FROM org_months o JOIN moments m ON o.month <= m.as_of
    QUALIFY row_number() OVER (PARTITION BY m.moment, o.org_id ORDER BY o.month DESC) = 1
), preceding_months AS (
    SELECT n.moment, o.org_id, o.revenue_usd FROM newest_months n
    JOIN org_months o ON o.org_id = n.org_id AND o.month < n.month AND NOT o.is_suspect
    QUALIFY row_number() OVER (PARTITION BY n.moment, o.org_id ORDER BY o.month DESC) <= 3
), preceding AS (
    SELECT moment, org_id, sum(revenue_usd) AS total, count(*) AS months FROM preceding_months GROUP BY ALL
), billing AS (
    SELECT n.moment, n.org_id,
        CASE WHEN n.is_suspect THEN NULL
             WHEN n.revenue_usd <= 0 THEN 0
             WHEN p.total > 0 THEN quotient(100 * n.revenue_usd * p.months, p.total) END AS score
    FROM newest_months n LEFT JOIN preceding p USING (moment, org_id)
), scored AS (
    SELECT r.moment, r.as_of, r.is_now, r.org_id,
        clamped(CASE WHEN r.as_of - 59 >= r.first_usage_date
                          AND greatest(r.recent_net_cost_usd, r.previous_net_cost_usd) > 0
            THEN 50 + quotient(50 * (r.recent_net_cost_usd - r.previous_net_cost_usd),
                               greatest(r.recent_net_cost_usd, r.previous_net_cost_usd)) END) AS usage,
        clamped(CASE WHEN p.active_users > 0 THEN quotient(250 * p.logged_in_30d, p.active_users) END) AS engagement,
        clamped(CASE WHEN t.tickets > 0 THEN quotient(100 * (t.tickets - t.breached), t.tickets) ELSE 100 END
                - 10 * coalesce(t.severe_open, 0)) AS support,
        clamped(CASE WHEN s.score IS NOT NULL THEN s.score * 10
                     WHEN t.csat_count > 0 THEN quotient(25 * (t.csat_total - t.csat_count), t.csat_count)
                     ELSE quotient(o.nps_score + 100, 2) END) AS satisfaction,
        clamped(b.score) AS billing
    FROM rfm r
    JOIN orgs_then o USING (moment, org_id)
    LEFT JOIN people_then p USING (moment, org_id)
    LEFT JOIN tickets t USING (moment, org_id)
    LEFT JOIN surveys s USING (moment, org_id)
    LEFT JOIN billing b USING (moment, org_id)
), weighed AS (
    SELECT *, CASE WHEN usage IS NULL THEN 0 ELSE 25 END + CASE WHEN engagement IS NULL THEN 0 ELSE 20 END
            + CASE WHEN support IS NULL THEN 0 ELSE 20 END + CASE WHEN satisfaction IS NULL THEN 0 ELSE 20 END
            + CASE WHEN billing IS NULL THEN 0 ELSE 15 END AS present
    FROM scored
), explained AS (
    SELECT moment, as_of, is_now, org_id, [
            component('usage', usage, 25, present), component('engagement', engagement, 20, present),
            component('support', support, 20, present), component('satisfaction', satisfaction, 20, present),
            component('billing', billing, 15, present)
        ] AS health_components
    FROM weighed
), summed AS (
    SELECT *, CAST(list_sum(list_transform(health_components, lambda c: c.contribution)) AS DECIMAL(10, 2))
        AS health_score
    FROM explained
)
SELECT moment, as_of, is_now, org_id, health_score,
    CASE WHEN health_score >= 70 THEN 'healthy' WHEN health_score >= 50 THEN 'watch'
         WHEN health_score < 50 THEN 'at_risk' END AS health_band,
    health_components
FROM summed;

CREATE VIEW gold_customer_rfm AS
SELECT org_id, recency_days, frequency, monetary, r, f, m, rfm_score, recent_net_cost_usd, previous_net_cost_usd,
    cost_change_pct, segment
FROM rfm WHERE is_now;

CREATE VIEW gold_customer_health AS
SELECT org_id, health_score, health_band, health_components FROM health WHERE is_now;

CREATE VIEW gold_customer_history AS
SELECT org_id, r.as_of AS week_ending, r.segment, r.r, r.f, r.m, h.health_score, h.health_band, h.health_components
FROM rfm r JOIN health h USING (moment, org_id) WHERE NOT r.is_now;

CREATE VIEW gold_customer_segments AS
SELECT r.segment,
    count(*) AS orgs,
    100 * ratio(count(*), sum(count(*)) OVER ()) AS org_share_pct,
    CAST(sum(s.revenue_usd) AS DECIMAL(28, 6)) AS revenue_usd,
    100 * ratio(sum(s.revenue_usd), sum(sum(s.revenue_usd)) OVER ()) AS revenue_share_pct,
    ratio(sum(r.r), count(*)) AS mean_r,
    ratio(sum(r.f), count(*)) AS mean_f,
    ratio(sum(r.m), count(*)) AS mean_m,
    ratio(sum(h.health_score), count(h.health_score)) AS mean_health
FROM gold_customer_rfm r JOIN gold_customer_health h USING (org_id) JOIN gold_customer_summary s USING (org_id)
GROUP BY r.segment;

-- A customer's life is cut wherever a version or a week begins; equal neighbours are one version. A week's segment holds
-- from its Monday on, as long as the customer stays.
CREATE VIEW gold_dim_customer AS
WITH told AS (
    SELECT o.key AS org_id, o.valid_from, o.valid_to, {
            org_name: r.v.org_name, industry: r.v.industry, hq_region: r.v.hq_region, plan_tier: r.v.plan_tier,
            is_enterprise: r.v.is_enterprise, signup_date: r.v.signup_date, lifecycle_stage: r.v.lifecycle_stage,
            marketing_source: r.v.marketing_source,
            nps_score: CASE WHEN r.v.nps_score BETWEEN -100 AND 100 THEN r.v.nps_score END
        } AS attributes,
        lag(o.valid_to) OVER (PARTITION BY o.key ORDER BY o.valid_from) IS NOT DISTINCT FROM o.valid_from AS is_next
    FROM versions o JOIN read_customers_orgs r USING (source_file, row_no)
    WHERE o.master = 'customers_orgs'
), numbered AS (
    SELECT *, count(*) FILTER (NOT is_next) OVER (PARTITION BY org_id ORDER BY valid_from) AS stay FROM told
), stays AS (
    SELECT org_id, stay, min(valid_from) AS since, CASE WHEN bool_and(valid_to IS NOT NULL) THEN max(valid_to) END AS till
    FROM numbered GROUP BY ALL
), weeks AS (
    SELECT h.org_id, s.stay, CAST(h.week_ending + 1 AS TIMESTAMP) AS monday, h.segment, h.health_band
    FROM gold_customer_history h JOIN stays s
        ON s.org_id = h.org_id AND s.since < h.week_ending + INTERVAL 1 DAY
        AND (s.till IS NULL OR s.till > h.week_ending + INTERVAL 1 DAY)
), cuts AS (
    SELECT org_id, stay, valid_from AS cut FROM numbered
    UNION
    SELECT org_id, stay, monday FROM weeks
), pieces AS (
    SELECT c.org_id, c.stay, c.cut, n.attributes, w.segment, w.health_band
    FROM cuts c
    JOIN numbered n ON n.org_id = c.org_id AND n.valid_from <= c.cut AND (n.valid_to IS NULL OR c.cut < n.valid_to)
    ASOF LEFT JOIN weeks w ON w.org_id = c.org_id AND w.stay = c.stay AND c.cut >= w.monday
), changes AS (
    SELECT *, lag({a: attributes, s: segment, h: health_band}) OVER one IS NOT DISTINCT FROM
            {a: attributes, s: segment, h: health_band} AND row_number() OVER one > 1 AS is_same
    FROM pieces WINDOW one AS (PARTITION BY org_id, stay ORDER BY cut)
), starts AS (
    SELECT *, coalesce(lead(cut) OVER (PARTITION BY org_id, stay ORDER BY cut), till) AS effective_to
    FROM changes JOIN stays USING (org_id, stay) WHERE NOT is_same
)
SELECT org_id, unnest(attributes), segment, health_band, cut AS effective_from, effective_to,
    effective_to IS NULL AS is_current, false AS is_deleted
FROM starts;

CREATE VIEW gold_customer_360 AS
WITH usage AS (
    SELECT org_id,
        count(*) AS events_30d,
        sum(cost_usd) AS cost_30d,
        sum(value) FILTER (metric = 'requests') AS requests_30d,
        sum(value) FILTER (metric = 'cpu_hours') AS cpu_hours_30d,
        sum(value) FILTER (metric = 'storage_gb_hours') AS storage_gb_hours_30d,
        CAST(sum(genai_tokens) AS BIGINT) AS genai_tokens_30d,
        CAST(sum(carbon_kg) AS DECIMAL(30, 9)) AS carbon_kg_30d
    FROM silver_usage_events, business_date
    WHERE usage_date BETWEEN a - 29 AND a
    GROUP BY org_id
), shares AS (
    SELECT *, CAST(last_day(month) AS DATE) AS last_date,
        greatest(0, least(last_date, a) - greatest(month, a - 29) + 1) AS days_in
    FROM org_months, business_date
), billed AS (
    SELECT org_id, sum(quotient(revenue_usd * days_in, day(last_date))) AS revenue_30d, bool_or(is_suspect) AS is_suspect
    FROM shares WHERE days_in > 0
    GROUP BY org_id
), tickets AS (
    SELECT org_id,
        count(*) AS tickets_30d,
        count(*) FILTER (CAST(resolved_at AS DATE) <= a) AS resolved_30d,
        count(*) FILTER (sla_breached) AS sla_breached_30d
    FROM silver_support_tickets, business_date
    WHERE CAST(created_at AS DATE) BETWEEN a - 29 AND a
    GROUP BY org_id
)
SELECT s.*, r.* EXCLUDE (org_id), h.* EXCLUDE (org_id),
    coalesce(u.events_30d, 0) AS events_30d,
    CAST(coalesce(u.cost_30d, 0) AS DECIMAL(28, 6)) AS cost_30d_usd,
    CAST(coalesce(u.requests_30d, 0) AS DECIMAL(30, 6)) AS requests_30d,
    CAST(coalesce(u.cpu_hours_30d, 0) AS DECIMAL(30, 6)) AS cpu_hours_30d,
    CAST(coalesce(u.storage_gb_hours_30d, 0) AS DECIMAL(30, 6)) AS storage_gb_hours_30d,
    u.genai_tokens_30d, u.carbon_kg_30d,
    CAST(coalesce(b.revenue_30d, 0) AS DECIMAL(28, 6)) AS revenue_30d_usd,
    coalesce(b.is_suspect, false) AS has_fx_suspect_30d,
    coalesce(t.tickets_30d, 0) AS tickets_30d,
    coalesce(t.resolved_30d, 0) AS resolved_30d,
    coalesce(t.sla_breached_30d, 0) AS sla_breached_30d,
    names([
        when_true(s.lifecycle_stage || '_with_cost',
                  s.lifecycle_stage IN ('churned', 'lead', 'prospect') AND coalesce(u.cost_30d, 0) > 0),
        when_true('free_plan_with_revenue', s.plan_tier = 'free' AND coalesce(b.revenue_30d, 0) > 0)
    ]) AS contradictions
FROM gold_customer_summary s
JOIN gold_customer_rfm r USING (org_id)
JOIN gold_customer_health h USING (org_id)
LEFT JOIN usage u USING (org_id)
LEFT JOIN billed b USING (org_id)
LEFT JOIN tickets t USING (org_id);
