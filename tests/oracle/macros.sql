-- How a cell of text is read. A cast that does not work gives NULL; the caller tells it from an empty cell.

CREATE MACRO clean(x) AS nullif(regexp_replace(x, '^\s+|\s+$', '', 'g'), '');

CREATE MACRO cell(header, cells, name) AS clean(cells[list_position(header, name)]);

-- Decimal syntax only: DuckDB's own cast also takes '1_000' and blanks.
CREATE MACRO number_text(x) AS
    CASE WHEN regexp_full_match(x, '[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?') THEN x END;

-- Each casts the text itself, so a value is rounded once, half away from zero.
CREATE MACRO money(x) AS try_cast(number_text(x) AS DECIMAL(18, 6));
CREATE MACRO quantity(x) AS try_cast(number_text(x) AS DECIMAL(20, 6));
CREATE MACRO carbon(x) AS try_cast(number_text(x) AS DECIMAL(20, 9));
CREATE MACRO precise(x) AS try_cast(number_text(x) AS DECIMAL(38, 18));
CREATE MACRO whole(x) AS CASE WHEN precise(x) = trunc(precise(x)) THEN try_cast(trunc(precise(x)) AS BIGINT) END;

-- The text of a number in a line of JSON cut in tokens: key, colon, number. Without tokens, what the parser said.
CREATE MACRO number_of(tokens, name, parsed) AS
    CASE WHEN tokens IS NOT NULL AND parsed IS NOT NULL
              AND number_text(tokens[list_position(tokens, '"' || name || '"') + 2]) IS NOT NULL
         THEN tokens[list_position(tokens, '"' || name || '"') + 2] ELSE parsed END;

CREATE MACRO truth(x) AS
    CASE WHEN lower(x) IN ('true', 't', 'yes', 'y', '1') THEN true
         WHEN lower(x) IN ('false', 'f', 'no', 'n', '0') THEN false END;

CREATE MACRO calendar_date(x) AS
    CASE WHEN regexp_full_match(x, '[0-9]{4}-[0-9]{2}-[0-9]{2}') THEN try_cast(x AS DATE) END;

-- An instant as TIMESTAMP in UTC (the session's time zone is UTC).
CREATE MACRO instant_with_offset(x) AS
    CASE WHEN regexp_full_match(x, '[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]([01][0-9]|2[0-3]):[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?'
                                   || '(Z|z|[+-][0-9]{2}(:?[0-9]{2})?)')
         THEN CAST(try_cast(upper(x) AS TIMESTAMPTZ) AS TIMESTAMP) END;

CREATE MACRO instant(x) AS
    CASE WHEN regexp_full_match(x, '[0-9]{4}-[0-9]{2}-[0-9]{2}'
                                   || '([T ]([01][0-9]|2[0-3]):[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?)?')
         THEN try_cast(x AS TIMESTAMP)
         ELSE instant_with_offset(x) END;

-- Enumerations: conf/domains.yaml as variables `domain_<name>`, a map from the folded spelling to the value.
CREATE MACRO fold(x) AS lower(regexp_replace(x, '[\s_-]', '', 'g'));
CREATE MACRO canonical(domain, x) AS getvariable(domain)[fold(x)];

-- Reasons and flags: a list of names, NULLs dropped, sorted.
CREATE MACRO missing(name, x) AS CASE WHEN x IS NULL THEN name || '_missing' END;
CREATE MACRO invalid(name, x, typed) AS CASE WHEN x IS NOT NULL AND typed IS NULL THEN name || '_invalid' END;
CREATE MACRO unknown(name, x, typed) AS CASE WHEN x IS NOT NULL AND typed IS NULL THEN name || '_unknown' END;
CREATE MACRO when_true(name, condition) AS CASE WHEN condition THEN name END;
CREATE MACRO names(list) AS list_sort(list_filter(list, lambda name: name IS NOT NULL));

-- Exact arithmetic on the digits: a DECIMAL(18,6) times a DECIMAL(38,18) needs up to 56 digits, a HUGEINT holds 38.
-- So the rate's whole and fractional parts are multiplied apart; only the latter is rounded, once.
CREATE MACRO micros(amount) AS CAST(replace(CAST(amount AS VARCHAR), '.', '') AS HUGEINT);
CREATE MACRO from_micros(n) AS try_cast(n AS DECIMAL(32, 0)) * CAST(0.000001 AS DECIMAL(6, 6));
CREATE MACRO half_up(numerator, denominator) AS
    (2 * CAST(numerator AS HUGEINT) + CAST(denominator AS HUGEINT)) // (2 * CAST(denominator AS HUGEINT));
CREATE MACRO times_rate(amount, rate) AS
    try_cast(from_micros(
        micros(amount) * CAST(split_part(CAST(rate AS VARCHAR), '.', 1) AS HUGEINT)
        + CAST(sign(amount) AS HUGEINT) * half_up(
            abs(micros(amount)) * CAST(split_part(CAST(rate AS VARCHAR), '.', 2) AS HUGEINT),
            1000000000000000000)
    ) AS DECIMAL(18, 6));

-- Division of decimals of 6 places to 6 places, half away from zero; NULL where there is nothing to divide by.
CREATE MACRO sixfold(x) AS micros(CAST(x AS DECIMAL(38, 6)));
CREATE MACRO away(numerator, denominator) AS
    CASE WHEN denominator <> 0
         THEN CAST(sign(numerator) * sign(denominator) AS HUGEINT)
            * half_up(abs(CAST(numerator AS HUGEINT)), abs(CAST(denominator AS HUGEINT))) END;
CREATE MACRO quotient(numerator, denominator) AS
    from_micros(away(sixfold(numerator) * 1000000, sixfold(denominator)));

-- Of a sorted list of decimals: the mean of the middle two, and the nearest rank.
CREATE MACRO median_of(sorted) AS
    from_micros(away(sixfold(sorted[(len(sorted) + 1) // 2]) + sixfold(sorted[len(sorted) // 2 + 1]), 2));
CREATE MACRO nearest_rank(sorted, percent) AS sorted[(percent * len(sorted) + 99) // 100];
