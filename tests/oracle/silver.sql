-- Silver: the accepted rows, each key once.
-- In: accepted, read_<source>, csv_files, current_<master>(key, source_file, row_no), silver_usage_events,
-- asked(as_of).

-- Of a record, the newest accepted delivery wins.
CREATE TABLE newest AS
SELECT a.source, a.source_file, a.row_no,
    f.snapshot_at AS _snapshot_at, f.modified_at AS _source_modified_at, f.sha256 AS _source_sha256,
    f.source_file AS _source_file
FROM accepted a JOIN csv_files f USING (source, source_file)
QUALIFY row_number() OVER (PARTITION BY source, key ORDER BY f.file_rank DESC) = 1;

CREATE VIEW silver_customers_orgs AS
SELECT v.org_id, v.org_name, v.industry, v.hq_region, v.plan_tier, v.is_enterprise, v.signup_date, v.sales_rep,
    v.lifecycle_stage, v.marketing_source,
    CASE WHEN v.nps_score BETWEEN -100 AND 100 THEN v.nps_score END AS nps_score,
    names([
        when_true('signup_date_missing', v.signup_date IS NULL),
        when_true('nps_score_out_of_range', v.nps_score NOT BETWEEN -100 AND 100),
        when_true('is_enterprise_contradicts_plan', v.is_enterprise <> (v.plan_tier = 'enterprise'))
    ]) AS quality_flags
FROM read_customers_orgs JOIN current_customers_orgs USING (source_file, row_no);

CREATE VIEW silver_users AS
WITH checked AS (
    SELECT v, is_active_missing, regexp_matches(
            v.email, '^[^@ \t,;<>"]+@[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)+$') AS is_address
    FROM read_users JOIN current_users USING (source_file, row_no)
)
SELECT v.user_id, v.org_id, CASE WHEN is_address THEN v.email END AS email, v.role, v.active, v.created_at,
    v.last_login,
    names([
        when_true('email_invalid', NOT is_address), when_true('last_login_missing', v.last_login IS NULL),
        when_true('last_login_before_created', v.last_login < v.created_at),
        when_true('created_before_signup', v.created_at < o.signup_date),
        when_true('active_missing', is_active_missing)
    ]) AS quality_flags
FROM checked LEFT JOIN silver_customers_orgs o ON o.org_id = v.org_id;

CREATE VIEW silver_resources AS
SELECT v.resource_id, v.org_id, v.service, v.region, v.created_at, v.state, v.tags,
    names([
        when_true('tags_unparseable', tags_json IS NOT NULL AND v.tags IS NULL),
        when_true('tag_key_repeated', len(list_filter(map_values(v.tags), lambda found: len(found) > 1)) > 0)
    ]) AS quality_flags
FROM read_resources JOIN current_resources USING (source_file, row_no);

CREATE TABLE silver_billing_monthly AS
WITH converted AS (
    SELECT v.*, n.* EXCLUDE (source, source_file, row_no),
        times_rate(v.subtotal, v.exchange_rate_to_usd) AS subtotal_usd,
        times_rate(v.credits, v.exchange_rate_to_usd) AS credits_usd,
        times_rate(v.taxes, v.exchange_rate_to_usd) AS taxes_usd
    FROM read_billing_monthly r
    JOIN newest n ON n.source = 'billing_monthly' AND n.source_file = r.source_file AND n.row_no = r.row_no
), ordered AS (
    SELECT month, list(abs(subtotal_usd) ORDER BY abs(subtotal_usd)) AS amounts
    FROM converted WHERE currency = 'USD' GROUP BY month
), middles AS (
    -- Twice the median, so that it needs no division.
    SELECT month, CAST(amounts[(len(amounts) + 1) // 2] AS DECIMAL(38, 6))
                + CAST(amounts[len(amounts) // 2 + 1] AS DECIMAL(38, 6)) AS twice_median
    FROM ordered
), judged_amounts AS (
    -- Under 5 % of the median: 40 times the amount under twice the median.
    SELECT c.*, coalesce(currency <> 'USD' AND CAST(abs(subtotal_usd) AS DECIMAL(30, 6)) * 40 < twice_median, false)
        AS fx_suspect
    FROM converted c LEFT JOIN middles USING (month)
)
SELECT invoice_id, org_id, month, currency, exchange_rate_to_usd, subtotal, credits, taxes,
    subtotal_usd, credits_usd, taxes_usd,
    CAST(subtotal_usd - credits_usd AS DECIMAL(18, 6)) AS revenue_usd,
    CAST(subtotal_usd - credits_usd + taxes_usd AS DECIMAL(18, 6)) AS invoiced_usd,
    subtotal < 0 AS is_credit_note, fx_suspect,
    names([
        when_true('is_credit_note', subtotal < 0), when_true('credit_note_with_tax', subtotal < 0 AND taxes > 0),
        when_true('usd_rate_off_one', currency = 'USD' AND abs(exchange_rate_to_usd - 1) > 0.005),
        when_true('fx_suspect', fx_suspect)
    ]) AS quality_flags,
    _snapshot_at, _source_modified_at, _source_sha256, _source_file
FROM judged_amounts;

CREATE VIEW silver_support_tickets AS
SELECT v.ticket_id, v.org_id, v.category, v.severity, v.created_at, v.resolved_at,
    CASE WHEN v.resolved_at IS NULL THEN 'open' ELSE 'resolved' END AS status,
    -- Hours to 6 places are microseconds ÷ 3600, in millionths.
    CAST(from_micros(half_up(epoch_us(v.resolved_at) - epoch_us(v.created_at), 3600)) AS DECIMAL(20, 6))
        AS resolution_hours,
    CASE WHEN v.csat IN (1, 2, 3, 4, 5) THEN CAST(v.csat AS INT) END AS csat, v.sla_breached,
    names([
        when_true('csat_out_of_scale', v.csat NOT IN (1, 2, 3, 4, 5)),
        when_true('csat_on_open_ticket', v.csat IN (1, 2, 3, 4, 5) AND v.resolved_at IS NULL),
        when_true('resolved_after_snapshot', v.resolved_at > _snapshot_at)
    ]) AS quality_flags,
    _snapshot_at, _source_modified_at, _source_sha256, _source_file
FROM read_support_tickets r
JOIN newest n ON n.source = 'support_tickets' AND n.source_file = r.source_file AND n.row_no = r.row_no;

CREATE VIEW silver_marketing_touches AS
SELECT v.touch_id, v.org_id, v.campaign, v.channel, v.touched_at, v.clicked, v.converted,
    names([when_true('converted_without_click', v.converted AND NOT coalesce(v.clicked, false))]) AS quality_flags,
    _snapshot_at, _source_modified_at, _source_sha256, _source_file
FROM read_marketing_touches r
JOIN newest n ON n.source = 'marketing_touches' AND n.source_file = r.source_file AND n.row_no = r.row_no;

CREATE VIEW silver_nps_surveys AS
WITH scored AS (
    SELECT v, CASE WHEN v.nps_score_reported BETWEEN 0 AND 10 AND v.nps_score_reported = floor(v.nps_score_reported)
                   THEN CAST(v.nps_score_reported AS INT) END AS nps_score, n.*
    FROM read_nps_surveys r
    JOIN newest n ON n.source = 'nps_surveys' AND n.source_file = r.source_file AND n.row_no = r.row_no
)
SELECT v.org_id, v.survey_date, nps_score, v.nps_score_reported,
    CASE WHEN nps_score >= 9 THEN 'promoter' WHEN nps_score >= 7 THEN 'passive' WHEN nps_score >= 0 THEN 'detractor' END
        AS nps_category,
    v.comment,
    names([when_true('nps_score_out_of_scale', v.nps_score_reported IS NOT NULL AND nps_score IS NULL)])
        AS quality_flags,
    _snapshot_at, _source_modified_at, _source_sha256, _source_file
FROM scored;

CREATE TABLE business_date AS
SELECT coalesce(as_of, (SELECT CAST(max(event_time) - INTERVAL 23 HOUR AS DATE) FROM silver_usage_events)) AS a
FROM asked;
