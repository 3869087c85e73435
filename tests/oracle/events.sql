-- Usage events: from lines to the accepted events.
-- In: event_files(content), event_clock(ingested_at).

CREATE TABLE event_lines AS
WITH files AS (
    SELECT content, try(decode(content)) AS text FROM event_files
), lines AS (
    SELECT unnest(string_split(ltrim(text, chr(65279)), chr(10))) AS raw,
        false AS is_undecodable
    FROM files WHERE text IS NOT NULL
    UNION ALL
    -- A file with bytes that are no UTF-8 is cut in hexadecimal, so that only its bad lines suffer.
    SELECT coalesce(try(decode(unhex(line))), line), try(decode(unhex(line))) IS NULL
    FROM (SELECT unnest(regexp_extract_all(hex(content) || '0A', '((?:0[0-9B-F]|[1-9A-F].)*)0A', 1)) AS line
          FROM files WHERE text IS NULL)
), trimmed AS (
    SELECT CASE WHEN raw LIKE '%' || chr(13) THEN left(raw, len(raw) - 1) ELSE raw END AS raw, is_undecodable FROM lines
)
SELECT raw, is_undecodable, count(*) AS copies
FROM trimmed
WHERE NOT regexp_full_match(raw, '\s*')
GROUP BY ALL;

-- Exactly one JSON object, each key once. DuckDB alone takes NaN, Infinity and trailing commas, so what is left of a
-- line without its strings must be made of JSON's own words. Over a thousand brackets count as too deep for any parser.
CREATE TABLE event_texts AS
WITH bare AS (
    SELECT raw, copies,
        CASE WHEN NOT is_undecodable AND json_valid(raw) THEN raw END AS document,
        regexp_replace(raw, '"(?:[^"\\]|\\.)*"', '', 'g') AS rest
    FROM event_lines
), judged AS (
    SELECT raw, copies, coalesce(
        json_type(document) = 'OBJECT'
        AND len(json_keys(document)) = len(list_distinct(json_keys(document)))
        AND NOT regexp_matches(rest, '[nN][aA][nN]|[iI][nN][fF]|,\s*[]}]')
        AND len(regexp_replace(rest, '[^\[{]', '', 'g')) <= 1000, false) AS is_object,
        document
    FROM bare
), fields AS (
    SELECT raw, copies, is_object,
        CASE WHEN is_object THEN json_extract_string(document, [
            '$.event_id', '$.timestamp', '$.org_id', '$.resource_id', '$.service', '$.region', '$.metric', '$.unit',
            '$.value', '$.cost_usd_increment', '$.carbon_kg', '$.genai_tokens', '$.schema_version']) END AS f,
        -- A number of more digits than a double holds is taken from the line, not from DuckDB's parser.
        CASE WHEN is_object AND regexp_matches(raw, '[0-9.]{17,}')
             THEN regexp_extract_all(raw, '"(?:[^"\\]|\\.)*"|[^\s,:{}\[\]"]+|[{}\[\],:]') END AS tokens
    FROM judged
)
SELECT raw, copies, is_object,
    clean(f[1]) AS event_id, clean(f[2]) AS timestamp, clean(f[3]) AS org_id, clean(f[4]) AS resource_id,
    clean(f[5]) AS service, clean(f[6]) AS region, clean(f[7]) AS metric, clean(f[8]) AS unit,
    clean(number_of(tokens, 'value', f[9])) AS value,
    clean(number_of(tokens, 'cost_usd_increment', f[10])) AS cost_usd_increment,
    clean(number_of(tokens, 'carbon_kg', f[11])) AS carbon_kg,
    clean(number_of(tokens, 'genai_tokens', f[12])) AS genai_tokens,
    clean(f[13]) AS schema_version
FROM fields;

CREATE TABLE event_verdicts AS
WITH versioned AS (
    SELECT *, CASE WHEN precise(schema_version) IN (1, 2) THEN CAST(precise(schema_version) AS INT) END AS version
    FROM event_texts
), typed AS (
    SELECT raw, copies, is_object, event_id, org_id, resource_id, version AS schema_version,
        instant_with_offset(timestamp) AS event_time,
        canonical('domain_service', service) AS service, canonical('domain_region', region) AS region,
        canonical('domain_metric', metric) AS metric,
        CASE canonical('domain_metric', metric)
            WHEN 'requests' THEN 'count' WHEN 'cpu_hours' THEN 'hours' WHEN 'storage_gb_hours' THEN 'gb_hours'
        END AS metric_unit,
        -- A unit that no spelling knows is kept: it contradicts every metric.
        coalesce(canonical('domain_unit', unit), unit) AS unit,
        quantity(value) AS value, money(cost_usd_increment) AS cost_usd, precise(cost_usd_increment) AS exact_cost,
        CASE WHEN version = 2 THEN carbon(carbon_kg) END AS carbon_kg,
        CASE WHEN version = 2 THEN whole(genai_tokens) END AS genai_tokens,
        {timestamp: timestamp, service: service, region: region, metric: metric, value: value, cost: cost_usd_increment,
         carbon: CASE WHEN version = 2 THEN carbon_kg END, tokens: CASE WHEN version = 2 THEN genai_tokens END} AS text
    FROM versioned
)
SELECT * EXCLUDE (text, unit, metric_unit, exact_cost),
    coalesce(unit, metric_unit) AS unit, unit IS NULL AS unit_imputed, CAST(event_time AS DATE) AS usage_date,
    names([
        when_true('value_missing', value IS NULL),
        when_true('cost_slightly_negative', exact_cost >= -0.01 AND exact_cost < 0)
    ]) AS quality_flags,
    CASE WHEN NOT is_object THEN ['malformed_json']
         -- What an unknown version means by its fields is unknown too.
         WHEN schema_version IS NULL THEN ['schema_version_unknown']
         ELSE names([
            missing('event_id', event_id), missing('org_id', org_id), missing('timestamp', text.timestamp),
            missing('service', text.service), missing('region', text.region), missing('metric', text.metric),
            missing('cost_usd_increment', text.cost),
            invalid('timestamp', text.timestamp, event_time),
            when_true('timestamp_in_future', event_time > (SELECT ingested_at FROM event_clock) + INTERVAL 1 HOUR),
            when_true('timestamp_too_old', event_time < TIMESTAMP '2000-01-01'),
            when_true('genai_tokens_out_of_range', abs(CAST(genai_tokens AS HUGEINT)) > 1000000000),
            invalid('value', text.value, value), invalid('cost_usd_increment', text.cost, cost_usd),
            invalid('carbon_kg', text.carbon, carbon_kg), invalid('genai_tokens', text.tokens, genai_tokens),
            when_true('value_negative', value < 0), when_true('cost_negative', exact_cost < -0.01),
            when_true('unit_contradicts_metric', unit <> metric_unit),
            unknown('service', text.service, service), unknown('region', text.region, region),
            unknown('metric', text.metric, metric)
        ]) END AS own_reasons
FROM typed;

-- Of one (event_id, usage_date) the smallest line is the event; a line of the same content repeats it, whatever its
-- spelling; a line of other content is refused.
CREATE TABLE event_outcomes AS
WITH contents AS (
    SELECT *, {
        org_id: org_id, resource_id: resource_id, event_time: event_time, service: service, region: region,
        metric: metric, value: value, unit: unit, cost_usd: cost_usd, carbon_kg: carbon_kg, genai_tokens: genai_tokens,
        schema_version: schema_version
    } AS content FROM event_verdicts
), ranked AS (
    SELECT *,
        row_number() OVER one AS rank,
        first_value(content) OVER one AS winning_content
    FROM contents WHERE len(own_reasons) = 0
    WINDOW one AS (PARTITION BY event_id, usage_date ORDER BY raw)
)
SELECT * EXCLUDE (content, winning_content, rank),
    CASE WHEN rank = 1 THEN 'accepted'
         WHEN content IS NOT DISTINCT FROM winning_content THEN 'duplicate'
         ELSE 'quarantined' END AS outcome,
    CASE WHEN rank > 1 AND content IS DISTINCT FROM winning_content THEN ['event_id_conflict'] ELSE [] END AS reasons
FROM ranked
UNION ALL BY NAME
SELECT *, 'quarantined' AS outcome, own_reasons AS reasons FROM event_verdicts WHERE len(own_reasons) > 0;

CREATE VIEW silver_usage_events AS
SELECT event_id, event_time, usage_date, org_id, resource_id, service, region, metric, value, unit, unit_imputed,
    cost_usd, carbon_kg, genai_tokens, schema_version, quality_flags
FROM event_outcomes WHERE outcome = 'accepted';
