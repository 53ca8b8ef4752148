-- Who plays. One query a table of contract.py; :until is the cutoff (UTC).
SELECT player_id, country, platform, registered_at
FROM players
WHERE registered_at < :until
