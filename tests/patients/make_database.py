"""Write scikit-learn's diabetes data set into a SQLite database: patients, and one visit each."""

import sqlite3
import sys

from sklearn.datasets import load_diabetes

data = load_diabetes(as_frame=True, scaled=False)
patients = data.data.astype({"age": int, "sex": int})
patients["sex"] = patients["sex"].map({1: "a", 2: "b"})
patients.insert(0, "patient_id", range(len(patients)))
visits = patients[["patient_id"]].copy()
visits.insert(0, "visit_id", visits["patient_id"] + 1000)
visits["seen_at"] = [f"2026-01-{1 + n % 28:02d} 09:00:00" for n in visits["patient_id"]]
visits["progression"] = data.target
with sqlite3.connect(sys.argv[1]) as database:
    patients.to_sql("patients", database, index=False)
    visits.to_sql("visits", database, index=False)
