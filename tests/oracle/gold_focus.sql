-- FOCUS: every charge once, the lines of invoices, and the causes of the gap. Left out are the region's name and load_id.

-- USD over a rate of 18 places, to 6 places, half away from zero.
CREATE MACRO over_rate(usd, rate) AS
    CAST(from_micros(away(sixfold(usd) * 1000000000000000000,
                          CAST(replace(CAST(CAST(rate AS DECIMAL(38, 18)) AS VARCHAR), '.', '') AS HUGEINT))) AS DECIMAL(38, 6));
CREATE MACRO text_of(tags) AS
    CASE WHEN len(map_keys(tags)) > 0 THEN '{' || array_to_string(list_concat(
        list_transform(list_sort(map_keys(tags)), lambda k: to_json(k) || ':' || to_json(array_to_string(tags[k], ';'))),
        CASE WHEN len(list_filter(map_keys(tags), lambda k: len(tags[k]) > 1)) > 0
             THEN ['"x_TagConflict":' || to_json(array_to_string(list_sort(list_filter(map_keys(tags), lambda k: len(tags[k]) > 1)), ';'))]
             ELSE [] END), ',') || '}' END;

-- Names and tags as each charge's first instant found them; of an organisation that came later, the current name.
CREATE TABLE orgs_by_time AS
SELECT s.key AS org_id, s.valid_from, s.valid_to, r.v.org_name AS org_name
FROM versions s JOIN read_customers_orgs r USING (source_file, row_no) WHERE s.master = 'customers_orgs';
CREATE TABLE resources_by_time AS
SELECT s.key AS resource_id, s.valid_from, s.valid_to, r.v.tags AS tags
FROM versions s JOIN read_resources r USING (source_file, row_no) WHERE s.master = 'resources';

-- Of each organisation and month the invoice that carries its usage.
CREATE TABLE focus_carrying AS
SELECT org_id, month AS billing_month, invoice_id, currency, exchange_rate_to_usd AS exchange_rate, fx_suspect
FROM silver_billing_monthly WHERE subtotal >= 0
QUALIFY row_number() OVER (PARTITION BY org_id, month ORDER BY subtotal_usd DESC, invoice_id) = 1;

CREATE TABLE focus_metered AS
WITH days AS (
    SELECT org_id, usage_date, service, region, resource_id, metric,
        CASE WHEN value IS NULL THEN 'metered-adjustment' ELSE 'metered-usage' END AS charge_kind,
        CAST(date_trunc('month', usage_date) AS DATE) AS billing_month,
        CAST(sum(value) AS DECIMAL(38, 6)) AS consumed_quantity,
        CAST(sum(cost_usd) AS DECIMAL(38, 6)) AS cost_usd,
        count(*) AS events,
        CAST(sum(carbon_kg) AS DECIMAL(30, 9)) AS carbon_kg,
        CAST(sum(genai_tokens) AS BIGINT) AS genai_tokens
    FROM silver_usage_events GROUP BY ALL
)
SELECT d.*, c.invoice_id, coalesce(c.currency, 'USD') AS billing_currency, c.exchange_rate, c.fx_suspect,
    CASE WHEN coalesce(c.currency, 'USD') = 'USD' THEN d.cost_usd ELSE over_rate(d.cost_usd, c.exchange_rate) END AS billed_cost
FROM days d LEFT JOIN focus_carrying c USING (org_id, billing_month);

CREATE TABLE gold_focus_charges AS
WITH carried AS (
    SELECT invoice_id, sum(billed_cost) AS billed, sum(cost_usd) AS usd FROM focus_metered WHERE invoice_id IS NOT NULL GROUP BY ALL
), added AS (
    SELECT b.*, unnest([
        {kind: 'adjustment', amount: subtotal - coalesce(billed, 0), usd: subtotal_usd - coalesce(c.usd, 0),
         says: CASE WHEN subtotal < 0 THEN 'Credit note ' || invoice_id WHEN subtotal < coalesce(billed, 0) THEN 'Metered usage not invoiced'
                    ELSE 'Invoiced beyond metered usage' END},
        {kind: 'credit', amount: -coalesce(credits, 0), usd: -coalesce(credits_usd, 0), says: 'Credits on invoice ' || invoice_id},
        {kind: 'tax', amount: coalesce(taxes, 0), usd: coalesce(taxes_usd, 0), says: 'Taxes on invoice ' || invoice_id}
    ]) AS line
    FROM silver_billing_monthly b LEFT JOIN carried c USING (invoice_id)
), named AS (
    FROM (VALUES ('compute', 'Compute', 'Compute', 'Other (Compute)'), ('storage', 'Storage', 'Storage', 'Other (Storage)'),
        ('database', 'Database', 'Databases', 'Other (Databases)'), ('networking', 'Networking', 'Networking', 'Other (Networking)'),
        ('analytics', 'Analytics', 'Analytics', 'Other (Analytics)'),
        ('genai', 'Generative AI', 'AI and Machine Learning', 'Generative AI')
    ) AS named(service, service_name, service_category, service_subcategory)
), charges AS (
    SELECT billing_month, usage_date AS charge_period_start, usage_date + 1 AS charge_period_end, org_id, charge_kind,
        CASE charge_kind WHEN 'metered-usage' THEN 'Usage' ELSE 'Adjustment' END AS charge_category,
        CASE charge_kind WHEN 'metered-usage' THEN service_name || ': ' || metric || ' in ' || region
                         ELSE 'Metered cost without a quantity' END AS charge_description,
        invoice_id, billing_currency, billed_cost, cost_usd, exchange_rate, fx_suspect, consumed_quantity,
        CASE WHEN consumed_quantity IS NOT NULL THEN CASE metric WHEN 'requests' THEN 'Requests' WHEN 'cpu_hours' THEN 'Hours'
             WHEN 'storage_gb_hours' THEN 'GB-Hours' END END AS consumed_unit,
        service, service_name, service_category, service_subcategory, region, resource_id, metric, events, carbon_kg, genai_tokens
    FROM focus_metered LEFT JOIN named USING (service)
    UNION ALL BY NAME
    SELECT month AS billing_month, month AS charge_period_start, CAST(month + INTERVAL 1 MONTH AS DATE) AS charge_period_end, org_id,
        line.kind AS charge_kind, CASE line.kind WHEN 'adjustment' THEN 'Adjustment' WHEN 'credit' THEN 'Credit' ELSE 'Tax' END
            AS charge_category,
        line.says AS charge_description, invoice_id, currency AS billing_currency, CAST(line.amount AS DECIMAL(38, 6)) AS billed_cost,
        CAST(line.usd AS DECIMAL(38, 6)) AS cost_usd, exchange_rate_to_usd AS exchange_rate, fx_suspect,
        'Billing' AS service_name, 'Other' AS service_category, 'Other (Other)' AS service_subcategory
    FROM added WHERE line.amount <> 0 OR line.usd <> 0
)
SELECT c.*, coalesce(o.org_name, n.org_name) AS org_name, text_of(r.tags) AS tags,
    CASE WHEN charge_kind = 'metered-usage' THEN 'Usage-Based' ELSE 'One-Time' END AS charge_frequency,
    invoice_id || ':' || charge_kind AS invoice_detail_id,
    CASE WHEN c.resource_id IS NOT NULL THEN service_name END AS resource_type
FROM charges c
LEFT JOIN orgs_by_time o ON o.org_id = c.org_id AND o.valid_from <= c.charge_period_start
    AND coalesce(c.charge_period_start < o.valid_to, true)
LEFT JOIN silver_customers_orgs n ON n.org_id = c.org_id
LEFT JOIN resources_by_time r ON r.resource_id = c.resource_id AND r.valid_from <= c.charge_period_start
    AND coalesce(c.charge_period_start < r.valid_to, true);

CREATE VIEW gold_invoice_lines AS
SELECT invoice_detail_id, invoice_id, billing_month, org_id, charge_kind, charge_category, billing_currency,
    CASE WHEN charge_kind = 'metered-usage' THEN 'Metered usage on invoice ' || invoice_id ELSE max(charge_description) END
        AS charge_description,
    CAST(sum(billed_cost) AS DECIMAL(38, 6)) AS billed_cost, CAST(sum(cost_usd) AS DECIMAL(38, 6)) AS cost_usd, count(*) AS charges
FROM gold_focus_charges WHERE invoice_id IS NOT NULL
GROUP BY invoice_detail_id, invoice_id, billing_month, org_id, charge_kind, charge_category, billing_currency;

CREATE VIEW gold_invoice_gap AS
WITH plain AS (
    -- As if a dollar were a dollar, and a suspect rate none.
    SELECT *, CASE WHEN currency = 'USD' OR fx_suspect THEN subtotal ELSE subtotal_usd END AS amount FROM silver_billing_monthly
), billed AS (
    SELECT org_id, month,
        sum(subtotal_usd - subtotal) FILTER (currency = 'USD') AS rate,
        sum(subtotal_usd - subtotal) FILTER (currency <> 'USD' AND fx_suspect) AS suspect_currency,
        sum(amount) FILTER (subtotal < 0) AS credit_notes, sum(amount) FILTER (subtotal >= 0) AS positive
    FROM plain GROUP BY ALL
), unmeasured AS (
    SELECT org_id, billing_month AS month, -sum(cost_usd) AS usd FROM focus_metered WHERE charge_kind = 'metered-adjustment' GROUP BY ALL
), impacts AS (
    SELECT org_id, CAST(date_trunc('month', usage_date) AS DATE) AS month, -sum(impact_usd) AS usd
    FROM gold_cost_anomalies WHERE is_anomaly GROUP BY ALL
), causes AS (
    SELECT g.org_id, g.month, g.usage_cost_usd, g.billed_subtotal_usd, g.difference_usd,
        CAST(coalesce(b.rate, 0) AS DECIMAL(28, 6)) AS rate_usd,
        CAST(coalesce(b.suspect_currency, 0) AS DECIMAL(28, 6)) AS suspect_currency_usd,
        CAST(CASE WHEN g.billed_subtotal_usd IS NULL THEN 0 ELSE g.refused_cost_usd END AS DECIMAL(28, 6)) AS refused_events_usd,
        CAST(CASE WHEN g.billed_subtotal_usd IS NULL THEN 0 ELSE coalesce(u.usd, 0) END AS DECIMAL(28, 6)) AS unmeasured_events_usd,
        CAST(coalesce(quotient(CAST(b.positive * (day(last_day(g.month)) - g.usage_days) AS DECIMAL(38, 6)), day(last_day(g.month))), 0)
             AS DECIMAL(28, 6)) AS uncovered_days_usd,
        CAST(CASE WHEN g.billed_subtotal_usd IS NULL THEN 0 ELSE coalesce(i.usd, 0) END AS DECIMAL(28, 6)) AS anomalies_usd,
        CAST(coalesce(b.credit_notes, 0) AS DECIMAL(28, 6)) AS credit_notes_usd
    FROM gold_cost_billing_reconciliation g LEFT JOIN billed b USING (org_id, month) LEFT JOIN unmeasured u USING (org_id, month)
    LEFT JOIN impacts i USING (org_id, month)
)
SELECT *, CAST(difference_usd - (rate_usd + suspect_currency_usd + refused_events_usd + unmeasured_events_usd + uncovered_days_usd
                                 + anomalies_usd + credit_notes_usd) AS DECIMAL(28, 6)) AS rest_usd
FROM causes;
