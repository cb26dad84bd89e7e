"""Small files of every format, from which libFuzzer starts: seeds.py FOLDER."""

import bz2, gzip, io, json, lzma, sys, zipfile
from pathlib import Path

folder = Path(sys.argv[1])
repository = Path(__file__).resolve().parent.parent


def seed(target: str, name: str, data: bytes) -> None:
    path = folder / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


tables = {
    "mixed": "id,when,price,city,ok\n1,2024-02-29 07:05,\"1.234,50 €\",Köln,true\n2,,-3,\"a \"\"b\"\"\",no\n3,01/02/03,1e400,,\n",
    "preamble": "# made by hand\nsep=;\nx;y\n1,5;2\n(3);4 %\nx;y\n−5;NaN\n",
    "names": "a,a,,b\r\n0001,9007199254740993,x,\\N\r\n0002,18446744073709551615,y,#N/A\r\n",
}
rows = [{"x": 1, "y": "a", "z": None}, {"x": 2.5, "y": "\u6587", "z": [1]}, {"x": float("nan"), "y": "", "z": {"k": 1}}]
lines = "\n".join(json.dumps(row) for row in rows).encode()
for name, text in tables.items():
    data = text.encode()
    seed("csv", name, data)
    seed("csv", name + "-16", text.encode("utf-16"))
    seed("gz", name, gzip.compress(data, mtime=0))
    seed("bzip2", name, bz2.compress(data))
    seed("xz", name, lzma.compress(data))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("table.csv", text)
    seed("zip", name, packed.getvalue())
seed("jsonl", "rows", lines)
seed("json", "array", json.dumps(rows).encode())
seed("json", "rows", lines)
seed("idx", "labels", bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]))
seed("idx", "images", bytes([0, 0, 13, 2, 0, 0, 0, 2, 0, 0, 0, 1]) + bytes(8))
header = json.dumps({"w": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]}, "__metadata__": {"format": "pt"}}).encode()
seed("safetensors", "one", len(header).to_bytes(8, "little") + header + bytes(8))
for crate in ("formats", "interop"):
    for path in (repository / "crates" / crate / "tests/torch").glob("*.pt*"):
        seed("torch", path.name, path.read_bytes())
for path in sorted(repository.glob("crates/**/fixtures/**/*.json")):
    if path.stat().st_size < 40_000:
        target = "tokenizer" if "tokenizer" in path.name else "config" if "config" in path.name else None
        if target:
            seed(target, f"{path.parent.name}-{path.name}", path.read_bytes())
for path in sorted((repository / "crates/text/tests/fixtures/sentencepiece").glob("*.model")):
    if path.stat().st_size < 40_000:
        seed("sentencepiece", path.name, path.read_bytes())
for name in ("dense.tflite", "half.tflite", "image.tflite", "operations.tflite"):
    seed("tflite", name, (repository / "crates/interop/tests/tflite" / name).read_bytes())
seed("bundle", "saved", (repository / "crates/interop/tests/tflite/saved/variables/variables.index").read_bytes())
for name in ("dense_old.h5", "forms.hdf5", "forms_18.hdf5", "soft.hdf5", "rows.keras", "embedding.keras"):
    seed("keras", name, (repository / "crates/interop/tests/keras" / name).read_bytes())
for name in ("npz_tensorflow.keras", "npz_jax.keras"):
    with zipfile.ZipFile(repository / "crates/interop/tests/keras" / name) as whole:
        with zipfile.ZipFile(io.BytesIO(whole.read("model.weights.npz"))) as archive:
            for part in archive.namelist():
                seed("numpy", f"{name}-{part.replace('/', '-')}", archive.read(part))
templates = json.loads((repository / "crates/text/src/chat/fixtures/templates.json").read_text())
for name, case in templates["templates"].items():
    seed("template", name, case["template"].encode())
try:
    import numpy as np

    for kind in ("f4", "<i8", "?", "f2"):
        one, many = io.BytesIO(), io.BytesIO()
        np.save(one, np.arange(6).reshape(3, 2).astype(kind))
        np.savez_compressed(many, x=np.arange(6).reshape(3, 2).astype(kind), y=np.arange(3))
        seed("npy", kind.strip("<?") or "bool", one.getvalue())
        seed("npz", kind.strip("<?") or "bool", many.getvalue())
    import pyarrow as pa
    import pyarrow.feather, pyarrow.parquet

    table = pa.table({"x": [1, None, 3], "y": ["a", "b", None], "t": pa.array([0, 1, 2], pa.timestamp("us")),
                      "d": pa.array(["u", "v", "u"]).dictionary_encode(), "l": [[1], [], None]})
    for compression in ("none", "snappy", "zstd"):
        out = io.BytesIO()
        pyarrow.parquet.write_table(table, out, compression=compression)
        seed("parquet", compression, out.getvalue())
    for compression in ("uncompressed", "lz4", "zstd"):
        out = io.BytesIO()
        pyarrow.feather.write_feather(table, out, compression=compression)
        seed("arrow", compression, out.getvalue())
    out = pa.BufferOutputStream()
    with pa.output_stream(out) as plain, pa.CompressedOutputStream(plain, "lz4") as stream:
        stream.write(tables["mixed"].encode())
    seed("lz4", "mixed", out.getvalue().to_pybytes())
    import gguf

    for kind in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q4_1):
        path = folder / "gguf" / kind.name
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_array("tokenizer.ggml.tokens", ["a", "b"])
        weights = np.arange(64, dtype=np.float32).reshape(2, 32)
        writer.add_tensor("output.weight", gguf.quantize(weights, kind), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    import onnx
    from onnx import TensorProto, helper

    float_row = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])
    weights = onnx.numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    branch = lambda name: helper.make_graph([helper.make_node("Neg", ["x"], [name])], name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)])
    for name, nodes in {
        "product": [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Softmax", ["h"], ["y"], axis=-1)],
        "branch": [helper.make_node("Constant", [], ["c"], value=helper.make_tensor("v", TensorProto.BOOL, [], [True])),
                   helper.make_node("If", ["c"], ["y"], then_branch=branch("a"), else_branch=branch("b"))],
        "slice": [helper.make_node("Constant", [], ["i"], value_ints=[0, 1]), helper.make_node("Gather", ["x", "i"], ["g"], axis=1),
                  helper.make_node("Einsum", ["g", "w"], ["y"], equation="ij,jk->ik")],
    }.items():
        out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        model = helper.make_model(helper.make_graph(nodes, name, [float_row], [out], [weights]), opset_imports=[helper.make_opsetid("", 20)])
        seed("onnx", name, model.SerializeToString())
    import openpyxl

    book = openpyxl.Workbook()
    for row in (["x", "y"], [1, "a"], [2.5, None]):
        book.active.append(row)
    out = io.BytesIO()
    book.save(out)
    seed("xlsx", "small", out.getvalue())
except ImportError as error:
    print(f"seeds: fewer of them, since {error}", file=sys.stderr)
