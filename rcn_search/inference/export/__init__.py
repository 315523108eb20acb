"""Export networks to ONNX and OpenVINO, check the files against PyTorch, and predict with them."""
