"""Whole runs: training, plans, evaluation, prediction, generation, inspection."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from feedforward import _core, _search, _settings, _tables
from feedforward._errors import UsageError
from feedforward._model import Model
from feedforward._progress import Callback, Progress
from feedforward._run import Run
from feedforward._search import Search

PathLike = str | os.PathLike[str]
Settings = Mapping[str, Any]


def train(
    data: Any,
    target: str | None = None,
    *,
    recipe: PathLike | Settings | None = None,
    valid: Any = None,
    test: Any = None,
    out: PathLike | None = None,
    name: str | None = None,
    task: str | None = None,
    seed: int | None = None,
    quality: str | None = None,
    time_budget: float | None = None,
    threads: int = 0,
    watch: bool = False,
    quiet: bool = False,
    callback: Callback | None = None,
    **settings: Any,
) -> Run:
    """Trains on a table, or what a recipe describes, in a new folder.

    `data` is a DataFrame of pandas or polars, a table of pyarrow, a dict of columns, a list of
    dicts, a 2-D array, the path of a table, or a recipe: its path (`.toml`), its text or a dict of
    its settings. Other settings are those of a recipe, by table: `train={"epochs": 20}`,
    `model={"hidden": [64]}`.

    `time_budget` chooses quality and length so that training takes about so many seconds here.

    `callback` is called after each epoch with a dict of its losses; a true answer stops the run,
    with everything saved. So does Ctrl-C, and an exception in the callback, both of which are
    raised again; `feedforward.resume` continues the run.
    """
    job, tables = _table_job(data, target, recipe, valid, test, name, task, seed, quality, settings)
    if time_budget is not None and quality is not None:
        raise UsageError("time_budget= chooses the quality", help="leave one of them out")
    return _trained(
        job, "train", tables, out, threads, watch, quiet, callback, budget=time_budget
    )


def tune(
    data: Any = None,
    target: str | None = None,
    *,
    trials: int | None = None,
    vary: Sequence[str] | None = None,
    resume: PathLike | Search | None = None,
    recipe: PathLike | Settings | None = None,
    valid: Any = None,
    test: Any = None,
    out: PathLike | None = None,
    name: str | None = None,
    task: str | None = None,
    seed: int | None = None,
    quality: str | None = None,
    threads: int = 0,
    quiet: bool = False,
    callback: Callback | None = None,
    **settings: Any,
) -> Search:
    """Searches for settings of a table's network, and trains the best ones.

    `vary` names settings with their ranges as the program's `--vary` does, for example
    `"optimizer.lr=1e-4..1e-2"`; by default those that usually matter. Trials are compared on the
    validation part. `resume` continues a stopped search, with the table again where it was in memory.
    """
    if resume is not None:
        if target is not None or recipe is not None or settings:
            raise UsageError("a search that is resumed has its settings", help="leave others out")
        tables = _offered(data, valid, test)
        with Progress(quiet, callback) as progress:
            found = _core.resume_tune(os.fspath(resume), tables, progress, threads=threads)
        return _search.read(found)
    given = {"trials": trials, "vary": None if vary is None else list(vary)}
    given = {key: value for key, value in given.items() if value is not None}
    settings = {**settings, "tune": {**settings.get("tune", {}), **given}}
    job, tables = _table_job(data, target, recipe, valid, test, name, task, seed, quality, settings)
    with Progress(quiet, callback) as progress:
        found = _core.tune(job, tables, progress, out=out, threads=threads)
    return _search.read(found)


def export(
    model: PathLike | Run | Model | Search,
    out: PathLike,
    *,
    to: str | None = None,
    dtype: str | None = None,
    threads: int = 0,
) -> dict[str, Any]:
    """Writes a model as a file of another tool, and checks what was written.

    `to` is `"onnx"`, `"keras"` or `"tflite"` for tables, with the preprocessing inside, `"onnx"` for encoders,
    and `"onnx"` (with the cache), `"gguf"` or `"huggingface"` for language models; by default what the ending of
    `out` says. `dtype` is
    `"f32"`, `"f16"` or `"bf16"` for language models, and for GGUF also a quantised type such as
    `"q8_0"` or `"q4_k_m"`. The result says what was compared and by how much it differs; for Keras
    also with which optimiser training goes on there, and what to do before, or why with none.
    """
    ending = os.path.splitext(os.fspath(out))[1].lower().lstrip(".")
    kinds = {name: name for name in ("onnx", "keras", "tflite", "gguf")}
    kind = to or {**kinds, "": "huggingface"}.get(ending)
    if kind is None:
        raise UsageError(f"{os.fspath(out)}: name the format with to=")
    path = os.fspath(model.best if isinstance(model, Search) else model)
    written = _core.export(path, kind, os.fspath(out), dtype=dtype, threads=threads)
    found: dict[str, Any] = json.loads(written)
    return found


def import_model(
    file: PathLike, out: PathLike, *, weights: PathLike | None = None, threads: int = 0
) -> dict[str, Any]:
    """Takes over a model of another program: an `.onnx`, `.tflite`, `.keras` or `.h5` file.

    The folder `out` gets `model.onnx`, or `weights.safetensors` where the file has no layers; of a
    feedforward network also `recipe.toml`, from which `train` goes on from its weights. The result
    has the paths under `"model"`, `"weights"` and `"recipe"`, or under `"refused"` why the model
    cannot be trained on. `weights` is a file of weights for the layers of a Keras model.
    """
    weights = None if weights is None else os.fspath(weights)
    written = _core.import_model(
        os.fspath(file), os.fspath(out), weights=weights, threads=threads
    )
    found: dict[str, Any] = json.loads(written)
    return found


def plan(
    data: Any,
    target: str | None = None,
    *,
    recipe: PathLike | Settings | None = None,
    valid: Any = None,
    test: Any = None,
    task: str | None = None,
    seed: int | None = None,
    quality: str | None = None,
    threads: int = 0,
    quiet: bool = True,
    **settings: Any,
) -> dict[str, Any]:
    """What a run would take, in memory and time; nothing is trained or written."""
    job, tables = _table_job(data, target, recipe, valid, test, None, task, seed, quality, settings)
    with Progress(quiet, None) as progress:
        found: dict[str, Any] = json.loads(job.plan(tables, progress, threads=threads))
    return found


def pretrain(
    recipe: PathLike | Settings,
    *,
    data: PathLike | Sequence[PathLike] | None = None,
    out: PathLike | None = None,
    name: str | None = None,
    seed: int | None = None,
    threads: int = 0,
    watch: bool = False,
    quiet: bool = False,
    callback: Callback | None = None,
    **settings: Any,
) -> Run:
    """Trains a language model on text from a recipe; `data` names other files of text."""
    paths = None if data is None else [os.fspath(p) for p in _several(data)]
    sets = [*_given({"data.paths": paths, "name": name, "train.seed": seed}), *_sets(settings)]
    job = _core.Job(sets, **_recipe(recipe))
    return _trained(job, "pretrain", [], out, threads, watch, quiet, callback)


def finetune(
    model: PathLike | Settings,
    data: PathLike | None = None,
    *,
    lora_rank: int | None = None,
    full: bool = False,
    out: PathLike | None = None,
    name: str | None = None,
    seed: int | None = None,
    threads: int = 0,
    watch: bool = False,
    quiet: bool = False,
    callback: Callback | None = None,
    **settings: Any,
) -> Run:
    """Trains an adapter, or with `full` all weights, of a published model on conversations.

    `model` is a folder of Hugging Face, a run, or a recipe; `data` a file of JSON lines.
    """
    given: dict[str, Any] = {"data.path": data, "name": name, "train.seed": seed}
    if lora_rank is not None:
        given |= {"adapter.rank": lora_rank, "adapter.alpha": 2 * lora_rank}
    if full:
        given["train.weights"] = ["*"]
    sets = [*_given(given), *_sets(settings)]
    if isinstance(model, Mapping) or _is_recipe(os.fspath(model)):
        job = _core.Job(sets, **_recipe(model))
    else:
        job = _core.Job(sets, text=_settings.text({"base": {"model": os.fspath(model)}}))
    return _trained(job, "finetune", [], out, threads, watch, quiet, callback)


def resume(
    run: PathLike | Run,
    data: Any = None,
    *,
    valid: Any = None,
    test: Any = None,
    threads: int = 0,
    watch: bool = False,
    quiet: bool = False,
    callback: Callback | None = None,
) -> Run:
    """Resumes a stopped run, with the table again where it was in memory.

    The results are those of a run that was never stopped, bit for bit.
    """
    tables = _offered(data, valid, test)
    with Progress(quiet, callback) as progress:
        done = _core.resume(os.fspath(run), tables, progress, threads=threads, watch=watch)
    return Run._of(json.loads(done))


def evaluate(
    run: PathLike | Run,
    data: Any = None,
    *,
    adapter: PathLike | None = None,
    text_column: str | None = None,
    threads: int = 0,
    **settings: Any,
) -> dict[str, Any]:
    """The scores of a run's model on new rows or text, or on what the run held out."""
    tables: list[Any] = []
    path = None
    if data is not None:
        path, tables = _named(data)
    scores = _core.evaluate(
        os.fspath(run),
        path,
        tables,
        sets=_sets(settings),
        adapter=adapter,
        text_column=text_column,
        threads=threads,
    )
    found: dict[str, Any] = json.loads(scores)
    return found


def predict(
    run: PathLike | Run | Model,
    data: Any,
    *,
    out: PathLike | None = None,
    proba: bool = False,
    spread: bool = False,
    interval: float | None = None,
    force: bool = False,
    threads: int = 0,
    quiet: bool = True,
    **settings: Any,
) -> Any:
    """Predicts rows: a Series for a DataFrame, else an array; with `proba` all probabilities.

    With `interval=0.9` the ends of intervals, or lists of classes, that hold the truth of 90 % of rows.

    With `out` the rows and their predictions are written to a file (.csv, .parquet, .jsonl) block
    by block, so that tables may be larger than memory, and a summary is returned.
    """
    if out is None:
        if settings:
            raise UsageError(f"settings of reading ({', '.join(settings)}) go with out=")
        if spread + proba + (interval is not None) > 1:
            raise UsageError(
                "ask for one of proba, spread and interval", help="or name a file with out="
            )
        model = run if isinstance(run, Model) else Model(run, threads=threads)
        if interval is not None:
            return model.interval(data, interval)
        method = model.spread if spread else model.predict_proba if proba else model.predict
        return method(data)
    path, tables = _named(data)
    with Progress(quiet, None) as progress:
        done = _core.predict_file(
            os.fspath(run), path, tables, os.fspath(out), progress,
            proba=proba, spread=spread, interval=interval, sets=_sets(settings), force=force, threads=threads,
        )  # fmt: skip
    return json.loads(done)


def generate(
    model: PathLike | Run | Model,
    prompt: str | Sequence[str],
    *,
    adapter: PathLike | None = None,
    bf16: bool = False,
    threads: int = 0,
    on_text: Callable[[int, str], Any] | None = None,
    **options: Any,
) -> Any:
    """Continues a prompt, or several; see `Model.generate`."""
    opened = (
        model
        if isinstance(model, Model)
        else Model(model, adapter=adapter, bf16=bf16, threads=threads)
    )
    return opened.generate(prompt, on_text=on_text, **options)


def inspect(path: PathLike | Run | Model) -> dict[str, Any]:
    """What is inside of a run, a model or a file of tensors."""
    found: dict[str, Any] = json.loads(_core.inspect(os.fspath(path)))
    return found


def _trained(
    job: Any,
    command: str,
    tables: list[Any],
    out: PathLike | None,
    threads: int,
    watch: bool,
    quiet: bool,
    callback: Callback | None,
    **options: Any,
) -> Run:
    stated = job.command()
    if stated != command:
        raise UsageError(f"this is a recipe for feedforward.{stated}, not feedforward.{command}")
    with Progress(quiet, callback) as progress:
        done = job.train(tables, progress, out=out, threads=threads, watch=watch, **options)
    return Run._of(json.loads(done))


def _table_job(
    data: Any,
    target: str | None,
    recipe: Any,
    valid: Any,
    test: Any,
    name: str | None,
    task: str | None,
    seed: int | None,
    quality: str | None,
    settings: Settings,
) -> tuple[Any, list[Any]]:
    given = {"data.target": target, "name": name, "data.task": task, "train.seed": seed}
    whole = _as_recipe(data)
    path = None
    if whole is not None and recipe is not None:
        raise UsageError("two recipes: name a table, or leave recipe= out")
    tables: list[Any] = []
    if whole is None:
        path, tables = _named(data)
    elif quality is not None:
        raise UsageError("quality= is for a table without a recipe", help="leave it out")
    for part, table, place in (("valid", valid, _tables.VALID), ("test", test, _tables.TEST)):
        if table is not None:
            given[f"data.split.{part}_path"], more = _named(table, place)
            tables += more
            given["data.split.kind"] = "given"
    sets = [*_given(given), *_sets(settings)]
    if whole is not None:
        return _core.Job(sets, **whole), tables
    if recipe is not None:
        if quality is not None:
            raise UsageError("quality= is for a table without a recipe", help="leave it out")
        stated = _core.Job([], **_recipe(recipe)).command()
        if stated != "train":
            raise UsageError(f"this recipe trains no table: feedforward.{stated} is for it")
        return _core.Job([*_given({"data.path": path}), *sets], **_recipe(recipe)), tables
    job = _core.Job(sets, table=path, quality=quality)
    if not any(setting.startswith("data.target=") for setting in sets):
        names = job.columns(tables)
        shown = ", ".join(names[:30]) + (f" and {len(names) - 30} more" if names[30:] else "")
        raise UsageError(
            "which column should be predicted?", help=f"name it: target=…; the columns are {shown}"
        )
    return job, tables


def _as_recipe(data: Any) -> dict[str, Any] | None:
    """The arguments of a job where `data` is a recipe, not a table."""
    if isinstance(data, Mapping):
        # Columns are arrays or lists; a recipe has tables or a path of data.
        scalar = any(isinstance(value, (str, Mapping)) for value in data.values())
        return _recipe(data) if scalar else None
    if isinstance(data, (str, os.PathLike)) and _is_recipe(os.fspath(data)):
        return _recipe(data)
    return None


def _is_recipe(text: str) -> bool:
    return (
        text.lower().endswith(".toml") or "\n" in text or ("=" in text and not os.path.exists(text))
    )


def _recipe(recipe: Any) -> dict[str, Any]:
    if isinstance(recipe, Mapping):
        return {"text": _settings.text(recipe)}
    text = os.fspath(recipe)
    if text.lower().endswith(".toml") and "\n" not in text:
        return {"path": text}
    if not _is_recipe(text):
        raise UsageError(
            f"{text} is not a recipe (.toml)", help="name a recipe, its text or a dict"
        )
    return {"text": text}


def _named(data: Any, place: str = _tables.TABLE) -> tuple[str, list[Any]]:
    """The path of a table, and the table itself where it is in memory."""
    if _tables.is_path(data):
        return os.fspath(data), []
    return place, [(place, _tables.rows(data))]


def _offered(data: Any, valid: Any, test: Any) -> list[Any]:
    places = ((_tables.TABLE, data), (_tables.VALID, valid), (_tables.TEST, test))
    return [(place, _tables.rows(table)) for place, table in places if table is not None]


def _given(settings: Settings) -> list[str]:
    return [f"{k}={_settings.toml(v, k)}" for k, v in settings.items() if v is not None]


def _sets(settings: Settings) -> list[str]:
    return list(_settings.assignments(settings))


def _several(paths: Any) -> list[Any]:
    return [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
