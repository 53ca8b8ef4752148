SELECT
    moment_id,
    moment.at AS known_until,
    age, sex, bmi, bp, s1, s2, s3, s4, s5, s6
FROM moments AS moment
JOIN patients USING (patient_id)
