"""What a measurement found: estimators, results, tables, saved files."""
