"""Train a classifier of handwritten digits on the pictures that scikit-learn brings along. Takes a second.

Writes digits.joblib and five.json, a picture to ask about.
"""

import json
from pathlib import Path

import joblib
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def main() -> None:
    """Train the classifier and write the files into the current folder."""
    pictures, digits = load_digits(return_X_y=True)
    known, unknown, known_digits, unknown_digits = train_test_split(pictures, digits, test_size=0.25, random_state=1)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(known, known_digits)
    print(f"Reads {model.score(unknown, unknown_digits):.1%} of new digits right.")
    joblib.dump(model, "digits.joblib")
    five = unknown[unknown_digits == 5][0].astype(int).tolist()
    Path("five.json").write_text(json.dumps({"pixels": five}) + "\n")


if __name__ == "__main__":
    main()
