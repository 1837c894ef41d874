# Two commands do everything on a fresh Debian or Ubuntu machine (Python >= 3.10, a C++ compiler):
#   make demo    people in a clip, found by the network that comes with jetpose; no torch, no GPU
#                SOURCE=PATH: in your photo, folder or video; ONNX=FILE PRESET=NAME: by your network
#   make test    all tests that take less than 20 s each
PYTHON ?= python3
VENV ?= .venv
OUT ?= demo-out
# torch for the tests of the exporter; empty leaves them out
TORCH ?= torch==2.13.0
# TensorRT's builder, which needs no GPU, for the tests of INT8 graphs; empty leaves them out
RTX ?= $(if $(filter x86_64,$(shell uname -m)),tensorrt-rtx)

bin := $(VENV)/bin
pip := $(bin)/pip --disable-pip-version-check install --quiet --constraint constraints.txt
native := $(wildcard runtime/native/*)
in_venv := PATH="$(abspath $(bin)):$$PATH" PYTHON="$(abspath $(bin))/python"

.PHONY: demo test test-all lint bench docs kernels wheel deb clean

$(VENV)/base: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(pip) --upgrade pip
	$(pip) scikit-build-core nanobind cmake ninja
	touch $@

# What a device needs: the runtime.
$(VENV)/run: $(VENV)/base pyproject.toml $(native)
	$(pip) --no-build-isolation --editable '.[cpu,live]'
	@$(bin)/python -m pose_runtime.gpu.kernels
	touch $@

# A workstation without torch: bundles from ONNX files too.
$(VENV)/onnx: $(VENV)/run
	$(pip) --no-build-isolation --editable '.[cpu,live,onnx]'
	touch $@

$(VENV)/dev: $(VENV)/run
	$(pip) --no-build-isolation --editable '.[cpu,live,onnx,dev]'
	$(if $(TORCH),$(pip) --no-build-isolation --editable '.[export]' $(TORCH))
	$(if $(RTX),$(pip) $(RTX))
	touch $@

ifdef ONNX
ifndef PRESET
$(error usage: make demo ONNX=network.onnx PRESET=tf-pose SOURCE=photo.jpg)
endif
endif
SOURCE ?= docs/demo/people.mp4
demo_bundle := $(if $(ONNX),$(OUT)/demo.pose,lightweight-tiny)
demo_save := $(OUT)/annotated$(if $(filter %.mp4 %.mkv %.mov %.avi %.webm,$(SOURCE)),.mp4)

demo: $(VENV)/$(if $(ONNX),onnx,run)
	mkdir -p $(OUT)
ifdef ONNX
	$(bin)/pose-export --onnx "$(ONNX)" --preset "$(PRESET)" --out $(OUT)/demo.pose --overwrite
endif
	$(bin)/pose-info $(demo_bundle)
	$(bin)/pose-check $(demo_bundle)
	$(bin)/pose-run --bundle $(demo_bundle) --source "$(SOURCE)" \
	  --json $(OUT)/poses.jsonl --save $(demo_save) --sheet $(OUT)/sheet.png
	@echo "people drawn: $(demo_save)   at a glance: $(OUT)/sheet.png   poses: $(OUT)/poses.jsonl"

# Two processes: much of the suite waits.
pytest := python -m pytest --numprocesses 2 --dist worksteal

# The suite; then the native operations under AddressSanitizer and UBSan, and on four lanes under ThreadSanitizer.
test: $(VENV)/dev
	$(in_venv) JETPOSE_NATIVE_TEST=$$($(in_venv) tests/native/build.sh lanes) $(pytest)
	$(in_venv) tests/native/run.sh asan
	$(in_venv) tests/native/run.sh tsan -k "not goldens"

test-all: $(VENV)/dev
	$(in_venv) JETPOSE_NATIVE_TEST=$$($(in_venv) tests/native/build.sh lanes) python -m pytest -m "slow or not slow" --durations=10
	$(in_venv) tests/native/run.sh asan
	$(in_venv) tests/native/run.sh tsan

lint: $(VENV)/dev
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy

# Decoders and pre-processing on one core; then the stages' shares of each of BUNDLES.
BUNDLES ?= $(wildcard $(OUT)/*.pose)
bench: $(VENV)/dev
	cd tests && $(in_venv) python -m bench
	@for bundle in $(BUNDLES); do echo; echo "$$bundle"; $(bin)/pose-bench "$$bundle"; done

docs: $(VENV)/dev
	$(bin)/python docs/make_api.py > docs/api.md
	$(bin)/python docs/make_zoo.py > docs/zoo.md

$(VENV)/compilers: $(VENV)/dev deploy/cuda-requirements.txt
	$(pip) --requirement deploy/cuda-requirements.txt
	touch $@

# Every CUDA kernel, compiled for every board, without a GPU; what each needs is what the committed table says.
kernels: $(VENV)/compilers
	$(bin)/python deploy/kernel_table.py build/kernels

# The wheel that is released, in dist/: kernels for every board by the pinned compilers, so that a Jetson needs none.
wheel: $(VENV)/compilers
	rm -rf dist
	$(in_venv) JETPOSE_KERNELS=release pip --disable-pip-version-check wheel --quiet --no-build-isolation --no-deps \
	  --wheel-dir dist .
	$(in_venv) JETPOSE_WHEEL="$$(ls dist/jetpose-*.whl)" python -m pytest -q tests/gpu/test_wheel.py
	ls -l dist

# A Debian package for machines like this one, in dist/: its Python, its CUDA; DEB="--wheel FILE" takes another wheel.
deb:
	deploy/deb.sh $(DEB)

clean:
	rm -rf $(VENV) build $(OUT)
