-- From CSV text to rows, and what is wrong with each row by itself.
-- In: csv_files(source, source_file, file_rank, snapshot_at, modified_at, sha256, content, key_columns).
-- DuckDB's own reader drops an unclosed quote and forgives an extra empty cell, and neither may go uncounted here.

CREATE TABLE csv_lines AS
WITH found AS (
    SELECT source, source_file, regexp_extract_all(
        CASE WHEN content LIKE '%' || chr(10) THEN content ELSE content || chr(10) END,
        '"(?:[^"]|"")*"[^,\n]*[,\n]|"(?:[^"]|"")*\z|[^",\n][^,\n]*[,\n]|[,\n]') AS tokens
    FROM csv_files
), tokens AS (
    SELECT source, source_file, unnest(tokens) AS token, generate_subscripts(tokens, 1) AS position FROM found
), cells AS (
    SELECT source, source_file, position, token,
        -- The line that this token is on: how many line ends came before it.
        coalesce(sum(CASE WHEN right(token, 1) = chr(10) THEN 1 ELSE 0 END) OVER (
            PARTITION BY source, source_file ORDER BY position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), 0) AS row_no,
        starts_with(token, '"') AS is_quoted,
        regexp_full_match(token, '"(?:[^"]|"")*"[ \t]*(?:,|\r?\n)') AS is_well_quoted,
        regexp_replace(token, ',\z|\r?\n\z', '') AS body
    FROM tokens
)
SELECT source, source_file, row_no,
    list(CASE WHEN is_well_quoted THEN replace(regexp_extract(body, '(?s)^"(.*)"', 1), '""', '"') ELSE body END
         ORDER BY position) AS cells,
    bool_or(is_quoted AND NOT is_well_quoted) AS is_broken,
    string_agg(token, '' ORDER BY position) AS line
FROM cells
GROUP BY source, source_file, row_no;

-- A file without a key column is refused; nothing of it lands.
CREATE TABLE csv_headers AS
SELECT source, source_file, list_transform(l.cells, lambda name: trim(name)) AS header
FROM csv_lines l JOIN csv_files f USING (source, source_file)
WHERE row_no = 0 AND list_has_all(list_transform(l.cells, lambda name: trim(name)), f.key_columns);

CREATE TABLE csv_rows AS
SELECT source, source_file, row_no, header, cells, line, is_broken OR len(cells) <> len(header) AS is_malformed
FROM csv_lines JOIN csv_headers USING (source, source_file)
WHERE row_no > 0 AND clean(line) IS NOT NULL;

-- Per source: the text of each column, its typed value, the reasons the row has by itself (`own_reasons`), its key as
-- text, and its identity: two rows are the same when their conformed columns are, or, refused, when their texts are.

CREATE TABLE read_customers_orgs AS
WITH texts AS (
    SELECT source_file, row_no, is_malformed, line,
        cell(header, cells, 'org_id') AS org_id, cell(header, cells, 'org_name') AS org_name,
        cell(header, cells, 'industry') AS industry, cell(header, cells, 'hq_region') AS hq_region,
        cell(header, cells, 'plan_tier') AS plan_tier, cell(header, cells, 'is_enterprise') AS is_enterprise,
        cell(header, cells, 'signup_date') AS signup_date, cell(header, cells, 'sales_rep') AS sales_rep,
        cell(header, cells, 'lifecycle_stage') AS lifecycle_stage,
        cell(header, cells, 'marketing_source') AS marketing_source, cell(header, cells, 'nps_score') AS nps_score
    FROM csv_rows WHERE source = 'customers_orgs'
), typed AS (
    SELECT *, {
        org_id: org_id, org_name: org_name, industry: industry,
        hq_region: coalesce(canonical('domain_hq_region', hq_region), hq_region),
        plan_tier: canonical('domain_plan_tier', plan_tier), is_enterprise: truth(is_enterprise),
        signup_date: calendar_date(signup_date), sales_rep: sales_rep,
        lifecycle_stage: canonical('domain_lifecycle_stage', lifecycle_stage),
        marketing_source: canonical('domain_marketing_source', marketing_source), nps_score: quantity(nps_score)
    } AS v FROM texts
)
SELECT source_file, row_no, is_malformed, line, v, org_id AS key, NULL::VARCHAR AS org_ref,
    names([
        missing('org_id', org_id),
        unknown('plan_tier', plan_tier, v.plan_tier), invalid('is_enterprise', is_enterprise, v.is_enterprise),
        invalid('signup_date', signup_date, v.signup_date),
        unknown('lifecycle_stage', lifecycle_stage, v.lifecycle_stage),
        unknown('marketing_source', marketing_source, v.marketing_source), invalid('nps_score', nps_score, v.nps_score)
    ]) AS own_reasons,
    CAST([org_id, org_name, industry, hq_region, plan_tier, is_enterprise, signup_date, sales_rep, lifecycle_stage,
             marketing_source, nps_score] AS VARCHAR) AS texts
FROM typed;

CREATE TABLE read_users AS
WITH texts AS (
    SELECT source_file, row_no, is_malformed, line,
        cell(header, cells, 'user_id') AS user_id, cell(header, cells, 'org_id') AS org_id,
        cell(header, cells, 'email') AS email, cell(header, cells, 'role') AS role,
        cell(header, cells, 'active') AS active, cell(header, cells, 'created_at') AS created_at,
        cell(header, cells, 'last_login') AS last_login
    FROM csv_rows WHERE source = 'users'
), typed AS (
    SELECT *, {
        user_id: user_id, org_id: org_id, email: lower(email), role: canonical('domain_user_role', role),
        active: CASE WHEN active IS NULL THEN false ELSE truth(active) END,
        created_at: instant(created_at), last_login: instant(last_login)
    } AS v FROM texts
)
SELECT source_file, row_no, is_malformed, line, v, active IS NULL AS is_active_missing, user_id AS key,
    org_id AS org_ref,
    names([
        missing('user_id', user_id), missing('org_id', org_id), unknown('role', role, v.role),
        invalid('active', active, v.active), invalid('created_at', created_at, v.created_at),
        invalid('last_login', last_login, v.last_login)
    ]) AS own_reasons,
    CAST([user_id, org_id, email, role, active, created_at, last_login] AS VARCHAR) AS texts
FROM typed;

CREATE TABLE read_resources AS
WITH texts AS (
    SELECT source_file, row_no, is_malformed, line,
        cell(header, cells, 'resource_id') AS resource_id, cell(header, cells, 'org_id') AS org_id,
        cell(header, cells, 'service') AS service, cell(header, cells, 'region') AS region,
        cell(header, cells, 'created_at') AS created_at, cell(header, cells, 'state') AS state,
        cell(header, cells, 'tags_json') AS tags_json
    FROM csv_rows WHERE source = 'resources'
), parsed AS (
    SELECT *, CASE WHEN json_valid(tags_json) THEN tags_json END AS tags_document FROM texts
), listed AS (
    SELECT *,
        CASE WHEN json_type(tags_document) = 'ARRAY' THEN json_extract(tags_document, '$[*]') END AS elements,
        CASE WHEN json_type(tags_document) = 'ARRAY' THEN json_extract_string(tags_document, '$[*]') END AS pairs
    FROM parsed
), typed AS (
    SELECT *, {
        resource_id: resource_id, org_id: org_id, service: canonical('domain_service', service),
        region: canonical('domain_region', region), created_at: instant(created_at),
        state: canonical('domain_resource_state', state),
        tags: CASE WHEN len(list_filter(elements, lambda e: coalesce(json_type(e), 'NULL') <> 'VARCHAR')) = 0
                    AND len(list_filter(pairs, lambda p: NOT contains(p, ':'))) = 0
            THEN map_from_entries(list_transform(
                list_sort(list_distinct(list_transform(pairs, lambda p: split_part(p, ':', 1)))),
                lambda k: {k: k, v: list_sort(list_distinct(list_transform(
                    list_filter(pairs, lambda p: starts_with(p, k || ':')), lambda p: substr(p, len(k) + 2))))}
            )) END
    } AS v FROM listed
)
SELECT source_file, row_no, is_malformed, line, v, tags_json, resource_id AS key, org_id AS org_ref,
    names([
        missing('resource_id', resource_id), missing('org_id', org_id), unknown('service', service, v.service),
        unknown('region', region, v.region), invalid('created_at', created_at, v.created_at),
        unknown('state', state, v.state)
    ]) AS own_reasons,
    CAST([resource_id, org_id, service, region, created_at, state, tags_json] AS VARCHAR) AS texts
FROM typed;

CREATE TABLE read_billing_monthly AS
WITH texts AS (
    SELECT source_file, row_no, is_malformed, line,
        cell(header, cells, 'invoice_id') AS invoice_id, cell(header, cells, 'org_id') AS org_id,
        cell(header, cells, 'month') AS month, cell(header, cells, 'subtotal') AS subtotal,
        cell(header, cells, 'credits') AS credits, cell(header, cells, 'taxes') AS taxes,
        cell(header, cells, 'currency') AS currency,
        cell(header, cells, 'exchange_rate_to_usd') AS exchange_rate_to_usd
    FROM csv_rows WHERE source = 'billing_monthly'
), typed AS (
    SELECT *, {
        invoice_id: invoice_id, org_id: org_id, month: calendar_date(month),
        currency: coalesce(canonical('domain_currency', currency), currency),
        exchange_rate_to_usd: precise(exchange_rate_to_usd), subtotal: money(subtotal),
        credits: CASE WHEN credits IS NULL THEN CAST(0 AS DECIMAL(18, 6)) ELSE money(credits) END, taxes: money(taxes)
    } AS v FROM texts
)
SELECT source_file, row_no, is_malformed, line, v, invoice_id AS key, org_id AS org_ref,
    names([
        missing('invoice_id', invoice_id), missing('org_id', org_id),
        missing('month', month), invalid('month', month, v.month), when_true('month_not_first_day', day(v.month) <> 1),
        missing('currency', currency),
        when_true('currency_not_iso4217', currency IS NOT NULL AND canonical('domain_currency', currency) IS NULL),
        missing('exchange_rate_to_usd', exchange_rate_to_usd),
        invalid('exchange_rate_to_usd', exchange_rate_to_usd, v.exchange_rate_to_usd),
        when_true('exchange_rate_to_usd_not_positive', v.exchange_rate_to_usd <= 0),
        missing('subtotal', subtotal), invalid('subtotal', subtotal, v.subtotal),
        invalid('credits', credits, v.credits), missing('taxes', taxes), invalid('taxes', taxes, v.taxes)
    ]) AS own_reasons,
    CAST([invoice_id, org_id, month, subtotal, credits, taxes, currency, exchange_rate_to_usd] AS VARCHAR) AS texts
FROM typed;

CREATE TABLE read_support_tickets AS
WITH texts AS (
    SELECT source_file, row_no, is_malformed, line,
        cell(header, cells, 'ticket_id') AS ticket_id, cell(header, cells, 'org_id') AS org_id,
        cell(header, cells, 'category') AS category, cell(header, cells, 'severity') AS severity,
        cell(header, cells, 'created_at') AS created_at, cell(header, cells, 'resolved_at') AS resolved_at,
        cell(header, cells, 'csat') AS csat, cell(header, cells, 'sla_breached') AS sla_breached
    FROM csv_rows WHERE source = 'support_tickets'
), typed AS (
    SELECT *, {
        ticket_id: ticket_id, org_id: org_id, category: canonical('domain_ticket_category', category),
        severity: canonical('domain_severity', severity), created_at: instant(created_at),
        resolved_at: instant(resolved_at), csat: quantity(csat), sla_breached: truth(sla_breached)
    } AS v FROM texts
)
SELECT source_file, row_no, is_malformed, line, v, ticket_id AS key, org_id AS org_ref,
    names([
        missing('ticket_id', ticket_id), missing('org_id', org_id), unknown('category', category, v.category),
        unknown('severity', severity, v.severity), missing('created_at', created_at),
        invalid('created_at', created_at, v.created_at), invalid('resolved_at', resolved_at, v.resolved_at),
        when_true('resolved_before_created', v.resolved_at < v.created_at),
        invalid('csat', csat, v.csat), invalid('sla_breached', sla_breached, v.sla_breached)
    ]) AS own_reasons,
    CAST([ticket_id, org_id, category, severity, created_at, resolved_at, csat, sla_breached] AS VARCHAR) AS texts
FROM typed;

CREATE TABLE read_marketing_touches AS
WITH texts AS (
    SELECT source_file, row_no, is_malformed, line,
        cell(header, cells, 'touch_id') AS touch_id, cell(header, cells, 'org_id') AS org_id,
        cell(header, cells, 'campaign') AS campaign, cell(header, cells, 'channel') AS channel,
        cell(header, cells, 'timestamp') AS touched_at, cell(header, cells, 'clicked') AS clicked,
        cell(header, cells, 'converted') AS converted
    FROM csv_rows WHERE source = 'marketing_touches'
), typed AS (
    SELECT *, {
        touch_id: touch_id, org_id: org_id, campaign: coalesce(canonical('domain_campaign', campaign), campaign),
        channel: canonical('domain_marketing_channel', channel), touched_at: instant(touched_at),
        clicked: truth(clicked), converted: truth(converted)
    } AS v FROM texts
)
SELECT source_file, row_no, is_malformed, line, v, touch_id AS key, org_id AS org_ref,
    names([
        missing('touch_id', touch_id), missing('org_id', org_id), unknown('channel', channel, v.channel),
        missing('touched_at', touched_at), invalid('touched_at', touched_at, v.touched_at),
        invalid('clicked', clicked, v.clicked), invalid('converted', converted, v.converted)
    ]) AS own_reasons,
    CAST([touch_id, org_id, campaign, channel, touched_at, clicked, converted] AS VARCHAR) AS texts
FROM typed;

CREATE TABLE read_nps_surveys AS
WITH texts AS (
    SELECT source_file, row_no, is_malformed, line,
        cell(header, cells, 'org_id') AS org_id, cell(header, cells, 'survey_date') AS survey_date,
        cell(header, cells, 'nps_score') AS nps_score, cell(header, cells, 'comment') AS comment
    FROM csv_rows WHERE source = 'nps_surveys'
), typed AS (
    SELECT *, {
        org_id: org_id, survey_date: calendar_date(survey_date), nps_score_reported: quantity(nps_score),
        comment: comment
    } AS v FROM texts
)
SELECT source_file, row_no, is_malformed, line, v, org_id || '|' || CAST(v.survey_date AS VARCHAR) AS key,
    org_id AS org_ref,
    names([
        missing('org_id', org_id), missing('survey_date', survey_date),
        invalid('survey_date', survey_date, v.survey_date),
        -- Two columns are read from this cell.
        invalid('nps_score', nps_score, v.nps_score_reported),
        invalid('nps_score_reported', nps_score, v.nps_score_reported)
    ]) AS own_reasons,
    CAST([org_id, survey_date, nps_score, comment] AS VARCHAR) AS texts
FROM typed;

-- What is wrong with a row beside its neighbours: repeats and conflicts within its file.
CREATE TABLE judged AS
WITH all_rows AS (
    SELECT 'customers_orgs' AS source, source_file, row_no, is_malformed, line, key, org_ref, own_reasons, texts,
        CAST(v AS VARCHAR) AS typed
    FROM read_customers_orgs
    UNION ALL BY NAME
    SELECT 'users' AS source, source_file, row_no, is_malformed, line, key, org_ref, own_reasons, texts,
        CAST(v AS VARCHAR) AS typed
    FROM read_users
    UNION ALL BY NAME
    SELECT 'resources' AS source, source_file, row_no, is_malformed, line, key, org_ref, own_reasons, texts,
        CAST(v AS VARCHAR) || CASE WHEN v.tags IS NULL THEN coalesce(tags_json, '') ELSE '' END AS typed
    FROM read_resources
    UNION ALL BY NAME
    SELECT 'billing_monthly' AS source, source_file, row_no, is_malformed, line, key, org_ref, own_reasons, texts,
        CAST(v AS VARCHAR) AS typed
    FROM read_billing_monthly
    UNION ALL BY NAME
    SELECT 'support_tickets' AS source, source_file, row_no, is_malformed, line, key, org_ref, own_reasons, texts,
        CAST(v AS VARCHAR) AS typed
    FROM read_support_tickets
    UNION ALL BY NAME
    SELECT 'marketing_touches' AS source, source_file, row_no, is_malformed, line, key, org_ref, own_reasons, texts,
        CAST(v AS VARCHAR) AS typed
    FROM read_marketing_touches
    UNION ALL BY NAME
    SELECT 'nps_surveys' AS source, source_file, row_no, is_malformed, line, key, org_ref, own_reasons, texts,
        CAST(v AS VARCHAR) AS typed
    FROM read_nps_surveys
), identified AS (
    SELECT source, source_file, row_no, is_malformed, key, org_ref,
        -- The cells of a malformed row stand for nothing, so it has no other reason.
        CASE WHEN is_malformed THEN ['malformed_row'] ELSE own_reasons END AS own_reasons,
        CASE WHEN is_malformed THEN 'line ' || rtrim(line, chr(13) || chr(10))
             WHEN len(own_reasons) > 0 THEN 'texts ' || texts ELSE 'typed ' || typed END AS identity
    FROM all_rows
)
SELECT source, source_file, row_no, is_malformed, key, org_ref, own_reasons,
    row_number() OVER (PARTITION BY source, source_file, identity ORDER BY row_no) > 1 AS is_repeat,
    NOT is_malformed AND key IS NOT NULL AND
        min(identity) OVER (PARTITION BY source, source_file, key, is_malformed)
        <> max(identity) OVER (PARTITION BY source, source_file, key, is_malformed) AS is_conflict
FROM identified;

-- The current version of a master's keys, and the organisations that some version knows: filled snapshot by snapshot.
CREATE TABLE current_customers_orgs (key VARCHAR, source_file VARCHAR, row_no BIGINT);
CREATE TABLE current_users (key VARCHAR, source_file VARCHAR, row_no BIGINT);
CREATE TABLE current_resources (key VARCHAR, source_file VARCHAR, row_no BIGINT);
CREATE TABLE known_orgs (org_id VARCHAR);

-- What each told snapshot made of its master: the rows in force from then on, and the keys that it spoke of.
CREATE TABLE told_snapshots (master VARCHAR, snapshot_at TIMESTAMP);
CREATE TABLE told_states (master VARCHAR, snapshot_at TIMESTAMP, key VARCHAR, source_file VARCHAR, row_no BIGINT);
CREATE TABLE told_keys (master VARCHAR, snapshot_at TIMESTAMP, key VARCHAR);

-- An organisation that no version of customers_orgs knows refuses the row that names it. A view: it is asked for the
-- organisations first, while none of them is known yet.
CREATE VIEW verdicts AS
SELECT source, source_file, row_no, key, is_repeat,
    names(own_reasons || [
        when_true('conflicting_rows', is_conflict),
        when_true('org_id_unknown', NOT is_malformed AND org_ref IS NOT NULL
                                    AND org_ref NOT IN (SELECT org_id FROM known_orgs))
    ]) AS reasons
FROM judged;

CREATE VIEW accepted AS
SELECT source, source_file, row_no, key FROM verdicts WHERE NOT is_repeat AND len(reasons) = 0;
