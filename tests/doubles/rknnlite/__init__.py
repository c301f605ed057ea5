"""A double of Rockchip's package for the NPU; see `rknnlite.api`."""
