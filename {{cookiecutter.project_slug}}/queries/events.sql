SELECT player_id, at, kind, product_set, amount, seconds
FROM events
WHERE at < :until
