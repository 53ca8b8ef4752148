-- THE definition of the features: one row per moment, from nothing that happened at or after it.
-- Training asks it for the moment of each example, serving for now: the same features by construction.
--
-- It may read the table moments(moment_id, player_id, at) and every table of contract.py.
-- It gives moment_id, known_until (the newest fact behind the row) and each column of PlayerFeatures.
-- Windows, not totals: a total grows with the length of the history, and the model would drift with it.
-- Sums are of whole cents and seconds: exact, so they do not depend on the order of the rows.
SELECT
    moment_id,
    coalesce(max(event.at), any_value(player.registered_at)) AS known_until,
    any_value(player.country) AS country,
    any_value(player.platform) AS platform,
    epoch(any_value(moment.at) - any_value(player.registered_at)) / 86400 AS tenure_days,
    epoch(any_value(moment.at) - max(event.at) FILTER (kind = 'session')) / 86400 AS days_since_session,
    count(*) FILTER (kind = 'session' AND event.at >= moment.at - INTERVAL 7 DAY) AS sessions_7d,
    count(*) FILTER (kind = 'session' AND event.at >= moment.at - INTERVAL 28 DAY) AS sessions_28d,
    coalesce(sum(seconds) FILTER (event.at >= moment.at - INTERVAL 28 DAY), 0) / 3600 AS hours_28d,
    epoch(any_value(moment.at) - max(event.at) FILTER (kind = 'purchase')) / 86400
        AS days_since_purchase,
    count(*) FILTER (kind = 'purchase' AND event.at >= moment.at - INTERVAL 28 DAY) AS purchases_28d,
    coalesce(sum(amount) FILTER (event.at >= moment.at - INTERVAL 28 DAY), 0) AS spend_28d,
    coalesce(sum(amount), 0) AS spend_84d,
    coalesce(sum(amount) FILTER (product_set = 'boosts'), 0) AS spend_boosts,
    coalesce(sum(amount) FILTER (product_set = 'coins'), 0) AS spend_coins,
    coalesce(sum(amount) FILTER (product_set = 'lives'), 0) AS spend_lives,
    coalesce(sum(amount) FILTER (product_set = 'skins'), 0) AS spend_skins
FROM moments AS moment
JOIN players AS player USING (player_id)
LEFT JOIN events AS event
    ON event.player_id = moment.player_id
    AND event.at < moment.at
    AND event.at >= moment.at - INTERVAL 84 DAY
GROUP BY moment_id
