"""Where tensors live: cpu, cuda and npu behind one protocol."""
