"""scikit-learn estimators over tables of mixed columns, fitted step by step, saved and loaded."""
