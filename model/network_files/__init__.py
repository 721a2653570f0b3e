"""Networks in files of other programs, ONNX and OpenVINO: run, not trained."""
