"""The sections of the report: each computes the values that its template shows."""
