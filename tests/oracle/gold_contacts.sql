-- Gold: support, surveys, marketing and logins.

CREATE VIEW gold_support_monthly AS
WITH dated AS (
    SELECT *, CAST(date_trunc('month', created_at) AS DATE) AS month,
        coalesce(CAST(resolved_at AS DATE) <= a, false) AS is_resolved,
        CAST(created_at AS DATE) < a - 29 AS is_old
    FROM silver_support_tickets, business_date
    WHERE CAST(created_at AS DATE) <= a
), months AS (
    SELECT month, category, severity,
        count(*) AS tickets,
        count(*) FILTER (is_resolved) AS resolved,
        count(*) FILTER (NOT is_resolved) AS open,
        count(*) FILTER (sla_breached) AS sla_breached,
        ratio(count(*) FILTER (sla_breached), count(*)) AS sla_breach_rate,
        ratio(sum(csat), count(csat)) AS avg_csat,
        CAST(quotient(sum(resolution_hours) FILTER (is_resolved), count(*) FILTER (is_resolved)) AS DECIMAL(20, 6))
            AS avg_resolution_hours,
        list_sort(list(resolution_hours) FILTER (is_resolved)) AS hours,
        count(*) FILTER (NOT is_resolved AND is_old) AS open_over_30d
    FROM dated
    GROUP BY ALL
)
SELECT * EXCLUDE (hours, open_over_30d), nearest_rank(hours, 50) AS p50_resolution_hours,
    nearest_rank(hours, 90) AS p90_resolution_hours, open_over_30d
FROM months;

CREATE VIEW gold_nps_by_month AS
SELECT CAST(date_trunc('month', survey_date) AS DATE) AS month,
    count(*) AS surveys,
    count(nps_score) AS scored,
    count(*) FILTER (nps_score >= 9) AS promoters,
    count(*) FILTER (nps_score BETWEEN 7 AND 8) AS passives,
    count(*) FILTER (nps_score <= 6) AS detractors,
    CASE WHEN count(nps_score) >= 10
         THEN 100 * ratio(count(*) FILTER (nps_score >= 9) - count(*) FILTER (nps_score <= 6), count(nps_score)) END
        AS nps,
    count(*) FILTER (nps_score_reported IS NOT NULL AND nps_score IS NULL) AS out_of_scale,
    ratio(sum(nps_score_reported), count(nps_score_reported)) AS mean_reported,
    CAST(median_of(list_sort(list(nps_score_reported) FILTER (nps_score_reported IS NOT NULL))) AS DECIMAL(20, 6))
        AS median_reported
FROM silver_nps_surveys
GROUP BY ALL;

CREATE VIEW gold_marketing_effectiveness AS
WITH touches AS (
    SELECT *, CAST(date_trunc('month', touched_at) AS DATE) AS month FROM silver_marketing_touches
), revenue AS (
    SELECT org_id, month, sum(revenue_usd) AS revenue_usd FROM silver_billing_monthly GROUP BY ALL
), credited AS (
    SELECT t.touch_id, r.revenue_usd, count(*) OVER one AS touches, row_number() OVER (one ORDER BY t.touch_id) AS place
    FROM revenue r
    JOIN touches t ON t.org_id = r.org_id AND t.converted AND t.month IN (r.month, r.month - INTERVAL 1 MONTH)
    WINDOW one AS (PARTITION BY r.org_id, r.month)
), shares AS (
    SELECT touch_id, revenue_usd, touches, place, quotient(revenue_usd, touches) AS share FROM credited
), influenced AS (
    SELECT touch_id, sum(CASE WHEN place = 1 THEN revenue_usd - (touches - 1) * share ELSE share END) AS revenue_usd
    FROM shares GROUP BY touch_id
)
SELECT t.month, t.campaign, t.channel,
    count(*) AS touches,
    count(DISTINCT t.org_id) AS orgs,
    count(*) FILTER (t.clicked) AS clicks,
    count(*) FILTER (t.converted) AS conversions,
    ratio(count(*) FILTER (t.clicked), count(*)) AS click_rate,
    ratio(count(*) FILTER (t.converted), count(*)) AS conversion_rate,
    count(*) FILTER (t.converted AND NOT coalesce(t.clicked, false)) AS conversions_without_click,
    CAST(coalesce(sum(i.revenue_usd), 0) AS DECIMAL(28, 6)) AS influenced_revenue_usd
FROM touches t LEFT JOIN influenced i USING (touch_id)
GROUP BY t.month, t.campaign, t.channel;

CREATE VIEW gold_user_activity AS
WITH people AS (
    SELECT *, CAST(last_login AS DATE) AS login_date FROM silver_users
), counts AS (
    SELECT org_id,
        count(*) AS users,
        count(*) FILTER (active) AS active_users,
        count(*) FILTER (active AND login_date BETWEEN a - 6 AND a) AS logged_in_7d,
        count(*) FILTER (active AND login_date BETWEEN a - 29 AND a) AS logged_in_30d,
        count(*) FILTER (active AND login_date BETWEEN a - 89 AND a) AS logged_in_90d,
        count(*) FILTER (login_date IS NULL) AS never_logged_in
    FROM people, business_date
    GROUP BY org_id
), roles AS (
    SELECT org_id, map_from_entries(list({k: role, v: users} ORDER BY role)) AS users_by_role
    FROM (SELECT org_id, role, count(*) AS users FROM people WHERE role IS NOT NULL GROUP BY ALL)
    GROUP BY org_id
)
SELECT o.org_id, coalesce(c.users, 0) AS users, coalesce(c.active_users, 0) AS active_users,
    coalesce(r.users_by_role, CAST(map {} AS MAP(VARCHAR, BIGINT))) AS users_by_role,
    coalesce(c.logged_in_7d, 0) AS logged_in_7d, coalesce(c.logged_in_30d, 0) AS logged_in_30d,
    coalesce(c.logged_in_90d, 0) AS logged_in_90d, coalesce(c.never_logged_in, 0) AS never_logged_in,
    ratio(c.logged_in_30d, c.active_users) AS adoption_rate
FROM silver_customers_orgs o
LEFT JOIN counts c USING (org_id)
LEFT JOIN roles r USING (org_id);
