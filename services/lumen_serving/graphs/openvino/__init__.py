"""The one package that imports openvino."""
