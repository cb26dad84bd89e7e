"""The package from the first layer to a trained, saved and resumed model.

    python python/examples/tutorial.py

Each part stands alone; the numbers that it prints are checked by the assertions behind them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import feedforward
from feedforward import functional as F

rng = np.random.default_rng(0)

# 1. A layer, y = f(x Wᵀ + b), and its backward pass.
layer = feedforward.FeedforwardLayer(2, 16, activation="tanh", seed=1)
output = feedforward.FeedforwardLayer(16, 1, activation="identity", seed=2)
x = rng.uniform(-1, 1, (256, 2)).astype(np.float32)
target = (x[:, :1] * x[:, 1:]).astype(np.float32)
for _ in range(2000):
    y = output.forward(layer.forward(x))
    loss, backward = F.mse.vjp(y, target)
    dy = backward()[0]
    layer.backward(output.backward(dy))
    for part in (layer, output):
        part.W -= 0.3 * part.dW
        part.b -= 0.3 * part.db
print(f"1. a product learned by two layers: loss {loss:.2g}")
assert loss < 0.01

# 2. A table. Columns are found out: numbers, categories, truth values, dates, texts.
size = rng.normal(100, 25, 600).round(1)
city = rng.choice(["Bern", "Oslo", "Rome"], 600)
price = 3 * size + 40 * (city == "Oslo") + rng.normal(0, 5, 600)
houses = {"size": size, "city": city, "price": price}

folder = Path(tempfile.mkdtemp())
run = feedforward.train(houses, target="price", out=folder / "houses", seed=0, quiet=True)
print(f"2. prices: R² {run.scores['test']['r2']:.3f} on held-out rows; report: {run.report}")
assert run.scores["test"]["r2"] > 0.9

# 3. Predictions come back as what the table was: arrays for a dict, a Series for a DataFrame.
new = {"size": [80.0, 120.0], "city": ["Oslo", "Rome"]}
print("3. predicted:", run.predict(new).round(0))
assert abs(run.predict(new)[0] - 280) < 40

# 4. Settings are those of a recipe; a callback sees each epoch, and stops the run if it says so.
losses = []


def watch(epoch: dict) -> bool:
    losses.append(epoch["valid_loss"])
    return len(losses) == 5


stopped = feedforward.train(
    houses,
    target="price",
    out=folder / "small",
    quality="fast",
    model={"hidden": [32, 16], "activation": "gelu"},
    optimizer={"kind": "adamw", "lr": 0.003},
    train={"epochs": 20},
    callback=watch,
    quiet=True,
)
assert stopped.interrupted
assert len(stopped.history) == 5
finished = stopped.resume(houses, quiet=True)
print(f"4. stopped after epoch 5, resumed to epoch {len(finished.history)}")
assert finished.finished

# 5. A model opens again from its folder, in this or any other process, or by the program:
#    feedforward predict RUN --data new.csv --out predictions.csv
model = feedforward.Model(folder / "houses")
assert (model.predict(new) == run.predict(new)).all()
print("5. columns:", model.columns, "target:", model.target)

# 6. Mistakes are exceptions with the program's help.
try:
    feedforward.train(houses, target="prize", quiet=True)
except feedforward.DataError as error:
    print("6.", str(error).replace("\n", " · "))

# 7. The same in scikit-learn's habits, where it is installed.
try:
    import sklearn  # noqa: F401
except ImportError:
    print("7. scikit-learn is not installed")
else:
    classifier = feedforward.FeedforwardClassifier(hidden_layer_sizes=(16,), random_state=0)
    classifier.fit(x, (x[:, 0] > x[:, 1]).astype(int))
    print("7. accuracy:", classifier.score(x, (x[:, 0] > x[:, 1]).astype(int)))
    assert classifier.score(x, (x[:, 0] > x[:, 1]).astype(int)) > 0.95
