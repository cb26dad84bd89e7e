"""Keras on TensorFlow: `fit`, compiled by XLA, with many steps per execution; a predictor as a `tf.function` of the model."""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import statistics
import time

import common

args = common.arguments(("fit", "fit-xla"))

import keras
import numpy as np
import tensorflow as tf

if args.versions:
    common.versions(keras=keras.__version__, tensorflow=tf.__version__)
    raise SystemExit

tf.config.threading.set_intra_op_parallelism_threads(args.threads)
tf.config.threading.set_inter_op_parallelism_threads(args.threads)
rng = np.random.default_rng(0)
STEPS_PER_EXECUTION = 50


def network(widths):
    layers = [keras.Input((widths[0],))]
    layers += [keras.layers.Dense(width, activation="relu") for width in widths[1:-1]]
    layers.append(keras.layers.Dense(widths[-1]))
    return keras.Sequential(layers)


def train(widths, batch):
    def make():
        model = network(widths)
        model.compile(
            optimizer=keras.optimizers.Adam(common.LEARNING_RATE),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            steps_per_execution=STEPS_PER_EXECUTION,
            jit_compile=args.variant == "fit-xla",
        )
        x = tf.constant(rng.standard_normal((batch, widths[0])), tf.float32)
        y = tf.constant(rng.integers(0, widths[-1], batch), tf.int32)
        # The same batch in memory, repeatedly.
        data = tf.data.Dataset.from_tensors((x, y)).repeat()
        return Fit(model, data)

    return make


class StopFit(Exception):
    pass


class Fit(keras.callbacks.Callback):
    """Times the executions inside one `fit`, which excludes its start-up cost."""

    def __init__(self, model, data):
        super().__init__()
        self.trained, self.data = model, data
        self.until, self.times, self.last = 0.0, [], None

    def __call__(self, steps):
        self.trained.fit(self.data, steps_per_epoch=steps, epochs=1, verbose=0)

    def measure(self, seconds):
        self.until = time.perf_counter() + common.WARM_UP + seconds
        try:
            # A single endless epoch.
            self.trained.fit(self.data, steps_per_epoch=10**9, epochs=1, verbose=0, callbacks=[self])
        except StopFit:
            pass
        times = self.times[len(self.times) // 4 :]  # the first ones compile and warm up
        return statistics.median(times), min(times)

    def on_train_batch_end(self, batch, logs=None):
        now = time.perf_counter()
        if self.last is not None:
            self.times.append((now - self.last) / STEPS_PER_EXECUTION)
        self.last = now
        if now > self.until and len(self.times) > 8:
            # `stop_training` is only checked at the end of an epoch.
            raise StopFit


def infer(widths, rows):
    def make():
        model = network(widths)
        predict = tf.function(lambda x: model(x, training=False), jit_compile=args.variant == "fit-xla")
        x = tf.constant(rng.standard_normal((rows, widths[0])), tf.float32)
        return common.repeat(lambda: predict(x))

    return make


works = [(f"train/{name}-b{batch}", train(widths, batch)) for name, widths, batch in common.NETWORKS]
for rows in (1, 32):
    works += [(f"infer{rows}/{name}", infer(widths, rows)) for name, widths, _ in common.NETWORKS]
common.main(args, works)
