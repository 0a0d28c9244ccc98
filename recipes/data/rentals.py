"""Makes rentals.csv, a table that is made up: how long the bicycles of a shop are rented.

    python recipes/data/rentals.py

The logarithm of the minutes is a sum: each rider's own habit, the weekend, the temperature, the
hour of the day, the weather, the station, the bicycle, the rider's age, and noise. Afterwards 6 %
of the weathers, 5 % of the temperatures and the ages of 15 % of the riders are removed at random.
"""

from pathlib import Path

import numpy as np
import pandas as pd

RENTALS, RIDERS = 1500, 300
SATURDAY = 5
SILENT = 0.15  # share of the riders who do not say their age
STATIONS = ["harbour", "market", "park", "station", "university"]


def make() -> pd.DataFrame:
    """Return the table, one rental a row."""
    rng = np.random.default_rng(2026)
    rider = rng.integers(0, RIDERS, RENTALS)
    habit = rng.normal(0, 0.2, RIDERS)[rider]
    age = rng.integers(16, 75, RIDERS)[rider]
    quarters = rng.integers(0, 731 * 96, RENTALS)
    begun = pd.to_datetime("2024-01-01") + pd.to_timedelta(quarters * 15, "min")
    weather = rng.choice(["sunny", "cloudy", "rain", "snow"], RENTALS, p=[0.45, 0.35, 0.17, 0.03])
    station = rng.choice(STATIONS, RENTALS, p=[0.15, 0.3, 0.25, 0.2, 0.1])
    bike = rng.choice(["city", "cargo", "electric"], RENTALS, p=[0.6, 0.1, 0.3])
    month, weekday, hour = (np.asarray(n) for n in (begun.month, begun.day_of_week, begun.hour))
    warmth = 11 - 10 * np.cos(2 * np.pi * (month - 1) / 12)
    temperature = (warmth + rng.normal(0, 4, RENTALS)).round(1)
    minutes = np.exp(
        3.1
        + habit
        + 0.25 * (weekday >= SATURDAY)
        + 0.02 * (temperature - 11)
        + 0.2 * np.sin(2 * np.pi * (hour - 8) / 24)
        + np.select([weather == "rain", weather == "snow"], [-0.5, -0.8], 0.1)
        + np.select([station == "park", station == "station"], [0.35, -0.3], 0.0)
        + np.select([bike == "electric", bike == "cargo"], [0.2, -0.2], 0.0)
        - 0.004 * (age - 40)
        + rng.normal(0, 0.2, RENTALS)
    )
    without = rng.uniform(size=(RENTALS, 2)) < [0.06, 0.05]
    silent = (rng.uniform(size=RIDERS) < SILENT)[rider]
    return pd.DataFrame(
        {
            "rider": [f"r{number:03d}" for number in rider],
            "begun": begun.strftime("%Y-%m-%dT%H:%M"),
            "station": station,
            "bike": bike,
            "weather": pd.Series(weather).mask(without[:, 0]),
            "temperature": pd.Series(temperature).mask(without[:, 1]),
            "age": pd.Series(age, dtype="Int64").mask(silent),
            "minutes": minutes.round(1),
        }
    )


if __name__ == "__main__":
    make().to_csv(Path(__file__).with_name("rentals.csv"), index=False)
