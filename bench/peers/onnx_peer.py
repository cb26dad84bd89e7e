"""ONNX Runtime: inputs and outputs bound once, so that a call is only `run_with_iobinding`.

`empty1/…` and `empty32/…` are the same calls of a model that hands its input through: what a call costs by itself.
"""

import common

args = common.arguments()

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

if args.versions:
    common.versions(onnxruntime=ort.__version__, onnx=onnx.__version__)
    raise SystemExit

rng = np.random.default_rng(0)


def model(widths, rows, layers):
    nodes, weights, last = [], [], "x"
    for i, (a, b) in enumerate(zip(widths, widths[1:])) if layers else []:
        weights.append(numpy_helper.from_array(rng.standard_normal((b, a), dtype=np.float32) * (2 / a) ** 0.5, f"w{i}"))
        weights.append(numpy_helper.from_array(np.zeros(b, np.float32), f"b{i}"))
        end = i + 2 == len(widths)
        nodes.append(helper.make_node("Gemm", [last, f"w{i}", f"b{i}"], ["y" if end else f"z{i}"], transB=1))
        if not end:
            nodes.append(helper.make_node("Relu", [f"z{i}"], [f"h{i}"]))
        last = f"h{i}"
    if not layers:
        nodes = [helper.make_node("Identity", ["x"], ["y"])]
    out = widths[-1] if layers else widths[0]
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, widths[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, out])],
        weights,
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString(), out


def call(widths, rows, layers):
    def make():
        options = ort.SessionOptions()
        options.intra_op_num_threads = args.threads
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        data, out = model(widths, rows, layers)
        session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        binding = session.io_binding()
        x = ort.OrtValue.ortvalue_from_numpy(rng.standard_normal((rows, widths[0]), dtype=np.float32))
        y = ort.OrtValue.ortvalue_from_numpy(np.zeros((rows, out), np.float32))
        binding.bind_ortvalue_input("x", x)
        binding.bind_ortvalue_output("y", y)
        return common.repeat(lambda: session.run_with_iobinding(binding))

    return make


works = []
for rows in (1, 32):
    for name, widths, _ in common.NETWORKS:
        works.append((f"infer{rows}/{name}", call(widths, rows, True)))
        works.append((f"empty{rows}/{name}", call(widths, rows, False)))
common.main(args, works)
