SELECT * FROM visits WHERE seen_at < :until
