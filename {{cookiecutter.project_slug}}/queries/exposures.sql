-- An exposure is data once its seven days of revenue are over.
SELECT exposure_id, player_id, promotion_id, propensity, shown_at, matured_at, revenue
FROM exposures
WHERE matured_at < :until
