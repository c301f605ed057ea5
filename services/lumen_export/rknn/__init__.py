"""From ONNX files to RKNN files, by Rockchip's toolkit in an environment of its own."""
